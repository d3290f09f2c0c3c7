//! Where a tenant's data is: the database URL, parsed once into its one canonical form, so that two tenants
//! cannot name one place in two ways. It may hold a secret, so it must never print itself whole.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The kind of database server, and so of door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Engine {
    /// A file opened by this process; the backend speaks Hrana over HTTP.
    Sqlite,
}

impl Engine {
    /// The lower-case word used in logs and tables.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
        }
    }
}

/// A checked database URL. `Debug` and `Display` leave out user and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Database {
    /// The canonical URL.
    url: String,
    engine: Engine,
    path: PathBuf,
}

/// A database URL as it came in, not yet checked. It prints nothing of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DatabaseText(String);

impl DatabaseText {
    /// Check it. The problem never repeats the text.
    pub(crate) fn parse(&self) -> Result<Database, DatabaseProblem> {
        self.0.parse()
    }
}

impl From<String> for DatabaseText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for DatabaseText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for DatabaseText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseText(..)")
    }
}

/// Why a text is no database URL. Never repeats the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatabaseProblem {
    /// Not a URL at all.
    #[error("this is no database URL; write it like `sqlite:///var/lib/gateway/tenants/acme.db`")]
    Unreadable,
    /// PostgreSQL and MySQL come with their own doors.
    #[error(
        "{0} databases are not served yet; this version has the SQLite door, for URLs like `sqlite://acme.db`"
    )]
    NotYet(&'static str),
    /// Some other scheme.
    #[error("`{0}:` is no database this gateway knows; use `sqlite://…`")]
    UnknownScheme(String),
    /// `sqlite:` without a usable path.
    #[error(
        "this SQLite URL names no file; write `sqlite:///absolute/path.db`, or `sqlite://file.db` below the state \
         directory, without `..`"
    )]
    NoPath,
    /// In-memory databases would vanish with the pool.
    #[error("an in-memory database would be lost when its pool goes idle; name a file")]
    InMemory,
    /// Options would change how the one process that owns the file opens it.
    #[error("a SQLite URL takes no options or fragment: the gateway opens the file its own way; drop `{0}`")]
    Options(char),
    /// SQLite itself writes such files beside a database.
    #[error("a name that ends in `{0}` belongs to SQLite itself; choose another")]
    Reserved(&'static str),
}

impl Database {
    /// The whole URL with its secrets: for sealing and for connecting, nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.url
    }

    /// Which door serves it.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// The file of a SQLite database: absolute, or relative to the state directory's `tenants/`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database's own name, as drivers qualify tables with it: for SQLite the file's stem.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The database of that file. Normalised, so that equal files have equal URLs.
    pub(super) fn at(path: &Path) -> Result<Self, DatabaseProblem> {
        let mut normal = PathBuf::new();
        for component in path.components() {
            match component {
                Component::RootDir | Component::Normal(_) => normal.push(component),
                Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(DatabaseProblem::NoPath),
            }
        }
        let name = normal.file_name().and_then(|name| name.to_str()).ok_or(DatabaseProblem::NoPath)?;
        for reserved in ["-wal", "-shm", "-journal"] {
            if name.ends_with(reserved) {
                return Err(DatabaseProblem::Reserved(reserved));
            }
        }
        let text = normal.to_str().ok_or(DatabaseProblem::NoPath)?;
        if text.chars().any(char::is_control) {
            return Err(DatabaseProblem::NoPath);
        }
        Ok(Self { url: format!("sqlite://{}", escape(text)), engine: Engine::Sqlite, path: normal })
    }
}

/// What would not come back as itself when the URL is read again.
fn escape(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len()), |mut escaped, char| {
        match char {
            '%' => escaped.push_str("%25"),
            '?' => escaped.push_str("%3F"),
            '#' => escaped.push_str("%23"),
            ' ' => escaped.push_str("%20"),
            other => escaped.push(other),
        }
        escaped
    })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = (first == b'%').then(|| tail.get(..2)).flatten();
        let digits = pair.filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let decoded = digits
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

