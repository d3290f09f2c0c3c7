//! All slots of one supervised backend: orders go through them one by one, in turn, by one task, so that an
//! order is carried out to its end even if whoever gave it has gone away.
//!
//! It must never leave two generations serving after a failed reload, unless the old one does not start any more: then
//! a worker serves on as it is, and the status says so.

mod crew;
mod generations;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    BackendError, Config, OutputLine, WorkerStatus,
    account::Identity,
    deploy::{self, Deploy, Deployed, Site},
    drain::Drain,
    errand::{Errand, Running},
    generation::{Generation, LeadsTo, check_socket_path},
    hands::{self, Target},
    process::Stage,
    restart::Policy,
    shelf::Shelf,
    state::Slot,
    status::GenerationStatus,
};
use crate::metrics::Metrics;

use self::{crew::Crew, generations::Generations};

/// Orders that may wait for their turn; whoever comes later waits to get in.
const ORDERS_WAITING_MAX: usize = 8;

/// More workers than this are a slip of the keyboard.
const WORKERS_MAX: usize = 1024;

/// Where the outcome of an order goes.
pub(super) type Answer = oneshot::Sender<Carried>;

/// An order that has been carried out, or has failed.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) outcome: Result<(), BackendError>,
    pub(super) drain: Drain,
}

/// What a supervised backend can be told.
#[derive(Debug)]
pub(super) enum Order {
    /// Stop and start each worker, one after the other.
    Restart,
    /// The rolling way, with this configuration, resolved anew. One that was stopped is started.
    Reload(Box<Config>),
    /// The same with the configuration in force, because a file has changed; done when all workers are new ones.
    Watched,
    /// The same if it says something else than what is in force, or what it leads to has changed: the directory behind
    /// its links, what `env_file` says. One that was stopped stays so.
    Adopt(Box<Config>),
    /// The rolling way, from this directory, to which the configured link leads then.
    Release(PathBuf),
    /// The rolling way, to an earlier generation: this one, or the one before.
    Rollback(Option<u64>),
    /// So many workers.
    Scale(usize),
    /// No workers, until told otherwise.
    Stop,
    /// Workers again.
    Start,
}

impl Order {
    /// What is done while it is carried out.
    fn word(&self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reload(_) | Self::Watched | Self::Adopt(_) => "reload",
            Self::Release(_) => "release",
            Self::Rollback(_) => "rollback",
            Self::Scale(_) => "scale",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

/// Orders that wait for their turn, and do not let what is under way take its time: it may well be what they are to undo.
#[derive(Debug, Default)]
struct Pressing {
    stops: usize,
    rollbacks: usize,
}

impl Pressing {
    /// This one waits.
    fn come(&mut self, order: &Order) {
        self.of(order).into_iter().for_each(|waiting| *waiting += 1);
    }

    /// It waits no longer.
    fn go(&mut self, order: &Order) {
        self.of(order).into_iter().for_each(|waiting| *waiting -= 1);
    }

    fn of(&mut self, order: &Order) -> Option<&mut usize> {
        match order {
            Order::Stop => Some(&mut self.stops),
            Order::Rollback(_) => Some(&mut self.rollbacks),
            _ => None,
        }
    }

    /// Is somebody there who stops all, or goes back?
    fn either(&self) -> bool {
        self.stops + self.rollbacks > 0
    }

    /// Is somebody there who stops all?
    fn stop(&self) -> bool {
        self.stops > 0
    }
}

/// What all may see of a supervised backend.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// The workers' places.
    slots: ArcSwap<Vec<Arc<Slot>>>,
    standing: ArcSwap<Standing>,
    /// The generation from which all are started; none before the first.
    in_force: watch::Sender<Option<Arc<Generation>>>,
    order: ArcSwap<Option<&'static str>>,
    /// What it waits for before it replaces anybody.
    held_up: ArcSwap<Option<String>>,
    /// How many orders have been taken up.
    taken_up: watch::Sender<u64>,
    pressing: watch::Sender<Pressing>,
}

/// How it stands between two orders.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// It has been told to stop.
    pub(super) stopped: bool,
    /// How many workers it should have.
    pub(super) wanted: usize,
    /// The generation from which all workers are started.
    pub(super) generation: u64,
    /// Those it can go back to, this one included.
    pub(super) generations: Vec<GenerationStatus>,
    /// Somebody went back to it, and the configuration has said nothing new since.
    pub(super) rolled_back: bool,
    /// The configuration's present word.
    pub(super) config: Arc<Config>,
}

