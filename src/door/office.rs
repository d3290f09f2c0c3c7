//! The ticket office: tickets for work without a request (cron, queues, scripts), over `tickets.sock`.
//!
//! `GET /tickets/TENANT` answers `{"tenant", "database_url"}`. Only processes of the allowed users are served,
//! known by SO_PEERCRED; it must never be reachable over a network.

use std::{io, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{self, ConnectInfo, State, connect_info::Connected},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
    serve::IncomingStream,
};
use serde_json::json;
use tokio::net::UnixListener;
use tower_http::timeout::TimeoutLayer;

use super::unix;
use crate::{
    shutdown::Shutdown,
    tenant::{Registry, Status, Tickets},
};

/// A ticket costs microseconds; a caller that has not sent its request by then never will.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket's name in the runtime directory.
pub(crate) const SOCKET: &str = "tickets.sock";

/// The bound socket, not yet serving.
pub(crate) struct TicketOffice {
    listener: UnixListener,
}

/// What the office hands out from, and to whom.
#[derive(Clone)]
pub(crate) struct OfficeParts {
    /// Who the tenants are.
    pub(crate) registry: Arc<Registry>,
    /// What makes the tickets.
    pub(crate) tickets: Arc<Tickets>,
    /// User ids that may ask.
    pub(crate) uids: Arc<[u32]>,
}

/// The caller's user, from the kernel.
#[derive(Debug, Clone, Copy)]
struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credential| credential.uid()) }
    }
}

impl TicketOffice {
    /// Bind `tickets.sock` in the runtime directory; a stale file of an earlier process is replaced.
    pub(crate) fn bind(runtime_dir: &Path) -> io::Result<Self> {
        let path = runtime_dir.join(SOCKET);
        // Workers may be other users; who calls is asked of the kernel, call by call.
        Ok(Self { listener: unix::bind(&path, 0o666)? })
    }

    /// Serve until the shutdown begins.
    pub(crate) fn run(self, parts: OfficeParts, shutdown: &Shutdown) {
        let routes = Router::new()
            .route("/tickets/{tenant}", get(ticket))
            .fallback(unknown)
            .method_not_allowed_fallback(unknown)
            .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, ANSWER_TIMEOUT))
            .with_state(parts);
        let life = shutdown.clone();
        shutdown.spawn(async move {
            let service = routes.into_make_service_with_connect_info::<Peer>();
            let served = axum::serve(self.listener, service)
                .with_graceful_shutdown(async move { life.begun().await })
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the ticket office closed");
            }
        });
    }
}

async fn ticket(
    State(parts): State<OfficeParts>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    extract::Path(id): extract::Path<String>,
) -> Response {
    if !peer.uid.is_some_and(|uid| parts.uids.contains(&uid)) {
        tracing::warn!(uid = peer.uid, "a user that is no worker asked for a ticket");
        return problem(StatusCode::FORBIDDEN, "not-a-worker", "this user may not ask for tickets");
    }
    let snapshot = parts.registry.snapshot();
    let Some(tenant) = snapshot.by_id(&id) else {
        return problem(StatusCode::NOT_FOUND, "no-such-tenant", "there is no tenant of that name");
    };
    if tenant.status == Status::Suspended {
        return problem(StatusCode::FORBIDDEN, "tenant-suspended", "the tenant is suspended");
    }
    match parts.tickets.database_url(tenant) {
        Some(url) => Json(json!({ "tenant": id, "database_url": url })).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no-database", "the tenant has no database"),
    }
}

async fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "route-unknown", "ask with `GET /tickets/TENANT`")
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "status": status.as_u16(), "code": code, "detail": detail });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;
    use crate::tenant::{DoorAddresses, Snapshot, Tenant};

    async fn ask(uids: Vec<u32>, tenant: &str) -> String {
        send(uids, &format!("GET /tickets/{tenant}")).await
    }

    async fn send(uids: Vec<u32>, line: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut shop = Tenant::new("navaja".parse().unwrap());
        shop.database = Some("sqlite://navaja.db".parse().unwrap());
        let bare = Tenant::new("bare".parse().unwrap());
        let parts = OfficeParts {
            registry: Arc::new(Registry::new(Snapshot::build([shop, bare]).unwrap())),
            tickets: Tickets::new(DoorAddresses { sqlite: Some(([127, 0, 0, 1], 4000).into()) }),
            uids: uids.into(),
        };
        let shutdown = Shutdown::new();
        TicketOffice::bind(dir.path()).unwrap().run(parts, &shutdown);
        let path = dir.path().join(SOCKET);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        // Workers may be any user of their own; who is served is decided by who asks.
        assert_eq!(mode & 0o777, 0o666);
        let mut stream = UnixStream::connect(path).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        shutdown.begin();
        assert!(shutdown.drained(Duration::from_secs(5)).await);
        answer
    }

    #[tokio::test]
    async fn a_worker_gets_any_tenants_ticket_and_no_other_user_does() {
        let own = nix::unistd::getuid().as_raw();
        let answer = ask(vec![own], "navaja").await;
        assert!(answer.contains("http://127.0.0.1:4000/navaja/?authToken=navaja."), "{answer}");
        assert!(ask(vec![own + 1], "navaja").await.contains("403"));
        assert!(ask(vec![own], "nobody").await.contains("404"));
        assert!(ask(vec![own], "bare").await.contains("no-database"));
        for line in ["GET /", "GET /tickets", "POST /tickets/navaja"] {
            let answer = send(vec![own], line).await;
            assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("route-unknown"), "{answer}");
        }
    }
}
