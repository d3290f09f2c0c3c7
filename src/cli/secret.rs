//! How secrets come in: by standard input, a file or the environment. Never by the command line, which every
//! user of the machine can read in `ps`.

use std::{io::Read, path::Path, path::PathBuf};

use zeroize::Zeroizing;

use super::Failure;

/// The variable that may hold a database URL.
const DATABASE_VARIABLE: &str = "GATEWAY_TENANT_DATABASE";

/// The variable that may hold a backup's passphrase.
const PASSPHRASE_VARIABLE: &str = "GATEWAY_BACKUP_PASSPHRASE";

/// Shorter passphrases are guessed, whatever the key derivation.
const PASSPHRASE_CHARACTERS_MIN: usize = 10;

/// A database URL is one line; more is a mistake such as `--database - < dump.sql`.
const SECRET_BYTES_MAX: u64 = 8 * 1024;

/// Where the tenant's database URL comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct DatabaseSource {
    /// `-` reads the database URL from standard input; only a `sqlite://` URL may stand here itself
    #[arg(long, value_name = "URL|-", conflicts_with = "database_file")]
    pub(crate) database: Option<String>,
    /// Read the database URL from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) database_file: Option<PathBuf>,
}

impl DatabaseSource {
    /// The URL, if one was given in any of the ways.
    pub(crate) fn read(&self) -> Result<Option<String>, Failure> {
        if let Some(text) = &self.database {
            return self::database(text).map(Some);
        }
        if let Some(path) = &self.database_file {
            let file = std::fs::File::open(path).map_err(|error| Failure::io("read", path, &error))?;
            return first_line(file, &path.display().to_string()).map(Some);
        }
        Ok(std::env::var(DATABASE_VARIABLE).ok().filter(|url| !url.is_empty()))
    }
}

fn database(text: &str) -> Result<String, Failure> {
    match text {
        "-" => first_line(std::io::stdin().lock(), "standard input"),
        // A SQLite URL is a path and holds no secret.
        path if path.starts_with("sqlite:") || path.starts_with("file:") => Ok(path.to_owned()),
        // Not repeated: it is in the shell's history and in `ps` already, and need not be in a log too.
        _ => {
            Err(Failure::usage("a database URL on the command line can be read by everybody on this machine")
                .hint(format!(
                    "give it on standard input (`--database -`), in a file (`--database-file FILE`) or in \
                 {DATABASE_VARIABLE}"
                )))
        }
    }
}

fn first_line(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    source
        .take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(Failure::usage(format!("there is nothing in {name}"))),
    }
}

/// Where a backup's passphrase comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct PassphraseSource {
    /// Read the passphrase from this file's first line
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// The passphrase of a new backup: long enough, and asked for twice on a terminal.
    pub(crate) fn choose(&self) -> Result<Zeroizing<String>, Failure> {
        let passphrase = match self.given()? {
            Some(passphrase) => passphrase,
            None => {
                let first = ask("passphrase for this backup: ")?;
                if *first != *ask("the same again: ")? {
                    return Err(Failure::failed("the two passphrases differ"));
                }
                first
            }
        };
        if passphrase.chars().count() < PASSPHRASE_CHARACTERS_MIN {
            return Err(Failure::usage(format!(
                "the passphrase is too short: it takes at least {PASSPHRASE_CHARACTERS_MIN} characters"
            ))
            .hint("it guards every database password; four random words are easy to keep"));
        }
        Ok(passphrase)
    }

    /// The passphrase of an existing backup.
    pub(crate) fn recall(&self) -> Result<Zeroizing<String>, Failure> {
        self.given()?.map_or_else(|| ask("passphrase of this backup: "), Ok)
    }

    fn given(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(path) = &self.passphrase_file {
            return from_file(path).map(Some);
        }
        let variable = std::env::var(PASSPHRASE_VARIABLE).ok().filter(|text| !text.is_empty());
        Ok(variable.map(Zeroizing::new))
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::io("read", path, &error))?;
    first_line(file, &path.display().to_string()).map(Zeroizing::new)
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    // rpassword speaks with /dev/tty, so that a backup may still go to standard output.
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        Failure::usage(format!("no terminal to ask for the passphrase: {error}"))
            .hint(format!("use `--passphrase-file FILE` or {PASSPHRASE_VARIABLE}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Exit;

    #[test]
    fn a_url_with_a_password_on_the_command_line_is_refused_and_not_repeated() {
        for url in ["postgres://u:hunter2@h/d", "mysql://u:hunter2@h/d", "hunter2"] {
            let failure = database(url).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            let text = failure.to_string();
            assert!(!text.contains("hunter2") && text.contains("--database-file"), "{text}");
        }
        assert_eq!(database("sqlite://acme.db").unwrap(), "sqlite://acme.db");
    }

    #[test]
    fn a_secret_is_the_first_line_that_is_not_empty() {
        assert_eq!(first_line(&b"\n  postgres://x  \n"[..], "it").unwrap(), "postgres://x");
        assert_eq!(first_line(&b" \n"[..], "it").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_new_passphrase_has_a_least_length_and_an_old_one_has_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        std::fs::write(&path, "short\n").unwrap();
        let source = PassphraseSource { passphrase_file: Some(path.clone()) };
        assert_eq!(source.choose().unwrap_err().exit, Exit::Usage);
        assert_eq!(*source.recall().unwrap(), "short");
        std::fs::write(&path, "long enough to keep\n").unwrap();
        assert_eq!(*source.choose().unwrap(), "long enough to keep");
    }
}
