//! The backends: list, restart, reload.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{Desk, Path};
use crate::{
    admin::Problem,
    backend::{Backend, BackendStatus},
};

/// Every backend with its workers.
pub(super) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<BackendStatus>>, Problem> {
    let backends = desk.live("`backend list`")?.house.backends();
    Ok(Json(backends.values().map(|backend| backend.status()).collect()))
}

/// Stop and start each worker.
pub(super) async fn restart(State(desk): State<Desk>, Path(name): Path<String>) -> Result<(), Problem> {
    find(&desk, &name)?.restart().await.map_err(|error| Problem::of(&error))
}

/// Replace each worker the rolling way.
pub(super) async fn reload(State(desk): State<Desk>, Path(name): Path<String>) -> Result<(), Problem> {
    find(&desk, &name)?.reload().await.map_err(|error| Problem::of(&error))
}

fn find(desk: &Desk, name: &str) -> Result<Arc<Backend>, Problem> {
    let mut backends = desk.live("an order to a backend")?.house.backends();
    backends.remove(name).ok_or_else(|| {
        let known: Vec<_> = backends.keys().map(|name| format!("`{name}`")).collect();
        Problem::new(404, "no-such-backend", format!("there is no backend `{name}`"))
            .hint(format!("the backends are: {}", known.join(", ")))
    })
}
