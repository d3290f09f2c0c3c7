//! The dashboard: one page for a browser on this machine, or at the other end of an SSH connection to it. It shows what
//! the admin socket says and must never order anything: what is read is a fixed list, and nothing else is passed on.

mod gate;
mod house;
mod lines;
mod page;
mod relay;
mod tenants;
mod traffic;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    middleware,
    routing::get,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::{
    gate::Gate,
    house::House,
    lines::{Asked, Line},
    relay::Relay,
    tenants::Found,
    traffic::Traffic,
};
use super::{Problem, Status, routes::Level, server};
use crate::shutdown::Shutdown;

/// Browsers have six connections to a host; this is for some of them, and for strangers on this machine who have no key.
const CONNECTIONS_MAX: usize = 32;

/// The page and what it reads, for whoever has the key.
pub(crate) struct Dashboard {
    gate: Arc<Gate>,
    relay: Arc<Relay>,
    life: Shutdown,
}

/// All that the page polls.
#[derive(Debug, Serialize)]
struct Seen {
    now: Timestamp,
    house: House,
    traffic: Traffic,
}

/// Which tenants.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    find: String,
}

impl Dashboard {
    /// Of the gateway at `socket`. Each key that opens it is told to `tell`, the first one at once: a key opens it once.
    pub(crate) fn new(
        socket: PathBuf,
        life: Shutdown,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Problem> {
        let gate = Gate::new(Box::new(tell))
            .ok_or_else(|| Problem::machine("make a key", &"the system gives no randomness"))?;
        Ok(Self { gate: Arc::new(gate), relay: Arc::new(Relay::new(socket, life.clone())), life })
    }

    /// Answer until the end begins, and until what is on its way is out.
    pub(crate) async fn serve(self, listener: TcpListener) {
        self.gate.tell();
        let (life, router) = (self.life.clone(), self.router());
        let accept = server::Accept { router, connections_max: CONNECTIONS_MAX, who: |_| None };
        accept.serve(listener, &life).await;
        life.drained(server::STOP_GRACE).await;
    }

    fn router(self) -> Router {
        page::routes()
            .route("/api/house", get(house))
            .route("/api/tenants", get(tenants))
            .route("/api/logs", get(logs))
            .fallback(nothing)
            .layer(middleware::from_fn_with_state(self.gate, gate::pass))
            .layer(middleware::map_response(page::sealed))
            .with_state(self.relay)
    }
}

async fn house(State(relay): State<Arc<Relay>>) -> Result<Json<Seen>, Problem> {
    let status: Status = relay.show("/status").await?;
    let metrics = relay.read("/metrics").await?;
    let now = Timestamp::now();
    let traffic = Traffic::of(&String::from_utf8_lossy(&metrics));
    Ok(Json(Seen { now, house: House::of(status, now), traffic }))
}

async fn tenants(
    State(relay): State<Arc<Relay>>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Json<Found>, Problem> {
    let Query(wish) = wish.map_err(unreadable)?;
    Ok(Json(Found::of(relay.show("/tenants").await?, &wish.find)))
}

async fn logs(
    State(relay): State<Arc<Relay>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<Line>>, Problem> {
    let Query(asked) = asked.map_err(unreadable)?;
    Ok(Json(lines::read(&relay.read(&asked.path()).await?)))
}

fn unreadable(rejection: QueryRejection) -> Problem {
    Problem::new(400, "bad-query", rejection.body_text())
}

async fn nothing() -> Problem {
    Problem::new(404, "no-such-page", "there is no such page").hint("everything is on `/`")
}
