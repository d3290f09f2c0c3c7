//! What the supervisor's task owns, and how it carries out one order after the other. It must never end a worker
//! that serves before its successor is ready, unless the order says so.

mod rolling;
mod turning;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::rolling::OLD_GENERATIONS_MAX;
use super::{
    super::{
        BackendError, Config, deploy,
        drain::Drain,
        generation::{Generation, LeadsTo, check_socket_path},
        job::{Departure, Job, Undone},
        log_files,
        process::Stage,
        state::{Seat, Slot, State},
        watch::Watch,
    },
    Answer, Board, Carried, Order, Pressing, Standing,
    generations::Generations,
    workers,
};
use crate::metrics::Metrics;

/// What the supervisor's task owns.
pub(super) struct Crew {
    pub(super) stage: Arc<Stage>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) config_dir: PathBuf,
    /// The configuration's present word: a rollback does not change it.
    pub(super) config: Config,
    /// How many workers there should be: the configuration's number until somebody scales.
    pub(super) wanted: usize,
    pub(super) stopped: bool,
    /// What the configuration led to when it was last put in force: a rollback changes it only with the link.
    pub(super) leads_to: LeadsTo,
    pub(super) generations: Generations,
    pub(super) jobs: Vec<Job>,
    /// Those that were too many, until their last request has ended.
    pub(super) surplus: Vec<Job>,
    /// Workers that the order under way has replaced or found too many, and that still finish their requests.
    pub(super) departures: Vec<Departure>,
    pub(super) board: Arc<Board>,
    pub(super) ending: CancellationToken,
    /// Weak: who watches files keeps no backend alive.
    pub(super) orders: mpsc::WeakSender<(Order, Answer)>,
    pub(super) watch: Option<Watch>,
}

