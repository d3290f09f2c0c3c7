//! What the admin room works on. The registry and the databases are always there; the rest only while a
//! gateway runs, and orders that need it say so.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{
    Problem,
    routes::{Reloaded, Swapping},
    status::{DoorView, Listening, SiteView},
};
use crate::{
    backend::{Backend, Drain},
    edge::{Certificates, HostCertificate, RenewProblem, RenewWait},
    job::Jobs,
    metrics::Metrics,
    pool::{self, Pools},
    shutdown::Shutdown,
    tenant::{self, HostName, Refusals, Tenants, Tickets},
};

/// What every order may need.
pub(crate) struct Parts {
    /// The registry.
    pub(crate) tenants: Arc<Tenants>,
    /// The databases.
    pub(crate) pools: Arc<Pools>,
    /// The files.
    pub(crate) places: Places,
    /// The certificates and keys that the configuration names.
    pub(crate) certificates: CertificateFiles,
    /// A gateway that runs; none when a command works on the registry of one at rest.
    pub(crate) live: Option<Live>,
}

/// Asked anew for each backup, since a reload may change them.
pub(crate) type CertificateFiles = Box<dyn Fn() -> Vec<PathBuf> + Send + Sync>;

/// Where a gateway keeps what a backup must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// The state directory.
    pub(crate) state_dir: PathBuf,
    /// The registry's file.
    pub(crate) registry_db: PathBuf,
    /// The sealing key's file.
    pub(crate) seal_key_file: PathBuf,
    /// Bytes that one tenant's database may have (`pool.sqlite.file_bytes_max`).
    pub(crate) file_bytes_max: u64,
}

impl Places {
    /// Where that configuration has them.
    pub(crate) fn of(registry: &tenant::Config, state_dir: &Path, pool: &pool::Config) -> Self {
        let or = |path: &Option<PathBuf>, name: &str| path.clone().unwrap_or_else(|| state_dir.join(name));
        Self {
            state_dir: state_dir.to_owned(),
            registry_db: or(&registry.path, "registry.db"),
            seal_key_file: or(&registry.seal_key_file, "seal.key"),
            file_bytes_max: pool.sqlite.file_bytes_max,
        }
    }
}

/// A gateway that runs.
pub(crate) struct Live {
    /// When it started.
    pub(crate) started: Timestamp,
    /// Its tickets.
    pub(crate) tickets: Arc<Tickets>,
    /// Who was refused.
    pub(crate) refusals: Arc<Refusals>,
    /// Its metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Its life, to tell whether it is draining.
    pub(crate) shutdown: Shutdown,
    /// How often this process has become another program.
    pub(crate) swaps: u64,
    /// WebSockets that ended for it.
    pub(crate) swap_websockets: u64,
    /// Why the last swap was none.
    pub(crate) swap_failure: Option<String>,
    /// Is it draining for a swap?
    pub(crate) swapping: Arc<AtomicBool>,
    /// Orders to the whole house; the assembly takes them up as they come.
    pub(crate) orders: mpsc::Sender<Order>,
    /// What a reload may change.
    pub(crate) house: Arc<dyn House>,
}

/// An order to the whole house.
#[derive(Debug)]
pub(crate) enum Order {
    /// Put the configuration file's present content in force.
    Reload(ReloadOrder),
    /// Put what it says about one backend in force, and replace that one's workers.
    ReloadBackend(String, ReloadOrder),
    /// Become the program that stands at our path now.
    Swap(SwapOrder),
}

/// An order to swap the program; answered before it begins.
pub(crate) type SwapOrder = oneshot::Sender<Result<Swapping, Problem>>;

/// An order to reload; the answer goes back through it.
pub(crate) type ReloadOrder = oneshot::Sender<Result<InForce, Problem>>;

/// A reload that is in force.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    /// What it did.
    pub(crate) reloaded: Reloaded,
    /// Workers that still finish their requests: who gave the order waits for them, and no other order does.
    pub(crate) drains: Vec<Drain>,
}

impl InForce {
    /// Resolves when they have gone. Cancel safe.
    pub(super) async fn over(self) -> Reloaded {
        join_all(self.drains.into_iter().map(Drain::over)).await;
        self.reloaded
    }
}

/// The parts of a running gateway that a reload may change: asked anew for each order.
pub(crate) trait House: Send + Sync {
    /// The backends by name.
    fn backends(&self) -> BTreeMap<String, Arc<Backend>>;
    /// The jobs.
    fn jobs(&self) -> Arc<Jobs>;
    /// The bound addresses.
    fn listeners(&self) -> Vec<Listening>;
    /// The sites.
    fn sites(&self) -> Vec<SiteView>;
    /// The doors.
    fn doors(&self) -> Vec<DoorView>;
    /// Every host with the certificate that is served for it.
    fn certificates(&self) -> Vec<HostCertificate>;
    /// Order a host's certificate anew; what that still waits for.
    fn renew(&self, host: &str) -> Result<Option<RenewWait>, RenewProblem>;
    /// Where certificates are kept.
    fn certificate_store(&self) -> Arc<Certificates>;
    /// The hosts on which a tenant without hosts of its own is served: the edge's and those of its backend.
    fn shared_hosts(&self, backend: Option<&str>) -> Vec<HostName>;
}

impl Parts {
    /// The running gateway, or the problem that there is none.
    pub(super) fn live(&self, what: &str) -> Result<&Live, Problem> {
        self.live.as_ref().ok_or_else(|| Problem::not_running(what))
    }

    /// Where files are made that live shorter than an order.
    pub(super) fn scratch_dir(&self) -> PathBuf {
        self.places.state_dir.join(super::scratch::DIRECTORY_NAME)
    }
}
