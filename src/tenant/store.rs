//! The registry on disk: the only SQL on our own tables. It knows rows and files, no rules. It must never leave a
//! write half done, overwrite another process's, or hold a database URL in the clear.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Tenant, TenantId,
    error::{StoreProblem, TenantError},
    seal::SealKey,
};

mod lenient;
mod load;
mod migrate;
mod problem;

/// How long to wait for another process's write: a command of the CLI takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the one connection; longer than a wait for another process's write.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// "gate" as SQLite's application id; `migrations/0001` sets it.
const APPLICATION_ID: i64 = 0x6761_7465;

/// The open registry. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pool: SqlitePool,
    path: Arc<Path>,
}

/// All that is of record, at one revision.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tenants: Vec<Tenant>,
    pub(super) revision: i64,
}

/// What one write changes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) put: Vec<Arc<Tenant>>,
    pub(super) gone: Vec<TenantId>,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is on disk, and this is the revision now.
    Done(i64),
    /// Another process wrote since we loaded; nothing was written.
    Stale,
}

/// How many tenants the registry at a path names; nothing is made or changed, and nobody need have its key.
pub(crate) async fn count(path: &Path) -> Result<u64, String> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let failed = |error: sqlx::Error| error.to_string();
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM tenant").fetch_one(&mut connection).await.map_err(failed)?;
    Ok(count.unsigned_abs())
}

impl Store {
    /// Open the registry, or make it; bring its tables up to date; look whether it is whole.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreProblem> {
        make_private(path)
            .map_err(|error| StoreProblem::Unreadable { path: path.to_owned(), detail: error.to_string() })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // One connection: writes are one at a time anyway, and reads come from the snapshot in memory.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await;
        let pool = pool.map_err(|error| problem::of(path, &error))?;
        let store = Self { pool, path: path.into() };
        match store.prepare().await {
            Ok(()) => Ok(store),
            Err(problem) => {
                store.close().await;
                Err(problem)
            }
        }
    }

    async fn prepare(&self) -> Result<(), StoreProblem> {
        let failed = |error: sqlx::Error| problem::of(&self.path, &error);
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let verdict: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(StoreProblem::Damaged { path: self.path.to_path_buf(), detail: verdict });
        }
        let application: i64 =
            sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if tables > 0 && application != APPLICATION_ID {
            // A start that was cut short after the migrator made its own table left nothing of anybody's.
            let others: i64 =
                sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE tbl_name != '_sqlx_migrations'")
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(failed)?;
            if others > 0 {
                return Err(StoreProblem::Foreign(self.path.to_path_buf()));
            }
        }
        migrate::migrate(&mut connection, &self.path, migrate::known()).await
    }

    /// Everything, in one consistent read; in the order of ids.
    pub(super) async fn load(&self, key: &SealKey) -> Result<Loaded, TenantError> {
        load::load(&self.pool, &self.path, key).await
    }

    /// The mark of the key that this registry was sealed with; none while it is new.
    pub(super) async fn seal_mark(&self) -> Result<Option<Vec<u8>>, StoreProblem> {
        sqlx::query_scalar("SELECT seal_mark FROM registry WHERE id = 1")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| problem::of(&self.path, &error))
    }

    /// Remember the key that this registry is sealed with; the first one stays.
    pub(super) async fn put_seal_mark(&self, mark: &[u8]) -> Result<(), StoreProblem> {
        sqlx::query("UPDATE registry SET seal_mark = ? WHERE id = 1 AND seal_mark IS NULL")
            .bind(mark)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(|error| problem::of(&self.path, &error))
    }

    /// Write a batch, whole or not at all, if the registry still has that revision. Dropped midway, it is rolled back
    /// or done; the next write's revision tells.
    pub(super) async fn write(
        &self,
        key: &SealKey,
        batch: &Batch,
        revision: i64,
    ) -> Result<Written, TenantError> {
        // Sealed before the transaction, so that nothing but the disk can fail inside it.
        let mut sealed = Vec::with_capacity(batch.put.len());
        for tenant in &batch.put {
            let database = tenant.database.as_ref();
            sealed.push(database.map(|database| key.seal(&tenant.id, database.expose())).transpose()?);
        }
        let mut connection = self.pool.acquire().await.map_err(|error| problem::of(&self.path, &error))?;
        let written = write_sealed(&mut connection, batch, &sealed, revision).await;
        if written.is_err() {
            // On a full disk SQLite ends the transaction by itself; sqlx's own ROLLBACK then fails, and it would take
            // the connection for busy with that transaction for ever. A new one begins clean.
            connection.close_on_drop();
        }
        drop(connection);
        Ok(written.map_err(|error| problem::of(&self.path, &error))?)
    }

    /// A consistent copy of the registry in a new file that nobody else can read, while it is in use.
    pub(super) async fn copy_to(&self, to: &Path) -> Result<(), StoreProblem> {
        let target = to.to_str().ok_or_else(|| StoreProblem::Unreadable {
            path: to.to_owned(),
            detail: "its name is not UTF-8".into(),
        })?;
        // SQLite takes an empty file, so its permissions are right before the first byte.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        // Whatever else fails is the registry's; only the room is that of the copy.
        let told = |problem| match problem {
            StoreProblem::Full(_) => StoreProblem::NoRoom(to.parent().unwrap_or(to).to_owned()),
            problem => problem,
        };
        options.open(to).map_err(|error| told(problem::of_file(to, &error)))?;
        let copied = sqlx::query("VACUUM INTO ?").bind(target).execute(&self.pool).await;
        if copied.is_err() {
            // Half a copy is worse than none; the first error is the one to tell.
            _ = fs::remove_file(to);
        }
        copied.map(drop).map_err(|error| told(problem::of(&self.path, &error)))
    }

    /// Close the file; the write-ahead log goes into it.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn write_sealed(
    connection: &mut SqliteConnection,
    batch: &Batch,
    sealed: &[Option<Vec<u8>>],
    revision: i64,
) -> Result<Written, sqlx::Error> {
    // IMMEDIATE takes the write lock first, where a busy wait is possible.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let bumped = sqlx::query("UPDATE registry SET revision = revision + 1 WHERE id = 1 AND revision = ?")
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
    if bumped.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(Written::Stale);
    }
    // All old rows first: an origin may move from one tenant to another in one batch.
    for id in batch.gone.iter().chain(batch.put.iter().map(|tenant| &tenant.id)) {
        for table in ["tenant_origin", "tenant_host", "tenant_key"] {
            sqlx::query(AssertSqlSafe(format!("DELETE FROM {table} WHERE tenant_id = ?")))
                .bind(id.as_str())
                .execute(&mut *transaction)
                .await?;
        }
    }
    for id in &batch.gone {
        let delete = sqlx::query("DELETE FROM tenant WHERE id = ?").bind(id.as_str());
        delete.execute(&mut *transaction).await?;
    }
    for (tenant, sealed) in batch.put.iter().zip(sealed) {
        put(&mut transaction, tenant, sealed.as_deref()).await?;
    }
    transaction.commit().await?;
    Ok(Written::Done(revision + 1))
}