impl FromStr for Database {
    type Err = DatabaseProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(DatabaseProblem::Unreadable)?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "sqlite" | "file" => {}
            "postgres" | "postgresql" => return Err(DatabaseProblem::NotYet("PostgreSQL")),
            "mysql" | "mariadb" => return Err(DatabaseProblem::NotYet("MySQL")),
            // Only a word can be a scheme; anything else might be a password pasted in the wrong place.
            word if matches!(word.len(), 1..=16) && word.bytes().all(|b| b.is_ascii_lowercase()) => {
                return Err(DatabaseProblem::UnknownScheme(scheme));
            }
            _ => return Err(DatabaseProblem::Unreadable),
        }
        if rest.contains(":memory:") || rest.contains("mode=memory") {
            return Err(DatabaseProblem::InMemory);
        }
        // What other tools write after a SQLite URL and what we do anyway: make the file when it is missing.
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.strip_suffix("?mode=rwc").or_else(|| path.strip_suffix("?mode=rw")).unwrap_or(path);
        if let Some(mark) = path.chars().find(|char| matches!(char, '?' | '#')) {
            return Err(DatabaseProblem::Options(mark));
        }
        let path = percent_decode(path).filter(|path| !path.ends_with('/')).ok_or(DatabaseProblem::NoPath)?;
        Self::at(Path::new(&path))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A SQLite URL holds no secret; the engines to come leave theirs out here.
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_one_file_is_one_database() {
        for (texts, path, name) in [
            (
                &["sqlite:///var/lib/acme.db", "file:/var/lib/acme.db", "sqlite:///var//lib/./acme.db"][..],
                "/var/lib/acme.db",
                "acme",
            ),
            (
                &[
                    "sqlite://acme.db",
                    "sqlite:acme.db",
                    "sqlite://./acme.db",
                    "file:./acme.db",
                    "sqlite://%61cme.db",
                    "sqlite://acme.db?mode=rwc",
                    " SQLITE://acme.db\n",
                ],
                "acme.db",
                "acme",
            ),
            (&["sqlite://shops/acme.db", "sqlite://shops//acme.db"], "shops/acme.db", "acme"),
            (&["sqlite:///a%20b.sqlite3", "sqlite:///a b.sqlite3"], "/a b.sqlite3", "a b"),
            (&["sqlite:///100%25%3f%23.db"], "/100%?#.db", "100%?#"),
            (&["sqlite://Acme.db"], "Acme.db", "Acme"),
        ] {
            for text in texts {
                let database: Database = text.parse().unwrap();
                assert_eq!((database.path(), database.name().as_str()), (Path::new(path), name), "{text}");
                assert_eq!(database.expose().parse::<Database>().unwrap(), database, "{text}");
                assert_eq!(database, texts[0].parse().unwrap(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_file_or_not_served_yet_is_refused_without_repeating_a_password() {
        for bad in [
            "",
            "acme.db",
            "hunter2",
            "Hunter2:x",
            "sqlite://",
            "sqlite:",
            "sqlite:///",
            "sqlite://.",
            "sqlite://:memory:",
            "sqlite:///x?mode=memory",
            "sqlite:///x.db?cache=shared",
            "sqlite:///x.db#hunter2",
            "sqlite:///../etc/passwd",
            "sqlite://%2e%2e/registry.db",
            "sqlite:///dir/",
            "sqlite:///a%00b.db",
            "sqlite:///a%ff.db",
            "sqlite://acme.db-wal",
            "redis://x",
            "postgres://u:hunter2@h/d",
            "mysql://u:hunter2@h/d",
        ] {
            let problem = bad.parse::<Database>().unwrap_err().to_string();
            assert!(!problem.contains("unter2"), "{problem}");
        }
        let later = "postgres://u:p@h/d".parse::<Database>().unwrap_err();
        assert_eq!(later, DatabaseProblem::NotYet("PostgreSQL"));
        assert_eq!(format!("{:?}", DatabaseText::from("postgres://u:hunter2@h/d")), "DatabaseText(..)");
    }
}
