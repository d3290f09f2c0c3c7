//! Where connections from the internet end. It names tenants and the roster, never a door or a pool.

mod access_log;
mod acme;
mod activity;
mod admit;
mod authority;
mod bind;
mod body;
mod cache;
mod clients;
mod compress;
mod config;
mod connection;
mod cork;
mod cors;
mod cuts;
mod descriptors;
mod error;
mod forward;
mod forwarded;
mod fuzzed;
mod heads;
mod identify;
mod limits;
mod listen;
mod listeners;
mod lookup;
mod names;
mod patience;
mod peer;
mod proxy_protocol;
mod pulse;
mod recorded;
mod redirect;
mod refusal;
mod request_id;
mod rescue;
mod serve;
mod serving;
mod settings;
mod shape;
mod site;
mod status;
mod terms;
mod thread;
mod tls;
mod turn;
mod upgrade;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicUsize},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::{
    backend::{Roster, Sticky},
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{CorsPolicy, HostName, Refusals, Registry, TicketMode, Tickets},
};

use self::{
    access_log::{AccessLog, Opened},
    acme::{Acme, Challenges},
    admit::Admit,
    clients::Clients,
    connection::Speaks,
    cuts::Cuts,
    descriptors::Descriptors,
    listeners::{Listeners, Manner, Plan},
    pulse::Pulse,
    settings::Settings,
    thread::Shared,
    tls::TlsAcceptor,
};
pub(crate) use self::{
    acme::{RenewProblem, RenewWait},
    bind::{Bound, Inherited},
    config::{
        CertificateFiles, Config, Does, ForwardingHeader, HttpMode, OpenPath, ProxyProtocol, SiteConfig,
        TlsConfig, TlsMode, authorities, mac_key,
    },
    error::EdgeError,
    serving::Serving,
    tls::{
        CertificateView, Certificates, HostCertificate, HostCertificateState, ImportOrder, ImportProblem,
        Imported, observe, unfit_for, warnings,
    },
};
pub use self::{
    forward::{Answered, answered},
    fuzzed::{Head as FuzzedHead, ProxyHeader, Rebuilder, Scanned, proxy_header, scan},
    lookup::Lookup,
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
    /// What binds requests to one of its workers.
    pub(crate) sticky: Option<Sticky>,
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
    acme: Arc<Acme>,
    /// The settings in force, for what only a restart can change.
    settings: Mutex<EdgeSettings>,
    listeners: Mutex<Listeners>,
    /// Made once: tickets of sessions live in it.
    acceptor: OnceLock<TlsAcceptor>,
}

/// A reload with everything done that can fail; dropped, it was none.
pub(crate) struct Prepared {
    settings: EdgeSettings,
    fresh: Settings,
    certificates: Option<PutInForce>,
    listeners: Plan,
    access_log: Opened,
}

type PutInForce = Box<dyn FnOnce(&Certificates)>;

impl Edge {
    /// Check the settings and load or make the certificates.
    pub(crate) fn new(parts: EdgeParts) -> Result<Arc<Self>, EdgeError> {
        let config = &parts.settings.config;
        let settings = Settings::new(&parts.settings)?;
        let certificates = Certificates::new(&parts.settings.tls, parts.state_dir.clone())?;
        let shared = Shared {
            admit: Admit::new(config.admit.clients_max),
            access_log: AccessLog::start(&config.access_log, parts.metrics.clone())?,
            settings: ArcSwap::from_pointee(settings),
            registry: parts.registry,
            tickets: parts.tickets,
            refusals: parts.refusals,
            cuts: Cuts::new(parts.metrics.clone()),
            clients: Clients::default(),
            descriptors: Descriptors::claim(config.limits.connections_max),
            metrics: parts.metrics,
            shutdown: parts.shutdown,
            connections: AtomicUsize::new(0),
            challenges: Arc::new(Challenges::default()),
            pulse: Pulse::default(),
        };
        let shared = Arc::new(shared);
        let acme = Acme::new(certificates.vault.clone(), shared.clone(), parts.state_dir, &parts.settings);
        let settings = Mutex::new(parts.settings);
        Ok(Arc::new(Self {
            shared,
            certificates,
            acme,
            settings,
            listeners: Mutex::default(),
            acceptor: OnceLock::new(),
        }))
    }

    /// Take over or bind every address. Nothing is accepted yet.
    pub(crate) fn bind(&self, inherited: Vec<Inherited>) -> Result<(), EdgeError> {
        let settings = self.settings();
        self.listeners().bind(&settings.config, inherited, threads(&settings.config))
    }

    /// Accept and serve, one thread per core.
    pub(crate) fn serve(&self) -> Result<Serving, EdgeError> {
        let settings = self.settings();
        let (serving, ways) = Serving::start(&self.shared, &self.certificates, threads(&settings.config))?;
        self.listeners().serve(ways, manner(&settings), |manner| self.speaks(manner))?;
        Ok(serving)
    }

