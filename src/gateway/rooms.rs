//! All rooms of one gateway: built bottom up, drained top down.

mod backends;
mod edge_settings;
mod house;
mod jobs;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    GatewayError, Lives,
    defaults::{certificate_files, own_files, tenant_defaults},
    life::Beginning,
    notify,
    places::Places,
    reload::surprises,
};
use crate::{
    admin::{self, Admin, AdminError, Live, Order, Parts},
    backend::{self, Backend, BackendError, Drain},
    config::{self, Config},
    door::{self, DoorParts, OfficeParts, SqliteDoor, TicketOffice},
    edge::{Edge, EdgeParts, Prepared, Serving, TlsMode},
    job::Jobs,
    metrics::Metrics,
    pool::Pools,
    tenant::{DoorAddresses, Refusals, TenantPaths, Tenants, Tickets},
};

/// What the doors and pools run on; the calling thread's own runtime carries supervision.
pub(super) struct Runtimes {
    /// Doors, pools and the registry.
    pub(super) data: Handle,
}

/// A whole house. Fields stand in the order in which they drain.
pub(super) struct Rooms {
    lives: Lives,
    serving: Option<Serving>,
    house: Arc<House>,
    pools: Arc<Pools>,
    tenants: Arc<Tenants>,
    admin: Option<Admin>,
    /// Last: what is bound in them is gone by then.
    _places: Places,
}

/// What orders and status look at, and what a reload may change.
pub(super) struct House {
    /// The configuration in force.
    pub(super) config: ArcSwap<Config>,
    edge: Arc<Edge>,
    backends: BTreeMap<String, Arc<Backend>>,
    jobs: Arc<Jobs>,
    door: Arc<SqliteDoor>,
}

impl Rooms {
    /// Build every room and start it; the edge comes last, so that no request finds a house half built.
    pub(super) async fn build(
        loaded: config::Loaded,
        runtimes: &Runtimes,
        (orders, swapping): (mpsc::Sender<Order>, Arc<AtomicBool>),
        beginning: Beginning,
    ) -> Result<Self, GatewayError> {
        let hidden = own_files(&loaded);
        let config_dir = loaded.directory;
        let config = loaded.config;
        let places = Places::take(&config.state_dir, &config.runtime_dir)?;
        let (metrics, lives, refusals) =
            (Metrics::new(), Lives::default(), Arc::new(Refusals::new(config.registry.refused_origins_max)));

        metrics.websockets_drained().inc_by(beginning.past.websockets);
        let tenants = Arc::new(open_registry(&config, &runtimes.data).await?);
        let registry = tenants.registry().clone();
        // Pools and doors spawn onto the runtime that they are made in.
        let entered = runtimes.data.enter();
        let pools = Pools::new(
            config.pool.clone(),
            config.state_dir.clone(),
            registry.clone(),
            lives.pools.clone(),
            metrics.clone(),
        );
        drop(entered);
        let (door, tickets) = open_doors(
            &config,
            runtimes,
            &lives,
            DoorNeeds { tenants: &tenants, pools: &pools, metrics: &metrics },
        )
        .await?;

        let socket = config.admin.socket_in(&config.runtime_dir);
        admin::make_place_for_key(&socket)
            .map_err(|source| AdminError::Socket { path: socket.clone(), source })?;
        let backends = backends::start(&config, (&config_dir, &hidden), &tenants, &lives, &metrics)?;
        let settings = edge_settings::of(&config, &backends);
        let jobs = jobs::start(&config, &backends, (&registry, &tickets), &lives, &metrics);
        let edge = Edge::new(EdgeParts {
            settings,
            registry,
            tickets: tickets.clone(),
            refusals: refusals.clone(),
            state_dir: config.state_dir.clone(),
            metrics: metrics.clone(),
            shutdown: lives.edge.clone(),
        })?;
        edge.bind(beginning.inherited)?;
        let house = Arc::new(House {
            config: ArcSwap::from_pointee(config),
            edge: edge.clone(),
            backends,
            jobs,
            door,
        });
        let live = Live {
            started: Timestamp::now(),
            tickets,
            refusals,
            metrics,
            shutdown: lives.edge.clone(),
            swaps: beginning.past.swaps,
            swap_websockets: beginning.past.websockets,
            swap_failure: beginning.swap_failure,
            swapping,
            orders,
            house: house.clone(),
        };
        let admin = start_admin(&house, &tenants, &pools, live)?;
        if beginning.swapped {
            house.workers_ready().await;
        }
        let serving = Some(edge.serve()?);
        // Certificate authorities come to look as soon as they are asked: only now is somebody there to answer.
        edge.order_certificates(&runtimes.data);
        Ok(Self { lives, serving, house, pools, tenants, admin: Some(admin), _places: places })
    }

