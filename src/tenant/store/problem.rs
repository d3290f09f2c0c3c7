//! What SQLite said, in the operator's words: one clear problem with its remedy. Pure.

use std::{io, path::Path};

use sqlx::migrate::MigrateError;

use super::super::error::StoreProblem;

/// SQLite's primary result codes (sqlite.org/rescode.html).
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
    /// Extended: the index of the write-ahead log cannot grow, which is how a full disk shows when opening.
    pub(super) const IOERR_SHMSIZE: i32 = 10 | (19 << 8);
}

/// The problem behind an error of sqlx.
pub(super) fn of(path: &Path, error: &sqlx::Error) -> StoreProblem {
    let path = path.to_owned();
    let detail = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    // The low byte is the primary code; the rest says where it happened.
    let extended = match error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()),
        _ => None,
    };
    if extended == Some(code::IOERR_SHMSIZE) {
        return StoreProblem::Full(path);
    }
    match extended.map(|code| code & 0xff) {
        Some(code::CORRUPT | code::NOTADB) => StoreProblem::Damaged { path, detail },
        Some(code::FULL) => StoreProblem::Full(path),
        Some(code::BUSY | code::LOCKED) => StoreProblem::Busy(path),
        Some(code::CANTOPEN | code::READONLY | code::PERM) => StoreProblem::Unreadable { path, detail },
        _ if is_full(error) => StoreProblem::Full(path),
        _ if matches!(error, sqlx::Error::PoolTimedOut) => StoreProblem::Busy(path),
        _ if matches!(error, sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }) => {
            StoreProblem::Damaged { path, detail }
        }
        _ => StoreProblem::Failed { path, detail },
    }
}

/// The problem behind an error of the file system.
pub(super) fn of_file(path: &Path, error: &io::Error) -> StoreProblem {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreProblem::Full(path.to_owned()),
        _ => StoreProblem::Unreadable { path: path.to_owned(), detail: error.to_string() },
    }
}

fn is_full(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull)
}

/// The problem behind an error of the migrator.
pub(super) fn of_migration(path: &Path, error: &MigrateError) -> StoreProblem {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of(path, error),
        other => StoreProblem::Damaged { path: path.to_owned(), detail: other.to_string() },
    }
}