async fn put(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    sealed: Option<&[u8]>,
) -> Result<(), sqlx::Error> {
    let json = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    let cors = tenant.cors.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
    sqlx::query(
        "INSERT INTO tenant (id, status, epoch, database_sealed, backend, cors, limits, declared) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, epoch = excluded.epoch, \
         database_sealed = excluded.database_sealed, backend = excluded.backend, cors = excluded.cors, \
         limits = excluded.limits, declared = excluded.declared",
    )
    .bind(tenant.id.as_str())
    .bind(tenant.status.as_str())
    .bind(&tenant.epoch.as_bytes()[..])
    .bind(sealed)
    .bind(tenant.backend.as_deref())
    .bind(cors)
    .bind(serde_json::to_string(&tenant.limits).map_err(json)?)
    .bind(tenant.declared)
    .execute(&mut *connection)
    .await?;
    for (position, origin) in (0i64..).zip(&tenant.origins) {
        sqlx::query("INSERT INTO tenant_origin (origin, tenant_id, position) VALUES (?, ?, ?)")
            .bind(origin.as_str())
            .bind(tenant.id.as_str())
            .bind(position)
            .execute(&mut *connection)
            .await?;
    }
    for (position, host) in (0i64..).zip(&tenant.hosts) {
        sqlx::query("INSERT INTO tenant_host (host, tenant_id, position) VALUES (?, ?, ?)")
            .bind(host.as_str())
            .bind(tenant.id.as_str())
            .bind(position)
            .execute(&mut *connection)
            .await?;
    }
    for (position, key) in (0i64..).zip(&tenant.keys) {
        sqlx::query(
            "INSERT INTO tenant_key (hash, tenant_id, name, created_unix_s, position) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&key.hash.0[..])
        .bind(tenant.id.as_str())
        .bind(&key.name)
        .bind(key.created_unix_s)
        .bind(position)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Make the file, and directories on the way, so that they are private before SQLite writes the first byte; its log
/// takes over the file's permissions. A registry that others can read, from a careless copy, is made private again.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let files = ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    for file in files {
        match fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            }
            Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is not a file")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
