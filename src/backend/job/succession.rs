//! How a process takes over from another in the same slot: because a reload asks for it, or because the watch over
//! the old one has ended. It must never take a worker that is well out of the roster before its successor is ready.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    super::{
        generation::Generation,
        process::{Patience, Process, Stage},
        restart::{History, jitter},
        state::{Seat, Slot, State},
        vigil::{Leave, Vigil, Weary},
    },
    Departure, Giver, Life, Next, NotUp, bring_up, seat,
};
use crate::metrics::BackendLabels;

/// How an attempt to replace a process went.
enum Succession<T> {
    /// The new one serves; the old one is out of the roster, and ended if it says so.
    Done { newcomer: Box<Process>, old: Box<Process>, old_ended: bool },
    /// There is no new one; the old one may have ended meanwhile.
    Failed { not_up: NotUp<T>, old: Box<Process>, old_ended: Option<String> },
}

/// What is done when a process that was replaced has gone.
pub(super) enum Then {
    /// Nobody waits for that alone.
    Nothing,
    /// Whoever gave the order may wait for it.
    Gone(oneshot::Sender<()>),
    /// The slot's next worker may be replaced.
    Departed(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
}

impl Life {
    /// What an order to reload asks for.
    pub(super) async fn replace(
        &mut self,
        old: Box<Process>,
        generation: Arc<Generation>,
        giver: Giver,
    ) -> Next {
        let gone = giver.gone(&self.ending);
        let succession = succession(&self.stage, &self.slot, old, &generation, gone).await;
        let answer = giver.answer;
        match succession {
            Succession::Done { newcomer, old, old_ended } => {
                let patience = Patience::For(self.generation.config.drain_timeout);
                let (gone, departure) = oneshot::channel();
                self.dismiss(old, old_ended, patience, Then::Gone(gone));
                drop(answer.send(Ok(Departure(Some(departure)))));
                self.generation = generation;
                self.history = History::default();
                Next::Serve(newcomer)
            }
            Succession::Failed { not_up, old, old_ended } => {
                drop(answer.send(Err(not_up.into())));
                match old_ended {
                    None => Next::Serve(old),
                    Some(reason) => Next::BackOff(old.failure(reason).await, old.ready_for()),
                }
            }
        }
    }

    /// The watch has ended: another of the same generation takes its place.
    pub(super) async fn renew(&mut self, mut old: Box<Process>, weary: &Weary, leave: Option<Leave>) -> Next {
        let (pid, reason) = (old.pid(), weary.to_string());
        tracing::warn!(
            backend = self.stage.backend,
            worker = self.slot.name,
            pid,
            reason,
            "worker is replaced"
        );
        if weary.is_unhealthy() {
            old = match self.falls_ill(old, reason).await {
                Ok(old) => old,
                Err(next) => return next,
            };
        }
        let generation = Arc::clone(&self.generation);
        let policy = generation.policy();
        let told = async {
            tokio::select! {
                biased;
                () = self.ending.cancelled() => None,
                order = self.orders.recv() => order,
            }
        };
        match succession(&self.stage, &self.slot, old, &generation, told).await {
            Succession::Done { newcomer, old, old_ended } => {
                // One that is soon weary again must not be replaced without a pause.
                self.renewals.done(&policy, old.ready_for(), jitter());
                let labels = BackendLabels { backend: self.stage.backend.clone() };
                self.metrics.worker_replacements_total.get_or_create(&labels).inc();
                self.slot.replaced(weary);
                let config = &generation.config;
                let (patience, then) = match leave {
                    // The others need not wait until its last request has ended: they have their turn from here on.
                    Some(Leave { turn, departure }) => {
                        drop(turn);
                        (Patience::Endless { told_every: config.drain_timeout }, Then::Departed(departure))
                    }
                    // From one that is not well no answer is to be expected.
                    None => (Patience::For(config.stop_grace), Then::Nothing),
                };
                self.dismiss(old, old_ended, patience, then);
                Next::Serve(newcomer)
            }
            Succession::Failed { not_up: NotUp::GivenUp(Some(order)), old, old_ended }
                if weary.is_unhealthy() || old_ended.is_some() =>
            {
                old.end(generation.config.stop_grace).await;
                Next::Obey(order)
            }
            Succession::Failed { not_up: NotUp::GivenUp(order), old, .. } => {
                drop(leave);
                self.obey_while_up(old, order).await
            }
            Succession::Failed { not_up: NotUp::Failed(failure), old, old_ended } => {
                if weary.is_unhealthy() || old_ended.is_some() {
                    // It serves nobody, so nothing is lost with it.
                    old.end(generation.config.stop_grace).await;
                    return Next::BackOff(failure, Duration::ZERO);
                }
                self.renewals.failed(&policy, jitter());
                let (backend, worker) = (&self.stage.backend, &self.slot.name);
                tracing::error!(
                    backend,
                    worker,
                    reason = failure.reason,
                    "its successor failed: it serves on"
                );
                self.slot.failed(failure);
                Next::Serve(old)
            }
        }
    }

