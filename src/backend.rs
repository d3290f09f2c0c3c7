//! The Node application: its worker processes and the roster of those that may take traffic. It knows no
//! tenant's data and no HTTP request.

mod config;
mod error;
mod output;
mod roster;
mod status;
mod worker_exec;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tokio::sync::broadcast;

use crate::{metrics::Metrics, shutdown::Shutdown};

pub(crate) use self::{
    config::{Config, Health, Listen, Ticket, Workers},
    error::BackendError,
    output::{OutputLine, Stream},
    roster::{Address, Roster, WorkerLease},
    status::{BackendKind, BackendStatus, WorkerStatus},
    worker_exec::worker_exec,
};

/// Longest path that fits a Unix socket's address: `sun_path` has 108 bytes, the last one a zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What a backend finds around it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Sockets of workers go to `workers/` in it.
    pub(crate) runtime_dir: PathBuf,
    /// What the gateway itself tells its workers, such as where `tickets.sock` is.
    pub(crate) extra_env: BTreeMap<String, String>,
    /// Relative directories start here.
    pub(crate) config_dir: PathBuf,
    /// The gateway's binary, for the launcher; none: workers are started directly and could outlive a
    /// gateway that is killed.
    pub(crate) own_exe: Option<PathBuf>,
}

/// A backend that runs. Dropping it stops its workers.
#[derive(Debug)]
pub(crate) struct Backend;

impl Backend {
    /// Start the workers, without waiting until they are ready. The tasks are counted by `shutdown`, but only
    /// [`Self::stop`] (or dropping the handle) ends them: the edge drains first, and needs its workers for that.
    pub(crate) fn start(
        _name: &str,
        _config: Config,
        _surroundings: Surroundings,
        _shutdown: Shutdown,
        _metrics: &Arc<Metrics>,
    ) -> Result<Self, BackendError> {
        todo!()
    }

    /// The workers that may take traffic.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        todo!()
    }

    /// How every worker is.
    pub(crate) fn status(&self) -> BackendStatus {
        todo!()
    }

    /// Stop each worker and start it again, one after the other; resolves when all are ready.
    pub(crate) async fn restart(&self) -> Result<(), BackendError> {
        todo!()
    }

    /// Replace every worker the rolling way; a new one that never gets ready leaves the old ones serving.
    pub(crate) async fn reload(&self) -> Result<(), BackendError> {
        todo!()
    }

    /// The same with a new configuration.
    pub(crate) async fn reload_to(&self, _config: Config) -> Result<(), BackendError> {
        todo!()
    }

    /// Drain, SIGTERM, grace, SIGKILL; resolves when no process is left. Idempotent.
    pub(crate) async fn stop(&self) {
        todo!()
    }

    /// The last lines of one worker (`api/0`) or of all, oldest first.
    pub(crate) fn output(&self, _worker: Option<&str>, _lines: usize) -> Vec<OutputLine> {
        todo!()
    }

    /// Every line from now on; a follower that is too slow misses lines and is told how many.
    pub(crate) fn follow(&self) -> broadcast::Receiver<OutputLine> {
        todo!()
    }
}