/// The handle of a supervised backend. Dropping it ends all workers in order.
#[derive(Debug)]
pub(super) struct Supervisor {
    stage: Arc<Stage>,
    config_dir: PathBuf,
    board: Arc<Board>,
    orders: mpsc::Sender<(Order, Answer)>,
    ending: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Supervisor {
    /// Start one worker per slot, without waiting for them.
    pub(super) fn start(
        stage: Stage,
        config: Config,
        config_dir: PathBuf,
        shelf: Shelf,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BackendError> {
        let (generations, config, leads_to) = begin(&stage, config, shelf)?;
        let generation = Arc::clone(generations.current());
        check_socket_path(&stage.runtime_dir, &stage.backend, workers(&config))?;
        let (orders, inbox) = mpsc::channel(ORDERS_WAITING_MAX);
        let ending = CancellationToken::new();
        let board = Arc::new(Board::default());
        let stage = Arc::new(stage);
        let mut crew = Crew {
            stage: Arc::clone(&stage),
            metrics: Arc::clone(metrics),
            config_dir: config_dir.clone(),
            wanted: workers(&config),
            config,
            stopped: false,
            leads_to,
            generations,
            jobs: Vec::new(),
            surplus: Vec::new(),
            departures: Vec::new(),
            board: Arc::clone(&board),
            ending: ending.clone(),
            orders: orders.downgrade(),
            watch: None,
        };
        crew.fill_up(crew.wanted, &generation);
        crew.stage.roster.slots_are(crew.wanted);
        crew.publish();
        crew.watch();
        let task = stage.shutdown.spawn(crew.run(inbox));
        Ok(Self { stage, config_dir, board, orders, ending, task: tokio::sync::Mutex::new(Some(task)) })
    }

    /// Every worker, by slot.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        self.board.slots.load().iter().flat_map(|slot| slot.status()).collect()
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Arc<Standing> {
        self.board.standing.load_full()
    }

    /// The order that is being carried out.
    pub(super) fn order_under_way(&self) -> Option<&'static str> {
        **self.board.order.load()
    }

    /// What it waits for before it replaces anybody.
    pub(super) fn held_up(&self) -> Option<String> {
        self.board.held_up.load().as_ref().clone()
    }

    /// Whose processes the workers are; none: the gateway's own.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.board.in_force.borrow().as_ref()?.identity.clone()
    }

    /// The Nodes that processes run, whatever their generation.
    pub(super) fn nodes_in_use(&self) -> Vec<PathBuf> {
        self.stage.nodes.list()
    }

    /// The last lines of one worker or of all, oldest first.
    pub(super) fn output(&self, worker: Option<&str>, count: usize) -> Vec<OutputLine> {
        let slots = self.board.slots.load();
        let wanted = slots.iter().filter(|slot| worker.is_none_or(|worker| worker == slot.name));
        let mut lines: Vec<OutputLine> = wanted.flat_map(|slot| slot.ring.last(count)).collect();
        // Stable: lines of one worker keep their order even when the clock was set back within a tick.
        lines.sort_by_key(|line| line.at);
        lines.split_off(lines.len().saturating_sub(count))
    }

    /// Resolves when the order has been carried out or has failed, and those that it has replaced have gone. Cancel safe:
    /// it is carried out all the same.
    pub(super) async fn order(&self, order: Order) -> Result<(), BackendError> {
        let Carried { outcome, drain } = self.carry_out(order).await;
        drain.over().await;
        outcome
    }