    /// Whoever is not well gets no request. One that falls ill soon after each start is replaced ever more seldom, like one
    /// that crashes: it is given back when its time has come, unless something else is to be done instead.
    async fn falls_ill(&mut self, mut old: Box<Process>, reason: String) -> Result<Box<Process>, Next> {
        old.leave_roster();
        self.slot.set(Seat::Main, State::Unwell(old.running()));
        self.slot.failed(old.failure(reason).await);
        let soon = old.ready_for() < self.generation.policy().stable;
        let respite = if soon { self.renewals.respite() } else { Duration::ZERO };
        tokio::select! {
            biased;
            () = self.ending.cancelled() => {}
            Some(order) = self.orders.recv() => {
                old.end(self.generation.config.stop_grace).await;
                return Err(Next::Obey(order));
            }
            reason = old.exited() => {
                let failure = old.failure(reason).await;
                return Err(Next::BackOff(failure, old.ready_for()));
            }
            () = tokio::time::sleep(respite) => {}
        }
        Ok(old)
    }

    /// Drain and end a process that was replaced, while its successor serves. The end of the slot shortens that.
    pub(super) fn dismiss(&mut self, mut old: Box<Process>, ended: bool, patience: Patience, then: Then) {
        let (slot, ending) = (Arc::clone(&self.slot), self.ending.clone());
        let grace = self.generation.config.stop_grace;
        let key = old.worker().key();
        let leave = async move {
            if !ended {
                let cut_short = async {
                    ending.cancelled().await;
                    tokio::time::sleep(grace).await;
                };
                tokio::select! {
                    () = old.drain(grace, patience) => {}
                    () = cut_short => {}
                }
            }
            old.end(grace).await;
            slot.left(key);
            if let Then::Gone(gone) = then {
                let _nobody_waits = gone.send(());
            }
        };
        self.leaving.retain(|leaving| !leaving.is_finished());
        self.leaving.push(self.stage.shutdown.spawn(leave));
    }

    pub(super) fn vigil(&self, process: &Process) -> Vigil {
        Vigil {
            worker: Arc::clone(process.worker()),
            slot: Arc::clone(&self.slot),
            generation: Arc::clone(&self.generation),
            pid: process.pid(),
            ready_at: process.ready_at(),
            respite: self.renewals.respite(),
            turns: Arc::clone(&self.stage.turns),
            departures: Arc::clone(&self.departures),
        }
    }
}

/// New one up, ready, swapped in; old one out of the roster.
async fn succession<T>(
    stage: &Stage,
    slot: &Arc<Slot>,
    mut old: Box<Process>,
    generation: &Generation,
    give_up: impl Future<Output = T>,
) -> Succession<T> {
    let mut old_ended = None;
    let outcome = {
        let mut starting = Box::pin(bring_up(stage, slot, generation, Seat::Successor, give_up));
        loop {
            tokio::select! {
                started = &mut starting => break started,
                // It may crash meanwhile: the newcomer is all there is then.
                reason = old.exited(), if old_ended.is_none() => old_ended = Some(reason),
            }
        }
    };
    match outcome {
        Ok(newcomer) => {
            let beside = old_ended.is_none().then(|| old.running());
            let newcomer = seat(stage, slot, newcomer, beside);
            old.leave_roster();
            Succession::Done { newcomer, old, old_ended: old_ended.is_some() }
        }
        Err(not_up) => {
            slot.clear_successor();
            Succession::Failed { not_up, old, old_ended }
        }
    }
}
