//! All slots of one supervised backend: orders go through them one by one, in turn, by one task, so that an
//! order is carried out to its end even if whoever gave it has gone away.
//!
//! It must never leave two generations serving after a failed reload.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    BackendError, Config, OutputLine, WorkerStatus,
    generation::{Generation, check_socket_path},
    job::{Job, Undone},
    process::Stage,
    state::Slot,
};
use crate::metrics::Metrics;

/// Orders that may wait for their turn; whoever comes later waits to get in.
const ORDERS_WAITING_MAX: usize = 8;

type Answer = oneshot::Sender<Result<(), BackendError>>;

#[derive(Debug)]
enum Order {
    Restart(Answer),
    /// With a new configuration, or the same one resolved anew.
    Reload(Option<Box<Config>>, Answer),
}

/// The handle of a supervised backend. Dropping it ends all workers in order.
#[derive(Debug)]
pub(super) struct Supervisor {
    backend: String,
    slots: Arc<ArcSwap<Vec<Arc<Slot>>>>,
    orders: mpsc::Sender<Order>,
    ending: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Supervisor {
    /// Start one worker per slot, without waiting for them.
    pub(super) fn start(
        stage: Stage,
        config: Config,
        config_dir: PathBuf,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BackendError> {
        let generation = Generation::resolve(&stage.backend, 1, config, &config_dir)?;
        check_socket_path(&stage.runtime_dir, &stage.backend, workers(&generation))?;
        let (orders, inbox) = mpsc::channel(ORDERS_WAITING_MAX);
        let ending = CancellationToken::new();
        let slots = Arc::new(ArcSwap::default());
        let backend = stage.backend.clone();
        let shutdown = stage.shutdown.clone();
        let mut crew = Crew {
            stage: Arc::new(stage),
            metrics: Arc::clone(metrics),
            config_dir,
            generation: Arc::new(generation),
            jobs: Vec::new(),
            slots: Arc::clone(&slots),
        };
        crew.fill_up();
        let task = shutdown.spawn(crew.run(inbox, ending.clone()));
        Ok(Self { backend, slots, orders, ending, task: tokio::sync::Mutex::new(Some(task)) })
    }

    /// Every worker, by slot.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        self.slots.load().iter().flat_map(|slot| slot.status()).collect()
    }

    /// The last lines of one worker or of all, oldest first.
    pub(super) fn output(&self, worker: Option<&str>, count: usize) -> Vec<OutputLine> {
        let slots = self.slots.load();
        let wanted = slots.iter().filter(|slot| worker.is_none_or(|worker| worker == slot.name));
        let mut lines: Vec<OutputLine> = wanted.flat_map(|slot| slot.ring.last(count)).collect();
        // Stable: lines of one worker keep their order even when the clock was set back within a tick.
        lines.sort_by_key(|line| line.at);
        lines.split_off(lines.len().saturating_sub(count))
    }

    /// Stop and start each worker, one after the other.
    pub(super) async fn restart(&self) -> Result<(), BackendError> {
        self.order(Order::Restart).await
    }

    /// Replace each worker the rolling way.
    pub(super) async fn reload(&self, config: Option<Config>) -> Result<(), BackendError> {
        self.order(|answer| Order::Reload(config.map(Box::new), answer)).await
    }

    /// End all workers; resolves when none is left.
    pub(super) async fn stop(&self) {
        self.ending.cancel();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            // An error is a panic; its jobs were dropped with it and so end by themselves.
            drop(running.await);
            *task = None;
        }
    }

    async fn order(&self, order: impl FnOnce(Answer) -> Order) -> Result<(), BackendError> {
        let stopping = || BackendError::Stopping { backend: self.backend.clone() };
        let (answer, done) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| stopping())?;
        done.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// What the supervisor's task owns.
struct Crew {
    stage: Arc<Stage>,
    metrics: Arc<Metrics>,
    config_dir: PathBuf,
    generation: Arc<Generation>,
    jobs: Vec<Job>,
    slots: Arc<ArcSwap<Vec<Arc<Slot>>>>,
}

impl Crew {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, ending: CancellationToken) {
        loop {
            let order = tokio::select! {
                biased;
                () = ending.cancelled() => None,
                order = orders.recv() => order,
            };
            let Some(order) = order else { break };
            self.obey(order, &ending).await;
        }
        self.jobs.iter().for_each(Job::begin_end);
        join_all(self.jobs.into_iter().map(Job::end)).await;
    }

