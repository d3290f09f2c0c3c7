//! The Node application: its worker processes and the roster of those that may take traffic. It knows no
//! tenant's data and no HTTP request.

mod account;
mod autopsy;
mod by_hand;
mod channel;
mod child;
mod config;
mod confinement;
mod deploy;
mod drain;
mod env_file;
mod environment;
mod errand;
mod error;
mod generation;
mod hands;
mod health;
mod instances;
mod isolation;
mod job;
mod lifeline;
mod listening;
mod log_files;
mod memory;
pub(crate) mod node;
mod outlook;
mod output;
mod process;
mod process_group;
mod quarters;
mod readers;
mod releases;
mod removal;
mod restart;
mod rlimits;
mod roster;
mod sandbox;
mod shelf;
mod state;
mod status;
mod supervisor;
mod upstream;
mod vigil;
mod visitor;
mod watch;
mod worker_exec;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use nix::sys::signal::Signal;
use tokio::sync::{Semaphore, broadcast};

use self::{
    child::Launcher,
    deploy::Deploys,
    generation::Grounds,
    output::Outlets,
    process::Stage,
    shelf::Shelf,
    supervisor::{Carried, Order, Supervisor},
    upstream::Upstream,
};
use crate::{
    metrics::{BackendLabels, Metrics},
    shutdown::Shutdown,
};

#[cfg(test)]
pub(crate) use self::config::{Goodbye, Health, Listen, Log, Ready, Workers};
pub(crate) use self::{
    by_hand::ByHand,
    child::worker_guard,
    config::{Config, NodeConfig, NodeWish, Ticket},
    deploy::Deployed,
    drain::Drain,
    errand::{Ending, Errand, Running},
    error::BackendError,
    hands::start as start_hands,
    output::{OutputLine, Record, Ring, Stream, fields},
    restart::History,
    roster::{Address, Home, Roster, Sticky, Turn, WorkerLease},
    shelf::Seal,
    status::{BackendKind, BackendStatus, Isolation, Replacement, WorkerStatus},
    worker_exec::worker_exec,
};

/// Longest path that fits a Unix socket's address: `sun_path` has 108 bytes, the last one a zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Lines kept for followers that are slow; a ring may be larger, its followers need not be.
const FOLLOW_LINES_MAX: usize = 4096;

/// How often a start is looked at from outside.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a backend finds around it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Sockets of workers go to `workers/` in it.
    pub(crate) runtime_dir: PathBuf,
    /// What the gateway itself tells its workers, such as where `tickets.sock` is.
    pub(crate) extra_env: BTreeMap<String, String>,
    /// Relative directories start here.
    pub(crate) config_dir: PathBuf,
    /// Node's installed versions lie in it, and earlier generations.
    pub(crate) state_dir: PathBuf,
    /// What earlier generations are sealed with.
    pub(crate) seal: Arc<dyn Seal>,
    /// The gateway's own files and directories, which no worker's sandbox shows.
    pub(crate) hidden: Vec<PathBuf>,
    /// The gateway's binary, for the launcher; without it workers are started directly and outlive a killed gateway.
    pub(crate) own_exe: Option<PathBuf>,
}

/// A backend that runs. Dropping it ends its workers in order, without waiting for them.
#[derive(Debug)]
pub(crate) struct Backend {
    roster: Arc<Roster>,
    outlets: Arc<Outlets>,
    runner: Runner,
    deploys: Arc<Deploys>,
}

/// Who runs it.
#[derive(Debug)]
enum Runner {
    /// We do.
    Command(Supervisor),
    /// Something else does.
    Upstream(Upstream),
}

