//! A tenant's migrations, run by sqlx's Migrator.

use std::path::Path;

use serde::Serialize;

use super::PoolError;

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

/// Apply what has not been applied.
pub(crate) async fn migrate(
    _path: &Path,
    _migrations: Vec<MigrationFile>,
) -> Result<MigrationReport, PoolError> {
    todo!()
}
