//! How a process is let go: it takes no more requests, those in flight end, it is asked to end, and killed if it does
//! not. It must never leave anybody of its group behind.

use std::time::Duration;

use super::{
    super::{child::KILL_WAIT, config::Goodbye},
    Process,
};

/// How long requests in flight are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum Patience {
    /// So long, and what is in flight then is cut.
    For(Duration),
    /// Until they have ended: each has a limit of its own at the edge, and the worker is well. Now and then it is said.
    Endless {
        /// How often.
        told_every: Duration,
    },
}

impl Process {
    /// Take no new request and let those in flight end, as long as `patience` says; those that have no end of their own
    /// (WebSockets, server-sent events) for no longer than `grace`. Cancel safe.
    pub(in crate::backend) async fn drain(&mut self, grace: Duration, patience: Patience) {
        self.roster.remove(&self.worker);
        let finished = async {
            let lasting_only = async {
                tokio::time::sleep(grace).await;
                self.worker.only_lasting().await;
            };
            tokio::select! {
                () = self.worker.idle() => {}
                () = lasting_only => {}
            }
        };
        let pid = self.child.pid();
        let impatient = async {
            let (Patience::For(after) | Patience::Endless { told_every: after }) = patience;
            loop {
                tokio::time::sleep(after).await;
                let (worker, in_flight, after_s) =
                    (&self.slot.name, self.worker.in_flight(), after.as_secs());
                if let Patience::For(_) = patience {
                    tracing::warn!(
                        worker,
                        pid,
                        in_flight,
                        patience_s = after_s,
                        "requests are still in flight: the worker is stopped all the same"
                    );
                    return;
                }
                tracing::info!(
                    worker,
                    pid,
                    in_flight,
                    told_every_s = after_s,
                    "requests are still in flight: the worker that was replaced is not stopped before they have ended"
                );
            }
        };
        tokio::select! {
            () = finished => {}
            _ = self.child.exited() => self.slot.reaped(pid),
            () = impatient => {}
        }
    }

    /// SIGTERM (or the message `shutdown`), grace, SIGKILL; the whole group.
    pub(in crate::backend) async fn end(mut self, grace: Duration) {
        self.child.find_strays().await;
        let heard = self.goodbye == Goodbye::Message
            && self.channel.as_ref().is_some_and(|channel| channel.say("shutdown"));
        if !heard {
            self.child.terminate();
        }
        if tokio::time::timeout(grace, self.ended(heard)).await.is_err() {
            let (worker, pid) = (&self.slot.name, self.child.pid());
            tracing::warn!(
                worker,
                pid,
                "the worker or what it started did not end within stop_grace: killed"
            );
            self.child.kill();
            drop(tokio::time::timeout(KILL_WAIT, self.child.exited()).await);
            self.slot.reaped(self.child.pid());
        }
        // Its goodbye is in the pipe still.
        self.readers.last_words().await;
        // Its temporary files may be many.
        self.quarters.leave().await;
        tracing::info!(worker = self.slot.name, pid = self.child.pid(), "worker stopped");
    }

    /// Resolves when nobody of its group is left. A shell that has started the program, say, may end before it.
    async fn ended(&mut self, by_message: bool) {
        drop(self.child.leader_exited().await);
        self.slot.reaped(self.child.pid());
        if by_message {
            // Those whom it has started heard nothing.
            self.child.terminate();
        }
        self.child.group_gone().await;
    }
}
