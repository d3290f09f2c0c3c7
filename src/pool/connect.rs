//! How a SQLite file is opened: private to us, in WAL mode, with every limit set before a tenant's first
//! statement. It must never create a file that others can read.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rusqlite::{Connection, InterruptHandle, OpenFlags, config::DbConfig, limits::Limit};

use super::{
    PoolError, Sqlite,
    authorize::{Marks, authorizer},
    watchdog::Watchdog,
};

/// Bytes of one SQL text: SQLite's own default, written down.
const SQL_BYTES_MAX: i32 = 1_000_000;
/// Statements kept compiled per connection: an application's handful of hot ones.
const STATEMENTS_KEPT: usize = 64;
/// The write-ahead log is cut back to this after a checkpoint.
const WAL_BYTES_KEPT: u64 = 64 * 1024 * 1024;
/// Waiting for a lock inside SQLite cannot be interrupted, so it is short: with one writer and one process a
/// lock is only ever held by a checkpoint or a migration.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// One open connection with its watchdog and marks.
pub(crate) struct Open {
    pub(super) sqlite: Connection,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) interrupt: Arc<InterruptHandle>,
    pub(super) marks: Arc<Marks>,
    pub(super) writes: bool,
}

/// Device and inode: the same for every path that leads to the file.
pub(super) type FileIdentity = (u64, u64);

impl Open {
    /// Let it write, or not.
    pub(super) fn set_writes(&mut self, writes: bool) -> rusqlite::Result<()> {
        if self.writes != writes {
            self.marks.ours.store(true, Ordering::Relaxed);
            let done = self.sqlite.pragma_update(None, "query_only", !writes);
            self.marks.ours.store(false, Ordering::Relaxed);
            done?;
            self.writes = writes;
        }
        Ok(())
    }
}

/// Make the file and its directories if they are not there, with nobody else's rights; which file is it?
pub(super) fn prepare_file(path: &Path) -> Result<FileIdentity, PoolError> {
    let attempt = || -> io::Result<FileIdentity> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok((metadata.dev(), metadata.ino()))
    };
    attempt().map_err(|source| PoolError::File { path: path.to_owned(), source })
}

/// Which file is at a path now?
pub(super) fn identity(path: &Path) -> Option<FileIdentity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Open a connection for a tenant's own statements. Blocks.
pub(super) fn open(path: &Path, limits: &Sqlite) -> Result<Open, PoolError> {
    open_guarded(path, limits).map_err(|source| PoolError::Sqlite { path: path.to_owned(), source })
}

/// Open a connection for our own work on the file: copies and checks. Blocks.
pub(super) fn open_plain(path: &Path) -> Result<Connection, PoolError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(LOCK_WAIT)?;
        Ok(connection)
    });
    connection.map_err(|source| PoolError::Sqlite { path: path.to_owned(), source })
}

fn open_guarded(path: &Path, limits: &Sqlite) -> rusqlite::Result<Open> {
    // No URI names: a path with `?mode=` in it is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = Connection::open_with_flags(path, flags)?;
    sqlite.busy_timeout(LOCK_WAIT)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    sqlite.pragma_update(None, "journal_mode", "wal")?;
    sqlite.pragma_update(None, "journal_size_limit", i64::try_from(WAL_BYTES_KEPT).unwrap_or(i64::MAX))?;
    sqlite.pragma_update(None, "cache_size", -i64::from(limits.cache_kib))?;
    let page_bytes: u32 = sqlite.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages_max =
        (limits.file_bytes_max / u64::from(page_bytes.max(512))).clamp(16, u64::from(u32::MAX - 1));
    sqlite.pragma_update(None, "max_page_count", i64::try_from(pages_max).unwrap_or(i64::MAX))?;
    sqlite.pragma_update(None, "query_only", true)?;
    let cell_bytes_max = i32::try_from(limits.response_bytes_max).unwrap_or(i32::MAX);
    sqlite.set_limit(Limit::SQLITE_LIMIT_LENGTH, cell_bytes_max)?;
    sqlite.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX.min(cell_bytes_max))?;
    // One: VACUUM attaches a nameless file; the authorizer refuses every other.
    sqlite.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
    sqlite.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    sqlite.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    let marks = Arc::new(Marks::default());
    sqlite.authorizer(Some(authorizer(marks.clone())))?;
    let watchdog = Watchdog::install(&sqlite)?;
    let interrupt = Arc::new(sqlite.get_interrupt_handle());
    Ok(Open { sqlite, watchdog, interrupt, marks, writes: false })
}
