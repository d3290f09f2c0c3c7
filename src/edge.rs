//! Where connections from the internet end. It names tenants and the roster, never a door or a pool.

mod access_log;
mod activity;
mod admit;
mod authority;
mod bind;
mod body;
mod cache;
mod config;
mod connection;
mod cork;
mod cors;
mod error;
mod forward;
mod heads;
mod identify;
mod limits;
mod listen;
mod lookup;
mod names;
mod peer;
mod proxy_protocol;
mod redirect;
mod refusal;
mod request_id;
mod rescue;
mod serve;
mod serving;
mod settings;
mod shape;
mod status;
mod thread;
mod tls;
mod upgrade;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio_rustls::TlsAcceptor;

use crate::{
    backend::Roster,
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{CorsPolicy, HostName, Refusals, Registry, TicketMode, Tickets},
};

pub use self::lookup::Lookup;
use self::{
    access_log::AccessLog, admit::Admit, bind::Bound, connection::Speaks, settings::Settings, thread::Shared,
    tls::Certificates,
};
pub(crate) use self::{
    config::{CertificateFiles, Config, HttpMode, OpenPath, ProxyProtocol, TlsConfig, TlsMode},
    error::EdgeError,
    serving::Serving,
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
    /// Where refused origins are remembered for the operator.
    pub(crate) refusals: Arc<Refusals>,
    /// Where the local CA lives.
    pub(crate) state_dir: PathBuf,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// When to stop accepting.
    pub(crate) shutdown: Shutdown,
}

/// The edge of one gateway.
pub(crate) struct Edge {
    shared: Arc<Shared>,
    certificates: Arc<Certificates>,
    /// The settings in force, for what only a restart can change.
    settings: Mutex<EdgeSettings>,
}

/// Bound, not yet accepting.
pub(crate) struct Listeners {
    bound: Vec<Bound>,
    threads: usize,
}

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
    pub(crate) fn new(parts: EdgeParts) -> Result<Arc<Self>, EdgeError> {
        let config = &parts.settings.config;
        let settings = Settings::new(&parts.settings)?;
        let certificates = Certificates::new(&parts.settings.tls, parts.state_dir)?;
        let shared = Shared {
            admit: Admit::new(config.admit.clients_max),
            access_log: AccessLog::start(&config.access_log, parts.metrics.clone())?,
            settings: ArcSwap::from_pointee(settings),
            registry: parts.registry,
            tickets: parts.tickets,
            refusals: parts.refusals,
            metrics: parts.metrics,
            shutdown: parts.shutdown,
            connections: AtomicUsize::new(0),
        };
        let settings = Mutex::new(parts.settings);
        Ok(Arc::new(Self { shared: Arc::new(shared), certificates, settings }))
    }

    /// Bind every address, once per core.
    pub(crate) fn bind(&self) -> Result<Listeners, EdgeError> {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let config = &settings.config;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 { cores() } else { config.threads };
        let https = config.https.iter().map(|address| ("https", *address));
        let http = config.http.iter().map(|address| ("http", *address));
        let bound = https.chain(http).map(|(kind, address)| bind::bind(kind, address, threads));
        Ok(Listeners { bound: bound.collect::<Result<_, _>>()?, threads })
    }

    /// Accept and serve, one thread per core.
    pub(crate) fn serve(&self, listeners: Listeners) -> Result<Serving, EdgeError> {
        let (mode, tls) = {
            let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
            (settings.config.http_mode, settings.tls.mode)
        };
        let https = match tls {
            TlsMode::Off => Speaks::Plain,
            TlsMode::Local | TlsMode::Files => {
                Speaks::Tls(TlsAcceptor::from(tls::server_config(&self.certificates, &self.shared)?))
            }
        };
        // Behind another proxy's TLS our own port is not the one that browsers see.
        let port = listeners.bound.iter().find(|bound| bound.kind == "https" && tls != TlsMode::Off);
        let http = match mode {
            HttpMode::Serve => Speaks::Plain,
            HttpMode::Redirect => Speaks::Redirect(port.map(|bound| bound.address.port())),
        };
        let bound = listeners.bound.into_iter().map(|bound| {
            let speaks = if bound.kind == "https" { https.clone() } else { http.clone() };
            (speaks, bound.listeners)
        });
        Serving::start(&self.shared, &self.certificates, listeners.threads, bound.collect())
    }

    /// Swap in everything that needs no rebind. On error nothing has changed.
    pub(crate) fn reconfigure(&self, settings: EdgeSettings) -> Result<(), EdgeError> {
        let mut current = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, changed) in [
            ("edge.https", settings.config.https != current.config.https),
            ("edge.http", settings.config.http != current.config.http),
            ("edge.http_mode", settings.config.http_mode != current.config.http_mode),
            ("edge.threads", settings.config.threads != current.config.threads),
            ("tls.mode", (settings.tls.mode == TlsMode::Off) != (current.tls.mode == TlsMode::Off)),
        ] {
            if changed {
                return Err(EdgeError::NeedsRestart(key));
            }
        }
        let fresh = Settings::new(&settings)?;
        let certificates =
            if settings.tls == current.tls { None } else { Some(self.certificates.prepare(&settings.tls)?) };
        // The last thing that can fail: from here on everything is put in force.
        self.shared.access_log.reopen(&settings.config.access_log)?;
        if let Some(put_in_force) = certificates {
            put_in_force(&self.certificates);
        }
        self.shared.admit.bound(settings.config.admit.clients_max);
        self.shared.settings.store(Arc::new(fresh));
        *current = settings;
        Ok(())
    }

    /// The certificates that are served now.
    pub(crate) fn certificates(&self) -> Vec<CertificateStatus> {
        self.certificates.status()
    }

    /// The local CA's certificate, for browsers and `curl --cacert`.
    pub(crate) fn local_ca(&self) -> Option<PathBuf> {
        self.certificates.local_ca()
    }
}

impl Listeners {
    /// What was bound: `http` or `https`, and the real address where the configuration said port 0.
    pub(crate) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.bound.iter().map(|bound| (bound.kind, bound.address)).collect()
    }
}
