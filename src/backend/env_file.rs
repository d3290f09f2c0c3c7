//! An environment file in the common form (`NAME=value`, quotes, `export`, comments), read by the gateway itself, so
//! that it may be root's alone. It must never show a value, not even in an error.

use std::{collections::BTreeMap, fmt, fs::File, io::Read, path::Path};

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
        File::open(path).map_err(wrong)?.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(wrong)?;
        if text.len() as u64 > BYTES_MAX {
            return Err(format!("{}: it is longer than {BYTES_MAX} bytes", path.display()));
        }
        let parsed: Result<_, dotenvy::Error> = dotenvy::from_read_iter(text.as_bytes()).collect();
        parsed.map(Self).map_err(|_| format!("{}: {}", path.display(), complaint(&text)))
    }
}

/// Which line cannot be read. The parser would quote it, and with it perhaps a password.
fn complaint(text: &str) -> String {
    for (number, _) in text.lines().enumerate() {
        let so_far: String = text.lines().take(number + 1).flat_map(|line| [line, "\n"]).collect();
        if dotenvy::from_read_iter(so_far.as_bytes()).any(|line| line.is_err()) {
            return format!(
                "line {} cannot be read: write it like NAME=value, quoted if it has spaces",
                number + 1
            );
        }
    }
    "it cannot be read".to_owned()
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
    fn names_and_values_are_read_in_the_common_forms() {
        let read =
            check("# a comment\nA=1\nexport B=\"two words\" # why\nC='$A'\n\nD=\nURL=postgres://u:p@h/d\n");
        let expected =
            [("A", "1"), ("B", "two words"), ("C", "$A"), ("D", ""), ("URL", "postgres://u:p@h/d")];
        assert_eq!(read.unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
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