    fn speaks(&self, manner: Manner) -> Result<Speaks, EdgeError> {
        Ok(match manner {
            Manner::Plain => Speaks::Plain,
            Manner::Redirect(port) => Speaks::Redirect(port),
            Manner::Tls => {
                if let Some(acceptor) = self.acceptor.get() {
                    return Ok(Speaks::Tls(acceptor.clone()));
                }
                let fresh = TlsAcceptor::new(&self.certificates, &self.shared)?;
                Speaks::Tls(self.acceptor.get_or_init(|| fresh).clone())
            }
        })
    }

    /// Do all of a reload that can fail, and change nothing: bind what is new, read certificates, open the log.
    pub(crate) fn prepare(&self, settings: EdgeSettings) -> Result<Prepared, EdgeError> {
        let current = self.settings();
        for (key, changed) in [
            ("edge.threads", settings.config.threads != current.config.threads),
            ("tls.mode", (settings.tls.mode == TlsMode::Off) != (current.tls.mode == TlsMode::Off)),
        ] {
            if changed {
                return Err(EdgeError::NeedsRestart(key));
            }
        }
        let fresh = Settings::new(&settings)?;
        let certificates: Option<PutInForce> = if settings.tls == current.tls {
            None
        } else {
            Some(Box::new(self.certificates.prepare(&settings.tls)?))
        };
        let listeners =
            self.listeners().plan(&settings.config, manner(&settings), |manner| self.speaks(manner))?;
        let access_log = Opened::new(&settings.config.access_log)?;
        Ok(Prepared { settings, fresh, certificates, listeners, access_log })
    }

    /// Swap in what was prepared; nothing can fail any more. Listeners that stay are not touched.
    pub(crate) fn put_in_force(&self, prepared: Prepared) {
        let Prepared { settings, fresh, certificates, listeners, access_log } = prepared;
        let mut current = self.settings();
        self.shared.access_log.turn_to(access_log);
        if let Some(put_in_force) = certificates {
            put_in_force(&self.certificates);
        }
        self.shared.admit.bound(settings.config.admit.clients_max);
        let fresh = fresh.following(&self.shared.settings.load());
        self.shared.settings.store(Arc::new(fresh));
        self.acme.reconfigure(&settings);
        *current = settings;
        self.listeners().carry_out(listeners);
    }

    /// What is bound: `http` or `https`, and the real address where the configuration said port 0.
    pub(crate) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        self.listeners().addresses()
    }

    /// Look at every listener.
    pub(crate) fn each_listener(&self, look: impl FnMut(&Bound)) {
        self.listeners().bound().for_each(look);
    }

    /// Give every listener away, to the next life or the next program. Only once nothing is served any more.
    pub(crate) fn hand_over(&self) -> Vec<Inherited> {
        self.listeners().hand_over()
    }

    /// WebSockets that drains have ended so far.
    pub(crate) fn websockets_drained(&self) -> u64 {
        self.shared.metrics.websockets_drained().get()
    }

    /// How many of the threads that serve hang: they have not beaten since this was asked last.
    pub(crate) fn threads_stuck(&self) -> usize {
        self.shared.pulse.feel()
    }

    fn settings(&self) -> MutexGuard<'_, EdgeSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Order certificates, beside the edge, on that runtime; idle unless that is the mode.
    pub(crate) fn order_certificates(&self, runtime: &tokio::runtime::Handle) {
        let _entered = runtime.enter();
        drop(self.shared.shutdown.spawn(self.acme.clone().run()));
    }

    /// Order a host's certificate anew, as soon as the limits and the authority allow.
    pub(crate) fn renew(&self, host: &str) -> Result<Option<RenewWait>, RenewProblem> {
        self.acme.renew(host)
    }

    /// Every host with the certificate that is served for it now.
    pub(crate) fn certificates(&self) -> Vec<HostCertificate> {
        let off = self.settings().tls.mode == TlsMode::Off;
        let hosts = self.shared.settings.load().all_hosts(&self.shared.registry.snapshot());
        // Browsers ask for no certificate by address.
        let named = |host: &String| !host.starts_with('[') && host.parse::<std::net::IpAddr>().is_err();
        let hosts = hosts.into_iter().filter(|host| !off && named(host)).collect();
        self.certificates.inventory(&hosts, self.acme.status(), Timestamp::now())
    }

    /// Where certificates are kept.
    pub(crate) fn certificate_store(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

fn threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if config.threads == 0 { cores() } else { config.threads }
}

/// How each address is served.
fn manner(settings: &EdgeSettings) -> impl Fn(&'static str, &[(&'static str, SocketAddr)]) -> Manner + use<> {
    let (mode, tls) = (settings.config.http_mode, settings.tls.mode != TlsMode::Off);
    move |kind, addresses| match (kind, mode) {
        ("https", _) if tls => Manner::Tls,
        ("https", _) | (_, HttpMode::Serve) => Manner::Plain,
        (_, HttpMode::Redirect) => {
            // Behind another proxy's TLS our own port is not the one that browsers see.
            let https = addresses.iter().find(|(kind, _)| *kind == "https" && tls);
            Manner::Redirect(https.map(|(_, address)| address.port()))
        }
    }
}
