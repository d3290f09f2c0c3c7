//! The house as a whole: health, metrics, status, refused origins, reload, swap.

use std::sync::atomic::Ordering;

use axum::{Json, extract::State};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::Desk;
use crate::{
    admin::{Listening, Live, Order, Problem, Status, status::Counts},
    backend::BackendStatus,
    edge::{observe, warnings},
    job::JobView,
    tenant::RefusedView,
};

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// Changed keys that only a new start brings into force.
    pub(crate) restart_needed: Vec<String>,
    /// Legal, but probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// A swap that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swapping {
    /// The program that this process becomes.
    pub(crate) program: String,
    /// How often it has become another one before.
    pub(crate) swaps: u64,
}

/// 200 while requests are taken, 503 while the gateway drains.
pub(super) async fn healthz(State(desk): State<Desk>) -> (StatusCode, &'static str) {
    match &desk.live {
        Some(live) if !live.shutdown.has_begun() => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// OpenMetrics text.
pub(super) async fn metrics(State(desk): State<Desk>) -> Result<(HeaderMap, String), Problem> {
    let live = desk.live("metrics")?;
    observe(&live.house.certificates(), &live.metrics);
    let text = live.metrics.text();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok((HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]), text))
}

/// The whole house.
pub(super) async fn status(State(desk): State<Desk>) -> Result<Json<Status>, Problem> {
    let live = desk.live("status")?;
    let now = Timestamp::now();
    let certificates = live.house.certificates();
    let mut listeners = live.house.listeners();
    listeners.extend(desk.metrics.map(|address| Listening { kind: "metrics".to_owned(), address }));
    let backends: Vec<_> = live.house.backends().values().map(|backend| backend.status()).collect();
    let jobs = live.house.jobs().list();
    let of_backends = backends.iter().flat_map(BackendStatus::warnings);
    let of_jobs = jobs.iter().filter_map(JobView::warning);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: live.started,
        uptime_s: u64::try_from(now.as_second() - live.started.as_second()).unwrap_or(0),
        stopping: live.shutdown.has_begun(),
        swapping: live.swapping.load(Ordering::Relaxed),
        swaps: live.swaps,
        swap_websockets: live.swap_websockets,
        swap_failure: live.swap_failure.clone(),
        listeners,
        sites: live.house.sites(),
        doors: live.house.doors(),
        pools: values(desk.pools.status())?,
        tenants: Counts::of(&desk.tenants.registry().snapshot()),
        warnings: warnings(&certificates, now).into_iter().chain(of_backends).chain(of_jobs).collect(),
        certificates,
        local_ca: live.house.certificate_store().local_ca(),
        backends,
        jobs,
    }))
}

fn values(items: Vec<impl Serialize>) -> Result<Vec<Value>, Problem> {
    let values: Result<_, _> = items.iter().map(serde_json::to_value).collect();
    values.map_err(|error| Problem::machine("write the status", &error))
}

/// Origins refused lately.
pub(super) async fn refused(State(desk): State<Desk>) -> Result<Json<Vec<RefusedView>>, Problem> {
    let live = desk.live("`tenant refused`")?;
    Ok(Json(live.refusals.list(&desk.tenants.registry().snapshot())))
}

/// Put the configuration file's present content in force.
pub(super) async fn reload(State(desk): State<Desk>) -> Result<Json<Reloaded>, Problem> {
    // The assembly bounds each step of a reload by its own timeouts, `ready_timeout` above all.
    Ok(Json(order(desk.live("a reload")?, Order::Reload).await?.over().await))
}

/// Become the program that stands at our path now. Answered when it has been tried and found fit; how it ended, the
/// status tells.
pub(super) async fn swap(State(desk): State<Desk>) -> Result<Json<Swapping>, Problem> {
    order(desk.live("a swap")?, Order::Swap).await.map(Json)
}

/// Give the assembly an order, and wait until it has been carried out.
pub(super) async fn order<T>(
    live: &Live,
    order: impl FnOnce(oneshot::Sender<Result<T, Problem>>) -> Order,
) -> Result<T, Problem> {
    let stopping = || Problem::new(503, "stopping", "the gateway is stopping");
    let (answer, outcome) = oneshot::channel();
    live.orders.send(order(answer)).await.map_err(|_| stopping())?;
    outcome.await.unwrap_or_else(|_| Err(stopping()))
}
