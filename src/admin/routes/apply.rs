//! All tenants at once: out as data, and in again.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{Desk, Order};
use crate::{
    admin::Problem,
    tenant::{ApplyReport, TenantSpec},
};

/// What shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyOrder {
    /// The tenants.
    pub(crate) tenants: Vec<TenantSpec>,
    /// Remove those that are not among them?
    pub(crate) prune: bool,
}

/// All or nothing: one problem, and nothing has changed.
pub(super) async fn apply(
    State(desk): State<Desk>,
    Order(order): Order<ApplyOrder>,
) -> Result<Json<ApplyReport>, Problem> {
    desk.tenants.apply(order.tenants, order.prune).await.map(Json).map_err(|error| Problem::of(&error))
}

/// What `apply` takes.
pub(super) async fn export(State(desk): State<Desk>) -> Json<Vec<TenantSpec>> {
    Json(desk.tenants.export())
}
