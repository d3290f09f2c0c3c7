//! Copies and checks of a SQLite file while it is in use. It must never leave half a copy under the name that
//! was asked for.

use std::{fs, io, path::Path};

use rusqlite::backup::{Backup, StepResult};

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
            Err(source) => Err(PoolError::Sqlite { path, source }),
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
    let file_error = |source: io::Error| PoolError::File { path: to.to_owned(), source };
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(error)),
        _ => {}
    }
    let source = open_plain(from)?;
    prepare_file(partial)?;
    let outcome = fill(&source, partial).and_then(|()| {
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
fn fill(source: &rusqlite::Connection, to: &Path) -> Result<(), PoolError> {
    let sqlite_error = |source| PoolError::Sqlite { path: to.to_owned(), source };
    let mut copy = open_plain(to)?;
    let step = Backup::new(source, &mut copy).and_then(|backup| backup.step(-1)).map_err(sqlite_error)?;
    match step {
        StepResult::Done => copy.close().map_err(|(_, source)| sqlite_error(source)),
        other => {
            let finding = format!("the copy stopped early: {other:?}");
            Err(PoolError::Damaged { path: to.to_owned(), finding })
        }
    }
}
