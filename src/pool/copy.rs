//! Copies and checks of a SQLite file while it is in use. It must never leave half a copy under the name that
//! was asked for.

use std::{fs, io, path::Path};

use rusqlite::{
    ErrorCode,
    backup::{Backup, StepResult},
    ffi,
};

use super::{
    PoolError,
    connect::{open_plain, prepare_file},
};

/// Copy a database while it is open, as it was at one moment, to a new 0600 file.
pub(crate) async fn online_copy(from: &Path, to: &Path) -> Result<(), PoolError> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || copy(&from, &to)).await
}

/// Open the file and look for damage.
pub(crate) async fn check(path: &Path) -> Result<(), PoolError> {
    let path = path.to_owned();
    blocking(move || {
        let connection = open_plain(&path)?;
        let finding: Result<String, _> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        match finding {
            Ok(finding) if finding == "ok" => Ok(()),
            Ok(finding) => Err(PoolError::Damaged { path, finding }),
            Err(source) => Err(said(&path, source)),
        }
    })
    .await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PoolError> + Send + 'static,
) -> Result<T, PoolError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(PoolError::Thread(error.to_string())))
}

fn copy(from: &Path, to: &Path) -> Result<(), PoolError> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let file_error = |source: io::Error| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(to),
        _ => PoolError::File { path: to.to_owned(), source },
    };
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(error)),
        _ => {}
    }
    let source = open_plain(from)?;
    prepare_file(partial)?;
    let outcome = fill(&source, from, partial).and_then(|()| {
        fs::File::open(partial).and_then(|file| file.sync_all()).map_err(file_error)?;
        fs::rename(partial, to).map_err(file_error)
    });
    if outcome.is_err() {
        // The error in hand says more than a failure to clean up.
        drop(fs::remove_file(partial));
    }
    outcome
}

/// All pages in one step, and so in one read transaction: writers go on beside it, and the copy never has to
/// begin again because of them.
fn fill(source: &rusqlite::Connection, from: &Path, to: &Path) -> Result<(), PoolError> {
    let of_copy = |error: rusqlite::Error| {
        // The copy is made of what is read: damage is the source's.
        let damage = [ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt];
        let is_damage = error.sqlite_error_code().is_some_and(|code| damage.contains(&code));
        said(if is_damage { from } else { to }, error)
    };
    let mut copy = open_plain(to)?;
    let step = Backup::new(source, &mut copy).and_then(|backup| backup.step(-1)).map_err(of_copy)?;
    match step {
        StepResult::Done => copy.close().map_err(|(_, source)| of_copy(source)),
        other => {
            let finding = format!("the copy stopped early: {other:?}");
            Err(PoolError::Damaged { path: to.to_owned(), finding })
        }
    }
}

/// What SQLite said of a file. A full disk shows in two ways: no page can be written, or the index of the
/// write-ahead log cannot grow.
fn said(path: &Path, source: rusqlite::Error) -> PoolError {
    let is_full = source.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    });
    if is_full { full(path) } else { PoolError::Sqlite { path: path.to_owned(), source } }
}

fn full(path: &Path) -> PoolError {
    PoolError::Full(path.parent().unwrap_or(path).to_owned())
}
