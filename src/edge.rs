//! Where connections from the internet end. It names tenants and the roster, never a door or a pool.

mod config;
mod error;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use serde::Serialize;

use crate::{
    backend::Roster,
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{CorsPolicy, HostName, Registry, TicketMode, Tickets},
};

pub(crate) use self::{
    config::{CertificateFiles, Config, HttpMode, OpenPath, TlsConfig, TlsMode},
    error::EdgeError,
};

/// One backend as the edge needs it.
#[derive(Debug, Clone)]
pub(crate) struct BackendRoute {
    /// Its workers.
    pub(crate) roster: Arc<Roster>,
    /// The hosts it lists.
    pub(crate) hosts: Vec<HostName>,
    /// How far its tickets reach.
    pub(crate) ticket: TicketMode,
}

/// What a reload may change.
#[derive(Debug, Clone)]
pub(crate) struct EdgeSettings {
    /// `[edge]`.
    pub(crate) config: Config,
    /// `[tls]`.
    pub(crate) tls: TlsConfig,
    /// `[cors]`.
    pub(crate) cors: CorsPolicy,
    /// Every backend by name.
    pub(crate) backends: BTreeMap<String, BackendRoute>,
}

/// What the edge is made of.
pub(crate) struct EdgeParts {
    /// What a reload may change.
    pub(crate) settings: EdgeSettings,
    /// Who is calling.
    pub(crate) registry: Arc<Registry>,
    /// What the backend gets.
    pub(crate) tickets: Arc<Tickets>,
    /// Where the local CA lives.
    pub(crate) state_dir: PathBuf,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// When to stop accepting.
    pub(crate) shutdown: Shutdown,
}

/// The edge of one gateway.
pub(crate) struct Edge;

/// Bound, not yet accepting.
pub(crate) struct Listeners;

/// The edge's threads. Dropping it ends them at once; wait for the drain first.
pub(crate) struct Serving;

/// One certificate as status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CertificateStatus {
    /// The names it is good for.
    pub(crate) names: Vec<String>,
    /// Who signed it.
    pub(crate) issuer: String,
    /// When it ends, RFC 3339.
    pub(crate) not_after: String,
    /// `local` or the file it came from.
    pub(crate) source: String,
}

impl Edge {
    /// Check the settings and load or make the certificates.
    pub(crate) fn new(_parts: EdgeParts) -> Result<Arc<Self>, EdgeError> {
        todo!()
    }

    /// Bind every address, once per core.
    pub(crate) fn bind(&self) -> Result<Listeners, EdgeError> {
        todo!()
    }

    /// Accept and serve, one thread per core.
    pub(crate) fn serve(self: &Arc<Self>, _listeners: Listeners) -> Result<Serving, EdgeError> {
        todo!()
    }

    /// Swap in everything that needs no rebind. On error nothing has changed.
    pub(crate) fn reconfigure(&self, _settings: EdgeSettings) -> Result<(), EdgeError> {
        todo!()
    }

    /// The certificates that are served now.
    pub(crate) fn certificates(&self) -> Vec<CertificateStatus> {
        todo!()
    }

    /// The local CA's certificate, for browsers and `curl --cacert`.
    pub(crate) fn local_ca(&self) -> Option<PathBuf> {
        todo!()
    }
}

impl Listeners {
    /// What was bound: `http` or `https`, and the real address where the configuration said port 0.
    pub(crate) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        todo!()
    }
}

impl Serving {
    /// End the threads: what has not drained is cut. Returns when they have ended and the access log is written.
    pub(crate) fn stop(self) {
        todo!()
    }
}
