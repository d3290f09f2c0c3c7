//! Keys of callers that are no browser page. A key is shown once and never again.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Desk, Order, Path};
use crate::{
    admin::Problem,
    tenant::{KeyView, TenantId},
};

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyOrder {
    /// What the operator calls it.
    pub(crate) name: String,
}

/// A key, this once.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyMade {
    /// What callers put into `x-gateway-key`.
    pub(crate) key: String,
}

/// Their names.
pub(super) async fn list(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
) -> Result<Json<Vec<KeyView>>, Problem> {
    desk.tenants.key_list(&id).map(Json).map_err(|error| Problem::of(&error))
}

/// A new one.
pub(super) async fn add(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
    Order(order): Order<KeyOrder>,
) -> Result<(StatusCode, Json<KeyMade>), Problem> {
    let key = desk.tenants.key_add(&id, &order.name).await.map_err(|error| Problem::of(&error))?;
    Ok((StatusCode::CREATED, Json(KeyMade { key })))
}

/// One less.
pub(super) async fn remove(
    State(desk): State<Desk>,
    Path((id, name)): Path<(TenantId, String)>,
) -> Result<(), Problem> {
    desk.tenants.key_remove(&id, &name).await.map_err(|error| Problem::of(&error))
}