    /// Resolves when what was ordered is in force, or has failed. Cancel safe, as [`Self::order`].
    pub(super) async fn carry_out(&self, order: Order) -> Carried {
        let refused = |error| Carried { outcome: Err(error), drain: Drain::default() };
        let stopping = || refused(BackendError::Stopping { backend: self.stage.backend.clone() });
        if let Order::Scale(workers) = order
            && !(1..=WORKERS_MAX).contains(&workers)
        {
            return refused(BackendError::Workers { backend: self.stage.backend.clone(), workers });
        }
        let (answer, done) = oneshot::channel();
        let Ok(place) = self.orders.reserve().await else { return stopping() };
        // From here on it will be taken up, whoever waits for it.
        self.board.pressing.send_modify(|pressing| pressing.come(&order));
        place.send((order, answer));
        done.await.unwrap_or_else(|_| stopping())
    }

    /// Deploy a package: [`deploy::deploy`].
    pub(super) async fn deploy(&self, deploy: Deploy, package: &Path) -> Result<Deployed, BackendError> {
        let (stage, config_dir, config) = (&self.stage, &self.config_dir, self.standing().config.clone());
        deploy::deploy(Site { stage, config_dir, config, supervisor: self }, deploy, package).await
    }

    /// Start a program beside the workers, from the generation in force.
    pub(super) async fn errand(&self, errand: &Errand) -> Result<Running, BackendError> {
        let stopping = || BackendError::Stopping { backend: self.stage.backend.clone() };
        let generation = self.board.in_force.borrow().clone().ok_or_else(stopping)?;
        Running::start(&self.stage, generation, errand).await
    }

    /// Resolves when another generation than this one is in force. Cancel safe.
    pub(super) async fn superseded(&self, number: u64) {
        let mut in_force = self.board.in_force.subscribe();
        let other = |one: &Option<Arc<Generation>>| one.as_ref().is_some_and(|one| one.number != number);
        // The sender stands on our own board.
        drop(in_force.wait_for(other).await);
    }

    /// The pauses between tries.
    pub(super) fn policy(&self) -> Policy {
        self.board.in_force.borrow().as_ref().map(|generation| generation.policy()).unwrap_or_default()
    }

    /// What workers that start from now on shall not see.
    pub(super) fn hide(&self, own: Vec<PathBuf>) {
        self.stage.hidden.store(Arc::new(own));
    }

    /// Send a signal to the process of one worker, or of all; how many got it.
    pub(super) fn signal(&self, signal: Signal, worker: Option<&str>) -> Result<usize, BackendError> {
        let workers = self.status();
        let wanted = workers.iter().filter(|one| worker.is_none_or(|worker| worker == one.name));
        let pids = wanted.filter_map(|one| i32::try_from(one.pid?).ok());
        // One that has ended meanwhile is waited for by us: its id has been given to nobody else.
        let reached = |pid: &i32| hands::signal(Target::Process(Pid::from_raw(*pid)), signal).is_ok();
        let sent = pids.filter(reached).count();
        if sent == 0 {
            let worker = worker.unwrap_or(&self.stage.backend).to_owned();
            return Err(BackendError::NoProcess { worker });
        }
        Ok(sent)
    }

    /// End all workers for good; resolves when none is left.
    pub(super) async fn end(&self) {
        self.ending.cancel();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            // An error is a panic; its jobs were dropped with it and so end by themselves.
            drop(running.await);
            *task = None;
        }
    }
}

/// With which generations to begin, and the configuration that is carried out with them. When this one leads to none (its
/// Node, its user or its `env_file` has gone), what served before does: one backend's trouble must not keep all the others
/// from starting.
fn begin(
    stage: &Stage,
    config: Config,
    shelf: Shelf,
) -> Result<(Generations, Config, LeadsTo), BackendError> {
    match Generation::resolve(&stage.grounds, 0, config.clone()) {
        Ok(first) => {
            let leads_to = first.leads_to();
            Ok((Generations::begin(shelf, first), config, leads_to))
        }
        Err(error) => {
            let Some(generations) = Generations::of_before(shelf) else { return Err(error) };
            let before = Arc::clone(generations.current());
            let (backend, generation) = (&stage.backend, before.number);
            tracing::error!(
                backend, generation, reason = %error,
                "the backend starts as it was before; mend this, then `gateway backend reload {backend}`"
            );
            Ok((generations, before.config.clone(), before.leads_to()))
        }
    }
}

/// A backend without workers would hold every request until it is refused.
fn workers(config: &Config) -> usize {
    config.workers.count().max(1)
}
