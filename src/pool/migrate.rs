//! A tenant's migrations, run by sqlx's Migrator: each file in a transaction of its own and recorded in
//! `_sqlx_migrations`, so that a run that failed goes on where it stopped. It must never apply a file twice.

use std::{borrow::Cow, path::Path};

use serde::Serialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode},
};

use super::{PoolError, connect::prepare_file, copy::blocking};

/// One file of the operator's migrations directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MigrationFile {
    /// Its file name, such as `0001_bookings.sql`.
    pub(crate) name: String,
    /// Its text.
    pub(crate) sql: String,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct MigrationReport {
    /// The files applied now, in order.
    pub(crate) applied: Vec<String>,
    /// How many had been applied before.
    pub(crate) already: usize,
}

/// Apply what has not been applied. The caller holds the tenant's pool drained.
pub(crate) async fn migrate(
    path: &Path,
    migrations: Vec<MigrationFile>,
) -> Result<MigrationReport, PoolError> {
    let files = ordered(migrations)?;
    let file = path.to_owned();
    blocking(move || prepare_file(&file).map(drop)).await?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .disable_statement_logging();
    let failed = |error: &dyn std::fmt::Display| PoolError::Migration {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        problem: error.to_string(),
    };
    let mut connection = options.connect().await.map_err(|error| failed(&error))?;
    let before = applied(&mut connection).await.map_err(|error| failed(&error))?;
    let migrator = Migrator::with_migrations(files.iter().map(|file| file.migration.clone()).collect());
    let outcome = migrator.run_direct(None, &mut connection, false).await;
    let closed = connection.close().await;
    outcome.map_err(|error| named(&error, &files))?;
    closed.map_err(|error| failed(&error))?;
    let is_new = |file: &&File| !before.contains(&file.migration.version);
    let applied = files.iter().filter(is_new).map(|file| file.name.clone()).collect();
    Ok(MigrationReport { applied, already: before.len() })
}

struct File {
    name: String,
    migration: Migration,
}

/// `0001_bookings.sql`: the digits are the version. `*.down.sql` only undoes and is left out.
fn ordered(files: Vec<MigrationFile>) -> Result<Vec<File>, PoolError> {
    let mut ordered: Vec<File> = Vec::new();
    for MigrationFile { name, sql } in files {
        if name.ends_with(".down.sql") {
            continue;
        }
        let problem =
            |problem: &str| PoolError::Migration { name: name.clone(), problem: problem.to_owned() };
        let stem = name.strip_suffix(".sql").ok_or_else(|| problem("a migration's name ends in `.sql`"))?;
        let stem = stem.strip_suffix(".up").unwrap_or(stem);
        let (version, description) = stem.split_once('_').unwrap_or((stem, ""));
        let version: i64 = version
            .parse()
            .map_err(|_| problem("a migration's name begins with its number: `0001_what.sql`"))?;
        let no_tx = sql.starts_with("-- no-transaction");
        let description = Cow::Owned(description.replace('_', " "));
        let sql = AssertSqlSafe(sql).into_sql_str();
        let migration = Migration::new(version, description, MigrationType::Simple, sql, no_tx);
        ordered.push(File { name, migration });
    }
    ordered.sort_by_key(|file| file.migration.version);
    if let Some(pair) = ordered.windows(2).find(|pair| pair[0].migration.version == pair[1].migration.version)
    {
        let problem = format!("it has the same number as `{}`", pair[0].name);
        return Err(PoolError::Migration { name: pair[1].name.clone(), problem });
    }
    Ok(ordered)
}

async fn applied(connection: &mut SqliteConnection) -> Result<Vec<i64>, MigrateError> {
    connection.ensure_migrations_table("_sqlx_migrations").await?;
    let applied = connection.list_applied_migrations("_sqlx_migrations").await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// Say the file's name instead of its number alone.
fn named(error: &MigrateError, files: &[File]) -> PoolError {
    let (version, problem) = match error {
        MigrateError::ExecuteMigration(source, version) => (Some(*version), source.to_string()),
        MigrateError::VersionMismatch(version) => {
            (Some(*version), "it was applied before with another text; add a new file instead".to_owned())
        }
        MigrateError::VersionMissing(version) => {
            (Some(*version), "it was applied before, and its file is gone".to_owned())
        }
        MigrateError::Dirty(version) => {
            (Some(*version), "an earlier run left it half applied; repair the schema by hand".to_owned())
        }
        other => (None, other.to_string()),
    };
    let file = files.iter().find(|file| Some(file.migration.version) == version);
    let name = file.map(|file| file.name.clone()).or_else(|| version.map(|version| version.to_string()));
    PoolError::Migration { name: name.unwrap_or_else(|| "-".to_owned()), problem }
}