impl Crew {
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<(Order, Answer)>) {
        self.generations.shelve().await;
        self.sweep();
        loop {
            let order = tokio::select! {
                biased;
                () = self.ending.cancelled() => None,
                order = orders.recv() => order,
            };
            let Some((order, answer)) = order else { break };
            self.board.pressing.send_modify(|pressing| pressing.go(&order));
            self.board.taken_up.send_modify(|orders| *orders += 1);
            self.board.order.store(Arc::new(Some(order.word())));
            // An end that comes in the middle makes the jobs refuse, and so the order fails soon.
            let outcome = self.obey(order).await;
            if let Err(error) = &outcome {
                tracing::error!(backend = self.stage.backend, %error, "the backend's order failed");
            }
            // Before anybody hears of it: who has the answer may end the gateway and ask the next one to go back.
            self.generations.shelve().await;
            // Only now: while newcomers start, homes that are given are among those that were there before.
            self.stage.roster.slots_are(self.wanted);
            self.publish();
            self.watch();
            self.board.order.store(Arc::default());
            // Those that were replaced go by themselves: the next order does not wait for them.
            let drain = Drain::new(std::mem::take(&mut self.departures), &self.board.taken_up);
            drop(answer.send(Carried { outcome, drain }));
        }
        self.end_all().await;
    }

    /// Remove what a gateway that was killed had begun to deploy.
    fn sweep(&self) {
        let Some(link) = self.link().filter(|link| link.is_symlink()) else { return };
        let (stage, identity) = (Arc::clone(&self.stage), self.generation().identity.clone());
        // It may be a lot, and nobody waits for it.
        drop(self.stage.shutdown.spawn(async move { deploy::sweep(&stage, &link, identity).await }));
    }

    async fn obey(&mut self, order: Order) -> Result<(), BackendError> {
        match order {
            Order::Restart if self.stopped => self.start().await,
            Order::Restart => self.restart().await,
            Order::Reload(config) => self.reload(*config, true).await,
            Order::Watched => self.reload(self.config.clone(), true).await,
            Order::Adopt(config) => self.adopt(*config).await,
            Order::Release(directory) => self.release(directory).await,
            Order::Rollback(number) => self.rollback(number).await,
            Order::Scale(workers) => self.scale(workers).await,
            Order::Stop => {
                self.sleep().await;
                Ok(())
            }
            Order::Start => self.start().await,
        }
    }

    /// Watch the files of the generation in force, if that is asked for.
    pub(super) fn watch(&mut self) {
        let directory = self.generation().directory.clone();
        let wanted = self.config.watch && !self.stopped;
        if !wanted || self.watch.as_ref().is_some_and(|watch| watch.directory() != directory) {
            self.watch = None;
        }
        if wanted && self.watch.is_none() {
            let watch = Watch::start(directory, self.orders.clone(), &self.stage.shutdown);
            self.watch = watch
                .map_err(|error| {
                    tracing::error!(backend = self.stage.backend, %error, "files cannot be watched");
                })
                .ok();
        }
    }

    pub(super) fn generation(&self) -> &Arc<Generation> {
        self.generations.current()
    }

    async fn restart(&mut self) -> Result<(), BackendError> {
        for job in &self.jobs {
            let gives_up = CancellationToken::new();
            let restarting = job.restart(gives_up.clone());
            let outcome = self.unless_pressed(Pressing::either, &gives_up, restarting).await;
            outcome.map_err(|undone| self.explain(job.slot(), undone))?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), BackendError> {
        self.wake();
        self.fill_up(self.wanted, &Arc::clone(self.generation()));
        self.settled(0, Pressing::either).await
    }

    /// Workers are wanted from here on.
    fn wake(&mut self) {
        self.stopped = false;
        self.stage.roster.stopped_is(false);
    }

    /// No workers are wanted.
    async fn sleep(&mut self) {
        self.stopped = true;
        self.stage.roster.stopped_is(true);
        self.end_all().await;
    }

    /// The configuration file may have changed: a backend that was told to stop does not start for that.
    async fn adopt(&mut self, config: Config) -> Result<(), BackendError> {
        if config == self.config && self.resolve(config.clone(), 0).await?.leads_to() == self.leads_to {
            // A disk that did not keep up may have kept the last rules from being taken.
            return self.write_logs(&config).await;
        }
        self.reload(config, false).await
    }

    async fn reload(&mut self, config: Config, wakes: bool) -> Result<(), BackendError> {
        if config.upstream.is_some() && config.command.is_empty() {
            return Err(BackendError::KindChanged { backend: self.stage.backend.clone() });
        }
        let next = self.next(config.clone()).await?;
        // A number that was ordered holds until the configuration says something else.
        let wanted = if config == self.config { self.wanted } else { workers(&config) };
        check_socket_path(&self.stage.runtime_dir, &self.stage.backend, wanted)?;
        self.room(OLD_GENERATIONS_MAX).await?;
        let leads_to = next.leads_to();
        // Before anything is replaced: files that cannot be written change nothing.
        self.write_logs(&config).await?;
        let outcome =
            if wakes { self.wake_and_roll(next, wanted).await } else { self.roll(next, wanted).await };
        if outcome.is_err()
            && let Err(error) = self.write_logs(&self.config).await
        {
            tracing::error!(%error, "the log file of before cannot be written any more");
        }
        outcome?;
        (self.config, self.leads_to) = (config, leads_to);
        self.generations.let_go();
        Ok(())
    }

    /// Write the log files that this configuration wants from here on.
    async fn write_logs(&self, config: &Config) -> Result<(), BackendError> {
        let (stage, config, config_dir) = (Arc::clone(&self.stage), config.clone(), self.config_dir.clone());
        // A disk that does not answer holds up nothing else on this thread.
        let write = move || log_files::write(&stage.outlets, &stage.backend, &config, &config_dir);
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| {
            let (backend, path) = (self.stage.backend.clone(), PathBuf::new());
            Err(BackendError::LogFile { backend, path, source: std::io::Error::other(error) })
        })
    }

    /// What this configuration says now, as the generation after the last one.
    async fn next(&mut self, config: Config) -> Result<Arc<Generation>, BackendError> {
        let number = self.generations.next_number();
        self.resolve(config, number).await.map(Arc::new)
    }

    async fn resolve(&self, config: Config, number: u64) -> Result<Generation, BackendError> {
        Generation::resolve_aside(&self.stage.grounds, number, config).await
    }

    /// More start beside those that are there, fewer are drained first. Newcomers that do not get ready go again.
    async fn scale(&mut self, wanted: usize) -> Result<(), BackendError> {
        check_socket_path(&self.stage.runtime_dir, &self.stage.backend, wanted)?;
        let before = std::mem::replace(&mut self.wanted, wanted);
        self.publish();
        if self.stopped {
            return Ok(());
        }
        let there = self.jobs.len();
        self.dismiss_jobs(wanted).await;
        self.fill_up(wanted, &Arc::clone(self.generation()));
        let outcome = self.settled(there, Pressing::stop).await;
        if outcome.is_err() {
            self.wanted = before;
            self.end_jobs(there).await;
        }
        self.show_places();
        outcome
    }

    /// Let all jobs from this one on finish their requests, and end. They take no new ones from here on, and their places
    /// may be given to others.
    async fn dismiss_jobs(&mut self, from: usize) {
        let surplus = self.jobs.split_off(from.min(self.jobs.len()));
        self.departures.extend(join_all(surplus.iter().map(Job::leave)).await);
        self.surplus.retain(|job| !job.is_over());
        self.surplus.extend(surplus);
    }

    /// End all jobs, those too that were too many and have only their grace from here on.
    async fn end_all(&mut self) {
        self.jobs.append(&mut self.surplus);
        self.end_jobs(0).await;
    }

    /// End all jobs from this one on. Their places stay on the board until [`Self::show_places`].
    async fn end_jobs(&mut self, from: usize) {
        let surplus = self.jobs.split_off(from.min(self.jobs.len()));
        surplus.iter().for_each(Job::begin_end);
        join_all(surplus.into_iter().map(Job::end)).await;
    }

    /// A job of this generation for each slot up to this number, unless none are wanted; a slot that was there before
    /// keeps what its workers wrote.
    pub(super) fn fill_up(&mut self, wanted: usize, generation: &Arc<Generation>) {
        if self.stopped {
            return;
        }
        let slots = self.board.slots.load_full();
        for number in self.jobs.len()..wanted {
            let slot = slots.iter().find(|slot| slot.number == number).map(Arc::clone);
            let slot = slot.unwrap_or_else(|| Slot::new(&self.stage.backend, number));
            slot.set(Seat::Main, State::Starting { pid: None, generation: generation.number });
            let (stage, metrics) = (Arc::clone(&self.stage), Arc::clone(&self.metrics));
            let (generation, ending) = (Arc::clone(generation), self.ending.child_token());
            self.jobs.push(Job::start(stage, metrics, slot, generation, ending));
        }
        self.show_places();
    }

    /// On the board are the places that have a job, and those that somebody still leaves; those of a stopped backend stay.
    fn show_places(&self) {
        if self.jobs.is_empty() {
            return;
        }
        let mut places: Vec<_> = self.jobs.iter().map(|job| Arc::clone(job.slot())).collect();
        let before = self.board.slots.load();
        let left = before.iter().filter(|slot| slot.number >= places.len() && slot.leaving() > 0);
        let left: Vec<_> = left.map(Arc::clone).collect();
        places.extend(left);
        self.board.slots.store(Arc::new(places));
    }

    /// Resolves when all workers from this one on are ready, or one has failed, or somebody presses.
    async fn settled(&self, from: usize, presses: fn(&Pressing) -> bool) -> Result<(), BackendError> {
        let newcomers = self.jobs.get(from..).unwrap_or_default();
        for job in newcomers {
            let settled = tokio::select! {
                biased;
                settled = job.slot().settled() => settled.map_err(|failure| failure.map_or(Undone::Ending, Undone::NotReady)),
                () = self.pressed(presses) => Err(Undone::BrokenOff),
            };
            settled.map_err(|undone| self.explain(job.slot(), undone))?;
        }
        Ok(())
    }

    /// Show how it stands.
    pub(super) fn publish(&self) {
        self.board.in_force.send_if_modified(|generation| {
            let number = self.generation().number;
            let other = generation.as_ref().is_none_or(|generation| generation.number != number);
            other.then(|| *generation = Some(Arc::clone(self.generation()))).is_some()
        });
        self.board.standing.store(Arc::new(Standing {
            stopped: self.stopped,
            wanted: self.wanted,
            generation: self.generation().number,
            generations: self.generations.status(),
            rolled_back: self.generations.is_held(),
            config: Arc::new(self.config.clone()),
        }));
    }

    fn explain(&self, slot: &Slot, undone: Undone) -> BackendError {
        match undone {
            Undone::NotReady(failure) => BackendError::NotReady {
                worker: slot.name.clone(),
                reason: failure.reason,
                facts: failure.facts,
                lines: failure.lines,
            },
            Undone::Ending => BackendError::Stopping { backend: self.stage.backend.clone() },
            Undone::BrokenOff => BackendError::BrokenOff { backend: self.stage.backend.clone() },
        }
    }
}