impl Backend {
    /// Start the workers, without waiting until they are ready. The tasks are counted by `shutdown`, but only
    /// [`Self::stop`] (or dropping the handle) ends them: the edge drains first, and needs its workers for that.
    pub(crate) fn start(
        name: &str,
        config: Config,
        surroundings: Surroundings,
        shutdown: Shutdown,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BackendError> {
        let size = metrics.workers_ready.get_or_create(&BackendLabels { backend: name.to_owned() }).clone();
        let roster = Roster::new(name.to_owned(), config.keep_alive, size);
        roster.waiting_is_shown_by(
            metrics.requests_waiting.get_or_create(&BackendLabels { backend: name.to_owned() }).clone(),
        );
        roster.warm_up_is(config.warm_up());
        // A follower that is this far behind has lost lines of the ring as well. The channel takes no zero.
        let outlets =
            Arc::new(log_files::outlets(name, config.output_lines_max.clamp(16, FOLLOW_LINES_MAX), metrics));
        let runner = match (config.command.is_empty(), &config.upstream) {
            (true, Some(_)) => Runner::Upstream(Upstream::start(config, Arc::clone(&roster), &shutdown)?),
            (false, None) => {
                make_hall(&surroundings, &config)?;
                // A kernel that falls short is told of now, and not when somebody asks.
                drop(isolation::of(name, &config));
                if config.sandbox {
                    outlook::watch(&shutdown);
                }
                log_files::write(&outlets, name, &config, &surroundings.config_dir)?;
                let shelf = Shelf::below(&surroundings.state_dir, name, surroundings.seal);
                let launcher = surroundings.own_exe.map_or(Launcher::Direct, Launcher::Through);
                let grounds = Grounds {
                    backend: name.to_owned(),
                    config_dir: surroundings.config_dir.clone(),
                    nodes: node::Store::below(&surroundings.state_dir),
                    base_env: environment::base(),
                    launcher: launcher.clone(),
                };
                let stage = Stage {
                    backend: name.to_owned(),
                    runtime_dir: surroundings.runtime_dir,
                    base_env: grounds.base_env.clone(),
                    grounds: Arc::new(grounds),
                    extra_env: surroundings.extra_env,
                    hidden: ArcSwap::from_pointee(real(&surroundings.hidden)),
                    launcher,
                    roster: Arc::clone(&roster),
                    outlets: Arc::clone(&outlets),
                    shutdown,
                    turns: Arc::new(Semaphore::new(1)),
                    instances: Arc::default(),
                    nodes: Arc::default(),
                };
                Runner::Command(Supervisor::start(stage, config, surroundings.config_dir, shelf, metrics)?)
            }
            (true, None) | (false, Some(_)) => {
                return Err(BackendError::NothingToRun { backend: name.to_owned() });
            }
        };
        Ok(Self { roster, outlets, runner, deploys: Arc::default() })
    }

    /// From the next start of a worker on, these are the gateway's own files and directories.
    pub(crate) fn hide(&self, own: &[PathBuf]) {
        if let Runner::Command(supervisor) = &self.runner {
            supervisor.hide(real(own));
        }
    }

    /// The workers that may take traffic.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster)
    }

    /// How every worker is.
    pub(crate) fn status(&self) -> BackendStatus {
        let (kind, workers) = match &self.runner {
            Runner::Command(supervisor) => (BackendKind::Command, supervisor.status()),
            Runner::Upstream(upstream) => (BackendKind::Upstream, upstream.status()),
        };
        let supervisor = self.supervisor().ok();
        let standing = supervisor.map(Supervisor::standing).unwrap_or_default();
        let isolation = (kind == BackendKind::Command).then(|| {
            let lost = outlook::lost(workers.iter().filter_map(|worker| worker.pid));
            Isolation { lost, ..isolation::of(self.roster.backend(), &standing.config) }
        });
        BackendStatus {
            name: self.roster.backend().to_owned(),
            kind,
            isolation,
            workers,
            stopped: standing.stopped,
            wanted: standing.wanted,
            order: supervisor.and_then(Supervisor::order_under_way).map(str::to_owned),
            held_up: supervisor.and_then(Supervisor::held_up),
            deploy: self.deploys.status(),
            installs: standing.config.install.is_some(),
            generation: standing.generation,
            rolled_back: standing.rolled_back,
            // Those whose release has been removed meanwhile are no way back.
            generations: {
                let known = standing.generations.iter();
                let there = known.filter(|one| one.number == standing.generation || one.directory.is_dir());
                there.cloned().collect()
            },
            nodes_in_use: self.supervisor().map(Supervisor::nodes_in_use).unwrap_or_default(),
        }
    }

