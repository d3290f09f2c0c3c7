//! Where a tenant's data is: the database URL, parsed once. It holds a secret, so it never prints itself whole.

use std::{fmt, path::PathBuf, str::FromStr};

use url::Url;

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
    url: Url,
    engine: Engine,
}

/// Why a text is no database URL. Never repeats the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatabaseProblem {
    /// Not a URL at all.
    #[error(
        "the database URL cannot be read ({0}); write it like `sqlite:///var/lib/gateway/tenants/acme.db`"
    )]
    Unreadable(String),
    /// PostgreSQL and MySQL come with their own doors.
    #[error("`{0}` databases are not served yet; this version has the SQLite door (`sqlite://…`)")]
    NotYet(&'static str),
    /// Some other scheme.
    #[error("`{0}:` is no database this gateway knows; use `sqlite://…`")]
    UnknownScheme(String),
    /// `sqlite:` without a usable path.
    #[error(
        "a SQLite URL names a file: `sqlite:///absolute/path.db`, or `sqlite://file.db` below the state directory"
    )]
    NoPath,
    /// In-memory databases would vanish with the pool.
    #[error("an in-memory database would be lost when its pool goes idle; name a file")]
    InMemory,
}

impl Database {
    /// The whole URL with its secrets: for sealing and for connecting, nothing else.
    pub(crate) fn expose(&self) -> &str {
        self.url.as_str()
    }

    /// Which door serves it.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// The file of a SQLite database as written: absolute, or relative to the state directory's `tenants/`.
    pub(crate) fn path(&self) -> PathBuf {
        let host = self.url.host_str().unwrap_or_default();
        let path = percent_decode(self.url.path());
        PathBuf::from(format!("{host}{path}"))
    }

    /// The database's own name, as drivers qualify tables with it: for SQLite the file's stem.
    pub(crate) fn name(&self) -> String {
        self.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Same place? Two tenants may never share a database.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        self.engine == other.engine && self.path() == other.path()
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let decoded = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl FromStr for Database {
    type Err = DatabaseProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.contains(":memory:") || text.contains("mode=memory") {
            return Err(DatabaseProblem::InMemory);
        }
        let url = Url::parse(text).map_err(|error| DatabaseProblem::Unreadable(error.to_string()))?;
        match url.scheme() {
            "sqlite" | "file" => {}
            "postgres" | "postgresql" => return Err(DatabaseProblem::NotYet("PostgreSQL")),
            "mysql" | "mariadb" => return Err(DatabaseProblem::NotYet("MySQL")),
            other => return Err(DatabaseProblem::UnknownScheme(other.to_owned())),
        }
        let database = Self { url, engine: Engine::Sqlite };
        let path = database.path();
        // The URL parser has resolved `..` already: a path that meant to climb is seen in the text alone.
        let climbs = percent_decode(text).split('/').any(|part| part == "..");
        if path.file_name().is_none() || climbs || text.ends_with('/') {
            return Err(DatabaseProblem::NoPath);
        }
        Ok(database)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite://{}", self.path().display())
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
    fn a_sqlite_url_names_one_file() {
        for (text, path, name) in [
            ("sqlite:///var/lib/acme.db", "/var/lib/acme.db", "acme"),
            ("sqlite://acme.db", "acme.db", "acme"),
            ("sqlite://shops/acme.db", "shops/acme.db", "acme"),
            ("sqlite:///a%20b.sqlite3", "/a b.sqlite3", "a b"),
        ] {
            let database: Database = text.parse().unwrap();
            assert_eq!((database.path(), database.name().as_str()), (PathBuf::from(path), name), "{text}");
        }
    }

    #[test]
    fn what_is_no_file_or_not_served_yet_is_refused_without_repeating_a_password() {
        for bad in [
            "",
            "acme.db",
            "sqlite://",
            "sqlite:///",
            "sqlite://:memory:",
            "sqlite:///x?mode=memory",
            "sqlite:///../etc/passwd",
            "sqlite:///dir/",
            "redis://x",
            "postgres://u:hunter2@h/d",
            "mysql://u:hunter2@h/d",
        ] {
            let problem = bad.parse::<Database>().unwrap_err().to_string();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        let later = "postgres://u:p@h/d".parse::<Database>().unwrap_err();
        assert_eq!(later, DatabaseProblem::NotYet("PostgreSQL"));
    }
}