    /// Say every bound address, for people and for whoever waits for the start.
    pub(super) fn announce(&self) {
        for (kind, address) in self.house.spoken() {
            tracing::info!(%address, "listening for {kind}");
        }
        tracing::info!(address = %self.house.door.address(), "the SQLite door is open");
        if let Some(admin) = &self.admin {
            if let Some(address) = admin.metrics() {
                tracing::info!(%address, "listening for metrics");
            }
            tracing::info!(socket = %admin.socket().display(), "ready for orders");
        }
    }

    /// What orders look at.
    pub(super) fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// The registry's owner.
    pub(super) fn tenants(&self) -> &Arc<Tenants> {
        &self.tenants
    }

    /// Requests first, then the workers, then what the workers stand on; the admin side last, so that
    /// `gateway status` sees the drain. `grace` bounds the requests; each later room has bounds of its own.
    pub(super) async fn drain(mut self, grace: Duration) {
        self.lives.edge.begin();
        // Nobody waits for their answers: they are told at once, and have their backend's `stop_grace` meanwhile.
        self.house.jobs.begin_end();
        if !self.lives.edge.drained(grace).await {
            let connections = self.lives.edge.tasks();
            tracing::warn!(connections, "the grace is over: what is still open will be cut");
        }
        if let Some(serving) = self.serving.take() {
            // Joins threads: not on this runtime, where the workers' ends are noticed.
            let _joined = tokio::task::spawn_blocking(move || serving.stop()).await;
        }
        self.house.jobs.end().await;
        join_all(self.house.backends.values().map(|backend| backend.stop())).await;
        self.lives.backends.begin();
        self.lives.doors.begin();
        let rest = Duration::from_secs(5);
        let doors = self.lives.doors.drained(rest).await;
        self.pools.close().await;
        self.lives.pools.begin();
        let pools = self.lives.pools.drained(rest).await;
        if !(doors && pools) {
            tracing::warn!(
                doors = self.lives.doors.tasks(),
                pools = self.lives.pools.tasks(),
                "tasks were left"
            );
        }
        self.tenants.close().await;
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
    }
}

impl House {
    /// What is spoken where. What is bound as https speaks none of it with TLS off; status and `tenant check` go by
    /// this word.
    fn spoken(&self) -> Vec<(&'static str, SocketAddr)> {
        let https = if self.config.load().tls.mode == TlsMode::Off { "plain" } else { "https" };
        let spoken = |(kind, address)| (if kind == "https" { https } else { kind }, address);
        self.edge.addresses().into_iter().map(spoken).collect()
    }

    /// The edge.
    pub(super) fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Resolves when every backend has a worker or has failed to have one, or after as long as a request would wait
    /// for one: those that came during a swap wait in the kernel's queue, which takes more of them than ours.
    async fn workers_ready(&self) {
        let patience = self.config.load().edge.admit.waiting_timeout;
        let one = async |backend: &Backend| {
            let roster = backend.roster();
            tokio::select! {
                () = roster.ready() => {}
                () = backend.failed() => {}
            }
        };
        let ready = join_all(self.backends.values().map(|backend| one(backend)));
        tokio::select! {
            ready = tokio::time::timeout(patience, ready) => if ready.is_err() {
                tracing::warn!("serving again, though a backend has no worker yet");
            },
            // The watchdog has run on since the program before was let go.
            () = notify::lasting() => {}
        }
    }

