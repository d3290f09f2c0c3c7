//! One tenant's migrations: nobody has a connection while they run; requests wait and are not failed.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{Desk, Order, Path, tenants};
use crate::{
    admin::Problem,
    pool::{self, MigrationFile},
    tenant::TenantId,
};

/// The files of the operator's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MigrateOrder {
    /// In order.
    pub(crate) migrations: Vec<MigrationText>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MigrationText {
    /// Its name, such as `0001_bookings.sql`.
    pub(crate) name: String,
    /// Its content.
    pub(crate) sql: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Migrated {
    /// The files applied now.
    pub(crate) applied: Vec<String>,
    /// How many had been applied before.
    pub(crate) already: usize,
}

/// Hold, migrate, release.
pub(super) async fn migrate(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
    Order(order): Order<MigrateOrder>,
) -> Result<Json<Migrated>, Problem> {
    let path = tenants::database_path(&desk, &id)?;
    let files =
        order.migrations.into_iter().map(|one| MigrationFile { name: one.name, sql: one.sql }).collect();
    // A caller that goes away must not leave a migration half waited for: it ends on its own, and so does the
    // hold.
    let parts = desk.parts.clone();
    let work = desk.life.spawn(async move {
        let hold = parts.pools.drain(&id).await.map_err(|error| Problem::of(&error))?;
        let report = pool::migrate(&path, files).await.map_err(|error| Problem::of(&error));
        drop(hold);
        report
    });
    let report = work.await.map_err(|error| Problem::machine("finish the migration", &error))??;
    Ok(Json(Migrated { applied: report.applied, already: report.already }))
}
