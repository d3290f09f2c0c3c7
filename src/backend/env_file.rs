//! An environment file in the common form (`NAME=value`, quotes, `export`, comments), read by the gateway itself, so
//! that it may be root's alone. A value is what stands there: `$` means nothing, since a password may have one. It must
//! never show a value, not even in an error.

use std::{
    collections::BTreeMap,
    fmt,
    fs::OpenOptions,
    io::Read,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    str::Chars,
};

use nix::fcntl::OFlag;

/// Far more than anybody's settings.
const BYTES_MAX: u64 = 1024 * 1024;

/// What it says; its values are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct EnvFile(pub(super) BTreeMap<String, String>);

impl EnvFile {
    /// Read it whole, or say what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut text = String::new();
        // A pipe that never says anything must not hold us.
        let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        let file = open.and_then(|file| match file.metadata()?.file_type().is_fifo() {
            false => Ok(file),
            true => Err(std::io::Error::other("it is a pipe, and no file")),
        });
        file.and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text)).map_err(wrong)?;
        if text.len() as u64 > BYTES_MAX {
            return Err(format!("{}: it is longer than {BYTES_MAX} bytes", path.display()));
        }
        parse(&text).map(Self).map_err(|line| {
            // Never the line itself: it may hold a password.
            let remedy = "write it like NAME=value, quoted if it has spaces";
            format!("{}: line {line} cannot be read: {remedy}", path.display())
        })
    }
}

/// The variables, the last of a name winning, or the number of the first line that cannot be read.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut all = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    while !rest.is_empty() {
        let line = || text[..text.len() - rest.len()].matches('\n').count() + 1;
        let (entry, after) = entry(rest).ok_or_else(line)?;
        all.extend(entry);
        rest = after;
    }
    Ok(all)
}

/// A variable.
type Entry = (String, String);

/// The first line's variable, if it has one, and what comes after it: a quoted value may take several lines.
fn entry(text: &str) -> Option<(Option<Entry>, &str)> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Some((None, after));
    }
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    let name =
        name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(name).trim();
    let fits = |(at, c): (usize, char)| {
        c == '_' || c.is_ascii_alphabetic() || at > 0 && (c.is_ascii_digit() || c == '.')
    };
    if name.is_empty() || !name.char_indices().all(fits) {
        return None;
    }
    let value = value.trim_start_matches([' ', '\t']);
    let (value, after) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote)?,
        _ => plain(value)?,
    };
    (!value.contains('\0')).then(|| (Some((name.to_owned(), value)), after))
}

/// As it stands, to the end of the line or a comment.
fn plain(text: &str) -> Option<(String, &str)> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let comment = line.match_indices('#').find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', '\t']));
    let value = comment.map_or(line, |(at, _)| &line[..at]).trim();
    // Whoever writes two words without quotes may mean anything.
    (!value.contains(char::is_whitespace)).then(|| (value.to_owned(), after))
}

/// To the closing quote, which nothing but a comment may follow in its line. Only in double quotes does a backslash
/// mean something, and only before what needs it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let (mut value, mut rest) = (String::new(), text.chars());
    loop {
        match rest.next()? {
            c if c == quote => break,
            '\\' if quote == '"' => value.push_str(&escaped(&mut rest)?),
            c => value.push(c),
        }
    }
    let (line, after) = rest.as_str().split_once('\n').unwrap_or((rest.as_str(), ""));
    let line = line.trim();
    (line.is_empty() || line.starts_with('#')).then_some((value, after))
}

fn escaped(rest: &mut Chars<'_>) -> Option<String> {
    Some(match rest.next()? {
        'n' => "\n".to_owned(),
        'r' => "\r".to_owned(),
        't' => "\t".to_owned(),
        c @ ('"' | '\\' | '$') => c.to_string(),
        other => format!("\\{other}"),
    })
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvFile({} names)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<BTreeMap<String, String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let outcome = EnvFile::read(file.path()).map(|file| file.0);
        outcome.map_err(|error| error.replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("env");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = EnvFile::read(&pipe).err().unwrap();
        assert!(error.ends_with("it is a pipe, and no file"), "{error}");
        assert!(EnvFile::read(Path::new("/dev/null")).unwrap().0.is_empty());
    }

    #[test]
    fn quotes_comments_and_exports_are_read() {
        let read =
            check("# a comment\nA=1\nexport B=\"two words\" # why\nC='$A'\n\nD=\nURL=postgres://u:p@h/d\n");
        let expected =
            [("A", "1"), ("B", "two words"), ("C", "$A"), ("D", ""), ("URL", "postgres://u:p@h/d")];
        assert_eq!(read.unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_value_is_what_stands_there() {
        for (text, want) in [
            ("A=a$b", "a$b"),
            ("A=$HOME", "$HOME"),
            ("A=${HOME}x", "${HOME}x"),
            (r#"A="a$b${c}\$d""#, "a$b${c}$d"),
            ("A='a$b\\n'", "a$b\\n"),
            (r"A=c:\new\dir", r"c:\new\dir"),
            (r#"A="c:\dir""#, r"c:\dir"),
            (r#"A="two\nlines""#, "two\nlines"),
            ("A=\"-----BEGIN\nKEY=\n-----END\" # a key", "-----BEGIN\nKEY=\n-----END"),
            ("A='{\"a\": 1}'", "{\"a\": 1}"),
            ("A=x#y", "x#y"),
            ("A=x #y", "x"),
            ("A=#y", ""),
            ("A=\"#y\"", "#y"),
            ("A=a\"b'c", "a\"b'c"),
            ("A==", "="),
            ("A = spaced \r\nB=2\r", "spaced"),
            ("\u{feff}A=1", "1"),
            ("A=1\nA=2", "2"),
            ("export\tA=1", "1"),
            ("export=1\nA=2", "2"),
            ("A=", ""),
        ] {
            assert_eq!(parse(text).map(|all| all["A"].clone()), Ok(want.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn the_line_that_cannot_be_read_is_the_first_of_its_entry() {
        for (text, line) in [
            ("A", 1),
            ("\n# x\nA=1 2", 3),
            ("A=\"1\n2\"\nB=\"open\nC=1\n", 3),
            ("A='x' y", 1),
            ("1A=1", 1),
            ("A B=1", 1),
            ("=1", 1),
            ("A=\0", 1),
            ("A\nB=1", 1),
        ] {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_comes_back_whatever_it_is(value in "[^\0]{0,40}") {
            let double = value.replace('\\', "\\\\").replace('"', "\\\"");
            proptest::prop_assert_eq!(&parse(&format!("A=\"{double}\"\n")).unwrap()["A"], &value);
        }

        #[test]
        fn nothing_makes_it_panic(text in ".{0,200}") {
            drop(parse(&text));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line_and_not_quoted() {
        let error = check("A=1\nSECRET=hunter2 and more\nB=2\n").unwrap_err();
        assert_eq!(error, "FILE: line 2 cannot be read: write it like NAME=value, quoted if it has spaces");
        assert!(
            EnvFile::read(Path::new("/nowhere/.env")).unwrap_err().starts_with("/nowhere/.env: No such file")
        );
        assert_eq!(format!("{:?}", EnvFile([("A".to_owned(), "b".to_owned())].into())), "EnvFile(1 names)");
    }
}
