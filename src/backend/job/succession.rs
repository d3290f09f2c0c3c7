//! How a process takes over from another in the same slot: because a reload asks for it, or because the watch over
//! the old one has ended. It must never take a worker that is well out of the roster before its successor is ready.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        generation::Generation,
        process::Process,
        restart::{History, jitter},
        state::{Seat, State},
        vigil::{Vigil, Weary},
    },
    Answer, Life, Next, NotUp, bring_up,
};
use crate::metrics::BackendLabels;

/// How an attempt to replace a process went.
enum Succession {
    /// The new one serves, the old one is gone.
    Done(Box<Process>),
    /// There is no new one; the old one may have ended meanwhile.
    Failed { not_up: NotUp<()>, old: Box<Process>, old_ended: Option<String> },
}

impl Life {
    /// What an order to reload asks for.
    pub(super) async fn replace(
        &mut self,
        old: Box<Process>,
        generation: Arc<Generation>,
        answer: Answer,
    ) -> Next {
        match self.succession(old, &generation).await {
            Succession::Done(newcomer) => {
                self.generation = generation;
                self.history = History::default();
                drop(answer.send(Ok(())));
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
    pub(super) async fn renew(&mut self, old: Box<Process>, weary: &Weary) -> Next {
        let (pid, reason) = (old.pid(), weary.to_string());
        tracing::warn!(
            backend = self.stage.backend,
            worker = self.slot.name,
            pid,
            reason,
            "worker is replaced"
        );
        if weary.is_unhealthy() {
            old.leave_roster();
            self.slot.set(Seat::Main, State::Unwell { pid, worker: Arc::clone(old.worker()) });
            self.slot.failed(old.failure(reason).await);
        }
        let generation = Arc::clone(&self.generation);
        match self.succession(old, &generation).await {
            Succession::Done(newcomer) => {
                self.respite = Duration::ZERO;
                let labels = BackendLabels { backend: self.stage.backend.clone() };
                self.metrics.worker_replacements_total.get_or_create(&labels).inc();
                Next::Serve(newcomer)
            }
            Succession::Failed { not_up: NotUp::GivenUp(()), old, .. } => {
                self.retire(old, Seat::Main).await;
                Next::End
            }
            Succession::Failed { not_up: NotUp::Failed(failure), old, old_ended } => {
                if weary.is_unhealthy() || old_ended.is_some() {
                    // It serves nobody, so nothing is lost with it.
                    old.end(self.generation.config.stop_grace).await;
                    return Next::BackOff(failure, Duration::ZERO);
                }
                let policy = self.generation.policy();
                self.history.failed(&policy, old.ready_for());
                self.respite = self.history.pause(&policy, jitter());
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

    /// New one up, ready, swapped in; old one drained, stopped.
    async fn succession(&mut self, mut old: Box<Process>, generation: &Generation) -> Succession {
        let mut old_ended = None;
        let outcome = {
            let ending = self.ending.cancelled();
            let mut starting = Box::pin(bring_up(&self.stage, &self.slot, generation, Seat::Beside, ending));
            loop {
                tokio::select! {
                    started = &mut starting => break started,
                    // It may crash meanwhile: the newcomer is all there is then.
                    reason = old.exited(), if old_ended.is_none() => old_ended = Some(reason),
                }
            }
        };
        self.slot.clear_beside();
        match outcome {
            Ok(newcomer) => {
                let newcomer = self.seat(newcomer);
                self.retire(old, Seat::Beside).await;
                self.slot.clear_beside();
                Succession::Done(newcomer)
            }
            Err(not_up) => Succession::Failed { not_up, old, old_ended },
        }
    }

    pub(super) fn vigil(&self, process: &Process) -> Vigil {
        Vigil {
            worker: Arc::clone(process.worker()),
            slot: Arc::clone(&self.slot),
            generation: Arc::clone(&self.generation),
            pid: process.pid(),
            ready_at: process.ready_at(),
            respite: self.respite,
            turns: Arc::clone(&self.stage.turns),
        }
    }
}
