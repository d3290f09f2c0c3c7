//! The admin API's routes, one file a family. Reads are GET and leave no trace; everything else is an order and
//! leaves an audit line.

mod apply;
mod backends;
mod backup;
mod certificates;
mod check;
mod data;
mod deploy;
mod house;
mod jobs;
mod keys;
mod logs;
mod migrate;
mod tenants;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, rejection::JsonRejection},
    middleware,
    routing::{delete, get, post},
};

pub(super) use self::logs::Level;
pub(crate) use self::{
    apply::ApplyOrder,
    backends::{RollbackOrder, ScaleOrder, SignalOrder, Signalled},
    backup::{BackupOrder, PROBLEM_TRAILER},
    certificates::Renewal,
    check::{CheckFacts, TicketView},
    house::{Reloaded, Swapping},
    jobs::{JobEvent, JobOrder},
    keys::{KeyMade, KeyOrder},
    migrate::{MigrateOrder, Migrated, MigrationText},
};
use super::{
    Parts, Problem,
    audit::{Gate, audit},
    key::Key,
};
use crate::shutdown::Shutdown;

/// A whole directory of migrations, or ten thousand tenants to apply.
const ORDER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What handlers are given.
#[derive(Clone)]
struct Desk {
    parts: Arc<Parts>,
    /// Ends answers that have no end of their own.
    life: Shutdown,
    /// Where metrics are served over TCP, for the status.
    metrics: Option<SocketAddr>,
}

/// How the routes are guarded and bounded.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    /// `admin.group`.
    pub(super) group: Option<String>,
    /// What a caller shows that could be a worker.
    pub(super) key: Option<Key>,
    /// Ends answers that have no end of their own.
    pub(super) life: Shutdown,
    /// Where metrics are served over TCP.
    pub(super) metrics: Option<SocketAddr>,
}

impl std::ops::Deref for Desk {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// A JSON body whose rejection is a problem like any other.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Problem))]
struct Order<T>(T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let detail = format!("the order cannot be read: {}", rejection.body_text());
        Self::new(rejection.status().as_u16(), "bad-order", detail)
    }
}

/// Parts of the path, parsed: what is no tenant id is no tenant either.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
struct Path<T>(T);

impl From<axum::extract::rejection::PathRejection> for Problem {
    fn from(rejection: axum::extract::rejection::PathRejection) -> Self {
        Self::new(404, "bad-path", rejection.body_text())
    }
}

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
struct Query<T>(T);

impl From<axum::extract::rejection::QueryRejection> for Problem {
    fn from(rejection: axum::extract::rejection::QueryRejection) -> Self {
        Self::new(400, "bad-query", rejection.body_text())
    }
}

/// All routes, for a command that works on a gateway at rest. The caller is this process itself.
pub(crate) fn router(parts: Parts) -> Router {
    guarded_router(Arc::new(parts), Guard::default())
}

/// All routes behind the check of who is calling.
pub(super) fn guarded_router(parts: Arc<Parts>, guard: Guard) -> Router {
    let Guard { group, key, life, metrics } = guard;
    let tenant = Router::new()
        .route("/", get(tenants::show).patch(tenants::set).delete(tenants::remove))
        .route("/suspend", post(tenants::suspend))
        .route("/resume", post(tenants::resume))
        .route("/pause", post(tenants::pause))
        .route("/rotate", post(tenants::rotate))
        .route("/keys", get(keys::list).post(keys::add))
        .route("/keys/{name}", delete(keys::remove))
        .route("/ticket", post(check::ticket))
        .route("/check", post(check::check))
        .route("/migrate", post(migrate::migrate))
        .route("/dump", post(data::dump))
        .route("/load", post(data::load));
    let backend = Router::new()
        .route("/", get(backends::show))
        .route("/restart", post(backends::restart))
        .route("/reload", post(backends::reload))
        .route("/stop", post(backends::stop))
        .route("/start", post(backends::start))
        .route("/scale", post(backends::scale))
        .route("/rollback", post(backends::rollback))
        .route("/signal", post(backends::signal))
        .route("/deploy", post(deploy::deploy));
    Router::new()
        .route("/healthz", get(house::healthz))
        .route("/metrics", get(house::metrics))
        .route("/status", get(house::status))
        .route("/reload", post(house::reload))
        .route("/swap", post(house::swap))
        .route("/tenants", get(tenants::list).post(tenants::add))
        .nest("/tenants/{id}", tenant)
        .route("/apply", post(apply::apply))
        .route("/export", get(apply::export))
        .route("/refused", get(house::refused))
        .route("/backends", get(backends::list))
        .nest("/backends/{name}", backend)
        .route("/jobs", get(jobs::list))
        .route("/jobs/{name}", get(jobs::show))
        .route("/jobs/{name}/run", post(jobs::run))
        .route("/jobs/{name}/stop", post(jobs::stop))
        .route("/certificates", get(certificates::list))
        .route(
            "/certificates/{host}",
            get(certificates::show).post(certificates::import).delete(certificates::remove),
        )
        .route("/certificates/{host}/renew", post(certificates::renew))
        .route("/logs", get(logs::logs))
        .route("/backup", post(backup::backup))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Gate { group, key }, audit))
        .with_state(Desk { parts, life, metrics })
}

/// What scrapers may see over loopback TCP, where nobody can be told from anybody.
pub(super) fn metrics_router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/healthz", get(house::healthz))
        .route("/metrics", get(house::metrics))
        .fallback(unknown)
        .with_state(Desk { parts, life: Shutdown::new(), metrics: None })
}

async fn unknown() -> Problem {
    Problem::new(404, "no-such-order", "there is no such order")
        .hint("is the running gateway of another version than this program?")
}

#[cfg(test)]
mod tests;