    /// Resolves when a worker has failed to start or to stay. Cancel safe.
    pub(crate) async fn failed(&self) {
        while self.status().workers.iter().all(|worker| worker.last_error.is_none()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Stop each worker and start it again, one after the other; resolves when all are ready, or one is not. One
    /// that was stopped is started. Cancel safe: the order is carried out even if nobody waits for it any more.
    pub(crate) async fn restart(&self) -> Result<(), BackendError> {
        self.supervisor()?.order(Order::Restart).await
    }

    /// Replace every worker the rolling way by one of this configuration, resolved anew; a new one that never gets
    /// ready leaves the old ones serving. One that was stopped is started. A command can not become an upstream or
    /// back. Resolves when it is in force, with those that still finish their requests. Cancel safe, as
    /// [`Self::restart`].
    pub(crate) async fn reload(&self, config: Config) -> Result<Drain, BackendError> {
        self.take_on(Order::Reload(Box::new(config))).await
    }

    /// The same only if this configuration, or what it leads to (links of the directory, `env_file`), has changed; one
    /// that was stopped stays so. Cancel safe.
    pub(crate) async fn adopt(&self, config: Config) -> Result<Drain, BackendError> {
        self.take_on(Order::Adopt(Box::new(config))).await
    }

    async fn take_on(&self, order: Order) -> Result<Drain, BackendError> {
        let Carried { outcome, drain } = self.supervisor()?.carry_out(order).await;
        outcome.map(|()| drain)
    }

    /// The configuration by which its workers go, a rollback apart; none, if something else runs it.
    pub(crate) fn goes_by(&self) -> Option<Config> {
        self.supervisor().ok().map(|supervisor| Config::clone(&supervisor.standing().config))
    }

    /// Is it ours to reload?
    pub(crate) fn is_supervised(&self) -> bool {
        matches!(self.runner, Runner::Command(_))
    }

    /// Go back to an earlier generation (the one before, if none is named) the rolling way. Cancel safe.
    pub(crate) async fn rollback(&self, generation: Option<u64>) -> Result<(), BackendError> {
        self.supervisor()?.order(Order::Rollback(generation)).await
    }

    /// Have so many workers, until the configuration changes; resolves when all are ready, or the surplus has
    /// gone. Newcomers that do not get ready are taken away again. Cancel safe.
    pub(crate) async fn scale(&self, workers: usize) -> Result<(), BackendError> {
        self.supervisor()?.order(Order::Scale(workers)).await
    }

    /// Have no workers until [`Self::resume`]; resolves when none is left. Requests are refused. Cancel safe.
    pub(crate) async fn halt(&self) -> Result<(), BackendError> {
        self.supervisor()?.order(Order::Stop).await
    }

    /// Have workers again; resolves when all are ready, or one is not. Cancel safe.
    pub(crate) async fn resume(&self) -> Result<(), BackendError> {
        self.supervisor()?.order(Order::Start).await
    }

    /// Are there hosts whose requests are for it, whatever their tenant?
    pub(crate) fn has_hosts(&self) -> bool {
        self.supervisor().is_ok_and(|supervisor| !supervisor.standing().config.hosts.is_empty())
    }

    /// Send a signal to the process of one worker (`api/0`), or of all; how many got it.
    pub(crate) fn signal(&self, signal: Signal, worker: Option<&str>) -> Result<usize, BackendError> {
        self.supervisor()?.signal(signal, worker)
    }

    /// Start a program beside the workers, from the generation in force.
    pub(crate) async fn errand(&self, errand: &Errand) -> Result<Running, BackendError> {
        self.supervisor()?.errand(errand).await
    }

    /// Resolves when another generation is in force than this one. Cancel safe.
    pub(crate) async fn superseded(&self, generation: u64) {
        match self.supervisor() {
            Ok(supervisor) => supervisor.superseded(generation).await,
            Err(_) => std::future::pending().await,
        }
    }

    /// How long to wait before a program that has ended after `ran_for` is started again.
    pub(crate) fn pause(&self, history: &mut History, ran_for: Duration) -> Duration {
        let policy = self.supervisor().map(Supervisor::policy).unwrap_or_default();
        history.failed(&policy, ran_for);
        history.pause(&policy, restart::jitter())
    }

    /// Drain, SIGTERM, grace, SIGKILL; resolves when no process is left. Idempotent and cancel safe.
    pub(crate) async fn stop(&self) {
        match &self.runner {
            Runner::Command(supervisor) => {
                supervisor.end().await;
                self.outlets.close().await;
            }
            Runner::Upstream(upstream) => upstream.stop().await,
        }
    }

    /// The last lines of one worker (`api/0`) or of all, oldest first.
    pub(crate) fn output(&self, worker: Option<&str>, lines: usize) -> Vec<OutputLine> {
        match &self.runner {
            Runner::Command(supervisor) => supervisor.output(worker, lines),
            Runner::Upstream(_) => Vec::new(),
        }
    }

    /// Every line from now on; a follower that is too slow misses lines and is told how many.
    pub(crate) fn follow(&self) -> broadcast::Receiver<OutputLine> {
        self.outlets.follow()
    }

    fn supervisor(&self) -> Result<&Supervisor, BackendError> {
        match &self.runner {
            Runner::Command(supervisor) => Ok(supervisor),
            Runner::Upstream(_) => {
                Err(BackendError::NotSupervised { backend: self.roster.backend().to_owned() })
            }
        }
    }
}

/// Those that are there, behind all symbolic links.
fn real(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().filter_map(|path| path.canonicalize().ok()).collect()
}

/// Make the directory of the workers' own directories.
fn make_hall(surroundings: &Surroundings, config: &Config) -> Result<(), BackendError> {
    let directory = generation::hall(&surroundings.runtime_dir);
    // One that has a user of its own now may get it with a reload, or lose it: passing through shows nothing.
    let shared = config.user.is_some();
    let made = quarters::make_hall(&surroundings.runtime_dir, &directory, shared);
    made.map_err(|source| BackendError::SocketDirectory { directory, source })
}
