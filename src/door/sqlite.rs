//! The SQLite door: Hrana 2 and 3 (JSON) over HTTP, on loopback and on `sqlite.sock`. It must never listen
//! where another machine can reach it.

mod encode;
mod http;
mod pipeline;
mod protocol;
mod statement;
mod stream;
mod words;
mod work;

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

use self::{http::Face, pipeline::Engine, stream::Streams, work::WorkLimits};
use super::{DoorError, Sqlite, knock::Doorkeeper, unix};
use crate::{
    metrics::Metrics,
    pool::Pools,
    shutdown::Shutdown,
    tenant::{Registry, Tickets},
};

/// After a failed accept (no file descriptor left) the next try waits, or the loop would burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound SQLite door.
pub(crate) struct SqliteDoor {
    config: Sqlite,
    address: SocketAddr,
    tcp: TcpListener,
    unix: UnixListener,
    slots: Arc<Semaphore>,
    streams: Arc<Streams>,
}

/// What the door works with.
pub(crate) struct DoorParts {
    /// Judges tickets.
    pub(crate) tickets: Arc<Tickets>,
    /// Knows tenants.
    pub(crate) registry: Arc<Registry>,
    /// Has the connections.
    pub(crate) pools: Arc<Pools>,
    /// Counts.
    pub(crate) metrics: Arc<Metrics>,
    /// Ends the door; begin it only after the workers have stopped.
    pub(crate) shutdown: Shutdown,
}

/// The door at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DoorStatus {
    /// `sqlite`.
    pub(crate) door: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Open connections.
    pub(crate) connections: usize,
    /// Open streams.
    pub(crate) streams: usize,
}

impl SqliteDoor {
    /// Bind the loopback address and `sqlite.sock` in the runtime directory.
    pub(crate) async fn bind(config: &Sqlite, runtime_dir: &Path) -> Result<Arc<Self>, DoorError> {
        let config = config.clone();
        if !config.listen.ip().is_loopback() {
            return Err(DoorError::NotLoopback(config.listen));
        }
        let tcp_error = |source| DoorError::Tcp { address: config.listen, source };
        let tcp = TcpListener::bind(config.listen).await.map_err(tcp_error)?;
        let address = tcp.local_addr().map_err(tcp_error)?;
        let path = runtime_dir.join("sqlite.sock");
        let unix = unix::bind(&path, 0o660).map_err(|source| DoorError::Unix { path, source })?;
        let slots = Arc::new(Semaphore::new(config.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        let streams = Streams::new(config.streams_max, config.stream_idle_timeout);
        Ok(Arc::new(Self { config, address, tcp, unix, slots, streams }))
    }

    /// The address tickets lead to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serve until the shutdown begins; connections then finish what they are at.
    pub(crate) async fn run(self: Arc<Self>, parts: DoorParts) {
        let life = parts.shutdown.clone();
        let app = self.app(parts);
        loop {
            // Beyond the limit connections wait in the listeners' queues.
            let slot = tokio::select! {
                slot = self.slots.clone().acquire_owned() => slot,
                () = life.begun() => return,
            };
            let Ok(slot) = slot else { return };
            let (app, idle, end) = (app.clone(), self.config.connection_idle_timeout, life.clone());
            let accepted = tokio::select! {
                tcp = self.tcp.accept() => tcp.map(|(stream, _)| {
                    // Answers are small and wanted at once; failing to say so costs only time.
                    drop(stream.set_nodelay(true));
                    life.spawn(async move {
                        serve(stream, app, idle, end).await;
                        drop(slot);
                    });
                }),
                unix = self.unix.accept() => unix.map(|(stream, _)| {
                    life.spawn(async move {
                        serve(stream, app, idle, end).await;
                        drop(slot);
                    });
                }),
                () = life.begun() => return,
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "the SQLite door could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// How busy it is.
    pub(crate) fn status(&self) -> DoorStatus {
        let connections = self.config.connections_max.saturating_sub(self.slots.available_permits());
        DoorStatus { door: "sqlite", address: self.address, connections, streams: self.streams.len() }
    }

    fn app(&self, parts: DoorParts) -> Router {
        let DoorParts { tickets, registry, pools, metrics, shutdown } = parts;
        let limits = WorkLimits {
            answer_bytes_max: pools.response_bytes_max(),
            sqls_max: self.config.pipeline_max,
            sqls_bytes_max: self.config.request_bytes_max,
        };
        let streams = self.streams.clone();
        let engine = Engine { pools, streams, metrics: metrics.clone(), life: shutdown, limits };
        let doorkeeper = Doorkeeper { tickets, registry, metrics };
        http::router(Arc::new(Face { doorkeeper, engine, config: self.config.clone() }))
    }
}

impl Drop for SqliteDoor {
    fn drop(&mut self) {
        // A socket file that nobody listens on looks like a door that is stuck.
        if let Ok(address) = self.unix.local_addr()
            && let Some(path) = address.as_pathname()
        {
            let _gone = fs::remove_file(path);
        }
    }
}

/// One connection. Its client's going away ends the request in hand: hyper drops the handler.
async fn serve<S>(stream: S, app: Router, idle: Duration, life: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = life.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        // A client that hangs up is its own business.
        tracing::debug!(%error, "a connection at the SQLite door ended");
    }
}

#[cfg(test)]
mod tests;
