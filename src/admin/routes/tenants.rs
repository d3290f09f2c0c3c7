//! Tenants: list, show, add, change, and the orders of one word.

use std::{path::PathBuf, sync::Arc};

use axum::{Json, extract::State};
use http::StatusCode;

use super::{Desk, Order, Path};
use crate::{
    admin::Problem,
    tenant::{Change, NewTenant, Tenant, TenantError, TenantId, TenantView},
};

/// The tenant as it stands, or the problem that there is none.
pub(super) fn find(desk: &Desk, id: &TenantId) -> Result<Arc<Tenant>, Problem> {
    let snapshot = desk.tenants.registry().snapshot();
    snapshot.by_id(id.as_str()).cloned().ok_or_else(|| Problem::of(&snapshot.unknown(id)))
}

/// The file of a tenant's database.
pub(super) fn database_path(desk: &Desk, id: &TenantId) -> Result<PathBuf, Problem> {
    let tenant = find(desk, id)?;
    let database = tenant.database.as_ref().ok_or_else(|| {
        Problem::new(409, "no-database", format!("tenant `{id}` has no database"))
            .hint(format!("`gateway tenant set {id} --database sqlite://{id}.db`"))
    })?;
    Ok(desk.pools.path_of(database))
}

/// All of them.
pub(super) async fn list(State(desk): State<Desk>) -> Json<Vec<TenantView>> {
    Json(desk.tenants.list())
}

/// One of them.
pub(super) async fn show(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Shown {
    shown(desk.tenants.show(&id))
}

/// A new one.
pub(super) async fn add(
    State(desk): State<Desk>,
    Order(new): Order<NewTenant>,
) -> Result<(StatusCode, Json<TenantView>), Problem> {
    shown(desk.tenants.add(new).await).map(|tenant| (StatusCode::CREATED, tenant))
}

/// A change to one.
pub(super) async fn set(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
    Order(change): Order<Change>,
) -> Shown {
    shown(desk.tenants.set(&id, change).await)
}

/// Shut out.
pub(super) async fn suspend(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Shown {
    shown(desk.tenants.suspend(&id).await)
}

/// Let in again.
pub(super) async fn resume(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Shown {
    shown(desk.tenants.resume(&id).await)
}

/// Back soon.
pub(super) async fn pause(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Shown {
    shown(desk.tenants.pause(&id).await)
}

/// Forgotten, but for its database.
pub(super) async fn remove(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Result<(), Problem> {
    desk.tenants.remove(&id).await.map_err(|error| Problem::of(&error))
}

/// New tickets.
pub(super) async fn rotate(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Shown {
    shown(desk.tenants.rotate(&id).await)
}

/// The tenant as an order left it.
type Shown = Result<Json<TenantView>, Problem>;

fn shown(outcome: Result<TenantView, TenantError>) -> Shown {
    outcome.map(Json).map_err(|error| Problem::of(&error))
}
