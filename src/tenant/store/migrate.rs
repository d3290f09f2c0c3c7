//! The registry's tables brought up to date, by this program or by one that was there before the last upgrade. It must never
//! refuse a registry that it can work with: a program that is put back would have nothing to come back to.
//!
//! Migrations therefore only add (expand); what an older program reads and writes stays as it is for at least one release.
//! One that takes something away (contract) says so with `PRAGMA user_version = N`, its own number: programs that do not
//! know migration N leave such a registry alone.

use std::path::Path;

use sqlx::{SqliteConnection, migrate::Migrator};

use super::{super::error::StoreProblem, problem};

/// All that this program knows.
pub(super) fn known() -> Migrator {
    sqlx::migrate!("./migrations")
}

/// Carry out what is not of record yet.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    mut migrator: Migrator,
) -> Result<(), StoreProblem> {
    let oldest: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| problem::of(path, &error))?;
    let newest = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    if oldest > newest {
        return Err(StoreProblem::Newer(path.to_owned()));
    }
    // What a newer program has added stands beside what this one knows.
    migrator.set_ignore_missing(true);
    migrator.run(connection).await.map_err(|error| problem::of_migration(path, &error))
}