    async fn obey(&mut self, order: Order, ending: &CancellationToken) {
        // An end that comes in the middle makes the jobs refuse, and so the order fails soon.
        let handles: Vec<_> = self.jobs.iter().map(Job::ender).collect();
        let (answer, outcome) = {
            let obeying = async {
                match order {
                    Order::Restart(answer) => (answer, self.restart().await),
                    Order::Reload(config, answer) => (answer, self.reload(config).await),
                }
            };
            tokio::pin!(obeying);
            tokio::select! {
                done = &mut obeying => done,
                () = ending.cancelled() => {
                    handles.iter().for_each(CancellationToken::cancel);
                    obeying.await
                }
            }
        };
        if let Err(error) = &outcome {
            tracing::error!(backend = self.stage.backend, %error, "the backend's order failed");
        }
        drop(answer.send(outcome));
    }

    async fn restart(&mut self) -> Result<(), BackendError> {
        for job in &self.jobs {
            job.restart().await.map_err(|undone| self.explain(job, undone))?;
        }
        Ok(())
    }

    async fn reload(&mut self, config: Option<Box<Config>>) -> Result<(), BackendError> {
        let config = config.map_or_else(|| self.generation.config.clone(), |config| *config);
        let backend = &self.stage.backend;
        if config.upstream.is_some() && config.command.is_empty() {
            return Err(BackendError::KindChanged { backend: backend.clone() });
        }
        let number = self.generation.number + 1;
        let next = Arc::new(Generation::resolve(backend, number, config, &self.config_dir)?);
        check_socket_path(&self.stage.runtime_dir, backend, workers(&next))?;
        self.stage.roster.warm_up_is(next.config.warm_up());
        // Those that stay; a smaller number ends the last ones only when the rest has been replaced.
        let staying = self.jobs.len().min(workers(&next));
        for (done, job) in self.jobs.iter().take(staying).enumerate() {
            if let Err(undone) = job.reload(&next).await {
                let error = self.explain(job, undone);
                self.take_back(done).await;
                return Err(error);
            }
        }
        self.stage.roster.keep_alive_is(next.config.keep_alive);
        self.generation = next;
        let surplus = self.jobs.split_off(staying);
        surplus.iter().for_each(Job::begin_end);
        join_all(surplus.into_iter().map(Job::end)).await;
        // The same build has just proved itself in the other slots: these start like at the gateway's start.
        self.fill_up();
        Ok(())
    }

    /// Put the first `done` slots back to the generation that still stands.
    async fn take_back(&self, done: usize) {
        for job in self.jobs.iter().take(done) {
            if let Err(undone) = job.reload(&self.generation).await {
                let error = self.explain(job, undone);
                tracing::error!(%error, "a worker could not be put back to the generation before");
            }
        }
    }

    /// One job per slot that the generation asks for.
    fn fill_up(&mut self) {
        for number in self.jobs.len()..workers(&self.generation) {
            let slot = Slot::new(&self.stage.backend, number);
            let (stage, metrics) = (Arc::clone(&self.stage), Arc::clone(&self.metrics));
            self.jobs.push(Job::start(stage, metrics, slot, Arc::clone(&self.generation)));
        }
        self.slots.store(Arc::new(self.jobs.iter().map(|job| Arc::clone(job.slot())).collect()));
    }

    fn explain(&self, job: &Job, undone: Undone) -> BackendError {
        match undone {
            Undone::NotReady(failure) => BackendError::NotReady {
                worker: job.slot().name.clone(),
                reason: failure.reason,
                lines: failure.lines,
            },
            Undone::Ending => BackendError::Stopping { backend: self.stage.backend.clone() },
        }
    }
}

/// A backend without workers would hold every request until it is refused.
fn workers(generation: &Generation) -> usize {
    generation.config.workers.count().max(1)
}
