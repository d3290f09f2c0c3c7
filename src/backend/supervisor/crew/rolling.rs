//! How all workers come to be of another generation: one after the other, and back again if one does not get ready, or
//! a stop or a rollback comes. It must never leave a slot without the worker that served in it before its successor is
//! ready.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    super::super::{
        BackendError, LOOK_EVERY,
        generation::Generation,
        job::{Departure, Job, Undone},
        state::Slot,
    },
    Crew, Pressing,
};

/// Old generations whose workers may still finish their requests when the next one is to take over. Each takes as much
/// memory as the one that serves: with two of them a backend has three times its own, and with any number of them none
/// that anybody could have reckoned with.
pub(super) const OLD_GENERATIONS_MAX: usize = 2;

impl Crew {
    /// The same for an order to have workers: one that fails leaves a stopped backend stopped.
    pub(super) async fn wake_and_roll(
        &mut self,
        next: Arc<Generation>,
        wanted: usize,
    ) -> Result<(), BackendError> {
        let slept = self.stopped;
        self.wake();
        let outcome = self.roll(next, wanted).await;
        if outcome.is_err() && slept {
            self.sleep().await;
        }
        outcome
    }

    /// Replace each worker by one of the next generation, and have so many in the end. All of them are ready before
    /// anything is final: one that is not leaves everything as it was. Those that were replaced may still be there.
    pub(super) async fn roll(&mut self, next: Arc<Generation>, wanted: usize) -> Result<(), BackendError> {
        self.stage.roster.warm_up_is(next.config.warm_up());
        // Those that stay; a smaller number ends the last ones only when the rest has been replaced.
        let there = self.jobs.len();
        let staying = there.min(wanted);
        let mut departures = Vec::new();
        for (done, job) in self.jobs.iter().take(staying).enumerate() {
            match self.replace(job, &next, Pressing::either).await {
                Ok(departure) => departures.extend(departure),
                Err(undone) => {
                    let error = self.explain(job.slot(), undone);
                    self.take_back(done).await;
                    return Err(error);
                }
            }
        }
        // The same build has just proved itself in the other slots: these start like at the gateway's start.
        self.fill_up(wanted, &next);
        if let Err(error) = self.settled(there, Pressing::either).await {
            self.end_jobs(there).await;
            self.show_places();
            self.take_back(staying).await;
            return Err(error);
        }
        self.stage.roster.keep_alive_is(next.config.keep_alive);
        self.generations.stands(next);
        self.wanted = wanted;
        self.dismiss_jobs(wanted).await;
        self.show_places();
        self.departures.extend(departures);
        Ok(())
    }

    /// Resolves when there is room beside those that still finish their requests for those that are to be replaced. Whoever
    /// gives another order meanwhile does not wait for that: then this one is given up, and nobody has been replaced.
    pub(super) async fn room(&self, old_generations_max: usize) -> Result<(), BackendError> {
        let draining = || self.board.slots.load().iter().map(|slot| slot.leaving()).sum::<usize>();
        let replaced = || self.jobs.iter().filter(|job| job.slot().serves()).count();
        // After a scale-down those that were too many are no generation's: room that they had is there for others.
        let places = || {
            let surplus = |slot: &&Arc<Slot>| slot.number >= self.jobs.len() && slot.leaving() > 0;
            self.jobs.len() + self.board.slots.load().iter().filter(surplus).count()
        };
        let drain_max = || old_generations_max * places().max(1);
        let fits = || draining() + replaced() <= drain_max();
        if fits() {
            return Ok(());
        }
        let backend = &self.stage.backend;
        let why = format!(
            "{} workers that were replaced before still finish their requests; those that serve are replaced when no \
             more than {} are left of them",
            draining(),
            drain_max().saturating_sub(replaced()),
        );
        tracing::info!(backend, "waiting: {why}");
        self.board.held_up.store(Arc::new(Some(why)));
        let somebody_waits = || {
            let waits = |orders: mpsc::Sender<_>| orders.capacity() < orders.max_capacity();
            self.orders.upgrade().is_some_and(waits)
        };
        let outcome = loop {
            if self.ending.is_cancelled() {
                break Err(BackendError::Stopping { backend: backend.clone() });
            }
            if fits() {
                break Ok(());
            }
            if somebody_waits() {
                break Err(BackendError::GaveWay { backend: backend.clone() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        self.board.held_up.store(Arc::default());
        outcome
    }

    /// Put the first `done` slots back to the generation that still stands; needless when all is to be stopped.
    pub(super) async fn take_back(&self, done: usize) {
        self.stage.roster.warm_up_is(self.generation().config.warm_up());
        for job in self.jobs.iter().take(done) {
            match self.replace(job, self.generation(), Pressing::stop).await {
                Ok(_departure) => {}
                Err(Undone::BrokenOff) => return,
                Err(undone) => {
                    let error = self.explain(job.slot(), undone);
                    tracing::error!(%error, "a worker could not be put back to the generation before");
                }
            }
        }
    }

    /// Replace one worker, unless somebody presses meanwhile; what is to come of the old one, if that has long requests to
    /// finish: it keeps no other from being replaced.
    async fn replace(
        &self,
        job: &Job,
        next: &Arc<Generation>,
        presses: fn(&Pressing) -> bool,
    ) -> Result<Option<Departure>, Undone> {
        let gives_up = CancellationToken::new();
        let reloading = job.reload(next, gives_up.clone());
        let departure = self.unless_pressed(presses, &gives_up, reloading).await?;
        let patience = async {
            tokio::select! {
                () = tokio::time::sleep(next.config.stop_grace) => {}
                () = self.pressed(presses) => {}
            }
        };
        Ok(departure.unless(patience).await)
    }

    /// Have a slot's order carried out; given up as soon as somebody presses, and then it may have been done all the same.
    pub(super) async fn unless_pressed<T>(
        &self,
        presses: fn(&Pressing) -> bool,
        gives_up: &CancellationToken,
        order: impl Future<Output = T>,
    ) -> T {
        let mut order = std::pin::pin!(order);
        tokio::select! {
            biased;
            done = &mut order => return done,
            () = self.pressed(presses) => gives_up.cancel(),
        }
        order.await
    }

    /// Resolves when an order waits that presses.
    pub(super) async fn pressed(&self, presses: fn(&Pressing) -> bool) {
        // The sender stands on our own board.
        drop(self.board.pressing.subscribe().wait_for(presses).await);
    }
}
