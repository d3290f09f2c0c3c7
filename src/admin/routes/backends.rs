//! The backends: how they are, and the orders to them. Each is answered when it has been carried out.

use std::sync::Arc;

use axum::{Json, extract::State};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{Desk, Order, Path, Reloaded, house};
use crate::{
    admin::{Order as HouseOrder, Problem},
    backend::{Backend, BackendStatus},
    error::nearest,
};

/// How many workers there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleOrder {
    /// From 1.
    pub(crate) workers: usize,
}

/// Where to go back to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RollbackOrder {
    /// The one before, if none is named.
    pub(crate) generation: Option<u64>,
}

/// Which signal, and who gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalOrder {
    /// Such as `SIGUSR2` or `USR2`.
    pub(crate) signal: String,
    /// Such as `api/0`; all workers, if none is named.
    #[serde(default)]
    pub(crate) worker: Option<String>,
}

/// Who got a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signalled {
    /// So many processes.
    pub(crate) processes: usize,
}

/// Every backend with its workers.
pub(super) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<BackendStatus>>, Problem> {
    let backends = desk.live("`backend list`")?.house.backends();
    Ok(Json(backends.values().map(|backend| backend.status()).collect()))
}

/// One backend.
pub(super) async fn show(
    State(desk): State<Desk>,
    Path(name): Path<String>,
) -> Result<Json<BackendStatus>, Problem> {
    Ok(Json(find(&desk, &name)?.status()))
}

/// Stop and start each worker.
pub(super) async fn restart(State(desk): State<Desk>, Path(name): Path<String>) -> Result<(), Problem> {
    find(&desk, &name)?.restart().await.map_err(|error| Problem::of(&error))
}

/// Replace each worker the rolling way, by those of the configuration file's present content.
pub(super) async fn reload(
    State(desk): State<Desk>,
    Path(name): Path<String>,
) -> Result<Json<Reloaded>, Problem> {
    find(&desk, &name)?;
    let order = |answer| HouseOrder::ReloadBackend(name, answer);
    Ok(Json(house::order(desk.live("a reload")?, order).await?.over().await))
}

/// Have no workers any more.
pub(super) async fn stop(State(desk): State<Desk>, Path(name): Path<String>) -> Result<(), Problem> {
    find(&desk, &name)?.halt().await.map_err(|error| Problem::of(&error))
}

/// Have workers again.
pub(super) async fn start(State(desk): State<Desk>, Path(name): Path<String>) -> Result<(), Problem> {
    find(&desk, &name)?.resume().await.map_err(|error| Problem::of(&error))
}

/// Have more or fewer.
pub(super) async fn scale(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Order(order): Order<ScaleOrder>,
) -> Result<(), Problem> {
    find(&desk, &name)?.scale(order.workers).await.map_err(|error| Problem::of(&error))
}

/// Go back to an earlier generation.
pub(super) async fn rollback(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Order(order): Order<RollbackOrder>,
) -> Result<(), Problem> {
    find(&desk, &name)?.rollback(order.generation).await.map_err(|error| Problem::of(&error))
}

/// Send a signal to the workers' processes.
pub(super) async fn signal(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Order(order): Order<SignalOrder>,
) -> Result<Json<Signalled>, Problem> {
    let backend = find(&desk, &name)?;
    let signal = parse(&order.signal).ok_or_else(|| {
        Problem::new(422, "bad-signal", format!("there is no signal `{}`", order.signal))
            .hint("name it like USR2, SIGUSR2, HUP or TERM")
    })?;
    let processes = backend.signal(signal, order.worker.as_deref()).map_err(|error| Problem::of(&error))?;
    Ok(Json(Signalled { processes }))
}

fn parse(name: &str) -> Option<Signal> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    format!("SIG{name}").parse().ok()
}

/// The backend of that name.
pub(super) fn find(desk: &Desk, name: &str) -> Result<Arc<Backend>, Problem> {
    let mut backends = desk.live("an order to a backend")?.house.backends();
    backends.remove(name).ok_or_else(|| {
        let near = nearest(name, backends.keys().map(String::as_str));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let known: Vec<_> = backends.keys().map(|name| format!("`{name}`")).collect();
        Problem::new(404, "no-such-backend", format!("there is no backend `{name}`"))
            .hint(format!("{near}the backends are: {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_named_as_people_name_it() {
        for (name, want) in [
            ("USR2", Some(Signal::SIGUSR2)),
            ("sigusr2", Some(Signal::SIGUSR2)),
            ("SIGTERM", Some(Signal::SIGTERM)),
            ("hup", Some(Signal::SIGHUP)),
            ("SIGSIGHUP", None),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(parse(name), want, "{name}");
        }
    }
}