    /// Do all that can fail of putting a checked configuration in force, and change nothing.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, GatewayError> {
        Ok(self.edge.prepare(edge_settings::of(config, &self.backends))?)
    }

    /// Put a configuration in force as far as that needs no new start.
    pub(super) fn put_in_force(&self, config: Config, prepared: Prepared) {
        self.edge.put_in_force(prepared);
        self.config.store(Arc::new(config));
    }

    /// Put the jobs of the configuration in force; the names of those that cannot be.
    pub(super) async fn reload_jobs(&self) -> Vec<String> {
        let config = self.config.load_full();
        self.jobs.change_to(&config.job).await
    }

    /// These are the gateway's own files and directories from now on.
    pub(super) fn hide(&self, own: &[PathBuf]) {
        self.backends.values().for_each(|backend| backend.hide(own));
    }

    /// Let a backend have what the configuration in force says. When the new workers never get ready the old ones go
    /// on, and their configuration counts again, so that the next reload tries anew.
    pub(super) async fn adopt(&self, name: &str) -> Result<Drain, BackendError> {
        let current = self.config.load_full();
        let (Some(backend), Some(config)) = (self.backends.get(name), current.backend.get(name)) else {
            return Ok(Drain::default());
        };
        let outcome = backend.adopt(config.clone()).await;
        // Another order may have come between: whatever became of ours, the backend knows by what it goes.
        if let Some(goes_by) = backend.goes_by() {
            self.config.rcu(|config| {
                let mut config = Config::clone(config);
                config.backend.insert(name.to_owned(), goes_by.clone());
                config
            });
        }
        outcome
    }

    /// Replace a backend's workers by those of this configuration.
    pub(super) async fn reload(&self, name: &str, config: backend::Config) -> Result<Drain, BackendError> {
        match self.backends.get(name) {
            Some(backend) => backend.reload(config).await,
            None => Ok(Drain::default()),
        }
    }

    /// Are its workers somebody else's?
    pub(super) fn runs_elsewhere(&self, name: &str) -> bool {
        self.backends.get(name).is_some_and(|backend| !backend.is_supervised())
    }
}

async fn open_registry(config: &Config, data: &Handle) -> Result<Tenants, GatewayError> {
    let credentials = config::credentials_directory();
    let paths = TenantPaths::below(&config.state_dir, &config.registry, credentials.as_deref());
    // The driver starts a thread of its own, which shall begin with no more than those there may.
    let runtime = data.clone();
    let opening = data.spawn_blocking(move || runtime.block_on(Tenants::open(paths)));
    let tenants = opening.await.map_err(|error| GatewayError::System(std::io::Error::other(error)))??;
    let report = tenants.declare(config.tenant.clone(), tenant_defaults(config)).await?;
    for surprise in surprises(&report) {
        tracing::warn!("{surprise}");
    }
    Ok(tenants)
}

/// Run a step on another runtime and wait for it here.
async fn on<T: Send + 'static>(
    runtime: &Handle,
    step: impl Future<Output = T> + Send + 'static,
) -> Result<T, GatewayError> {
    runtime.spawn(step).await.map_err(|error| GatewayError::System(std::io::Error::other(error)))
}

/// What the doors stand on.
struct DoorNeeds<'a> {
    tenants: &'a Arc<Tenants>,
    pools: &'a Arc<Pools>,
    metrics: &'a Arc<Metrics>,
}

async fn open_doors(
    config: &Config,
    runtimes: &Runtimes,
    lives: &Lives,
    needs: DoorNeeds<'_>,
) -> Result<(Arc<SqliteDoor>, Arc<Tickets>), GatewayError> {
    let (listen, runtime_dir) = (config.door.sqlite.clone(), config.runtime_dir.clone());
    let door = on(&runtimes.data, async move { SqliteDoor::bind(&listen, &runtime_dir).await }).await??;
    let tickets = Tickets::new(DoorAddresses { sqlite: Some(door.address()) });
    let registry = needs.tenants.registry().clone();
    let _entered = runtimes.data.enter();
    lives.doors.spawn(door.clone().run(DoorParts {
        tickets: tickets.clone(),
        registry: registry.clone(),
        pools: needs.pools.clone(),
        metrics: needs.metrics.clone(),
        shutdown: lives.doors.clone(),
    }));
    if config.backend.values().any(|backend| backend.background_access) {
        let wrong =
            |source| GatewayError::Directory { path: config.runtime_dir.join(door::TICKETS_SOCKET), source };
        let own = [0, nix::unistd::getuid().as_raw()];
        let asking = config.backend.values().filter(|backend| backend.background_access);
        let uids = own.into_iter().chain(asking.filter_map(backend::Config::worker_uid)).collect();
        let parts = OfficeParts { registry, tickets: tickets.clone(), uids };
        TicketOffice::bind(&config.runtime_dir).map_err(wrong)?.run(parts, &lives.doors);
    }
    Ok((door, tickets))
}

fn start_admin(
    house: &Arc<House>,
    tenants: &Arc<Tenants>,
    pools: &Arc<Pools>,
    live: Live,
) -> Result<Admin, GatewayError> {
    let config = house.config.load();
    let parts = Parts {
        tenants: tenants.clone(),
        pools: pools.clone(),
        places: admin::Places::of(&config.registry, &config.state_dir, &config.pool),
        certificates: {
            let house = house.clone();
            Box::new(move || certificate_files(&house.config.load()))
        },
        live: Some(live),
    };
    Ok(Admin::start(&config.admin, &config.runtime_dir, parts)?)
}
