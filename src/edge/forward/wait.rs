//! A worker for a request's next try. While there is none the request waits: bounded in number and time, never
//! without end.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::WorkerLease;

use super::{super::refusal::Refusal, Tries};

/// A worker may be listed for a moment after it died; waiting between tries starts here and doubles.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Until it reaches this: soon enough after a worker is back.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// How long a worker that hung up may still be listed if it died of it: its end is noticed in milliseconds, on a
/// machine with time.
const DEATH_NOTICED: Duration = Duration::from_secs(1);

impl Tries<'_> {
    /// A worker for the next try; waits, bounded in number and time, while none has room.
    pub(super) async fn worker(&mut self) -> Result<WorkerLease, Refusal> {
        let failed = self.failed();
        if let Some(lease) = self.route.roster.pick_at(self.home, &failed) {
            return Ok(lease);
        }
        if !self.route.watched {
            // Nobody will list another one: what is there has been tried.
            let said = self.last_death.take().map(|(_, reason)| reason);
            let unreachable = || format!("{} takes no connection", self.route.roster.backend());
            return Err(Refusal::WorkerFailed(said.unwrap_or_else(unreachable)));
        }
        let roster = &self.route.roster;
        if roster.is_stopped() {
            return Err(Refusal::BackendStopped);
        }
        let admit = &self.exchange.settings.admit;
        let _waiting = self.place.wait(admit.waiting_max)?;
        let began = Instant::now();
        let give_up = *self.give_up.get_or_insert_with(|| began + admit.waiting_timeout);
        let stopped = roster.stopped();
        let outcome = tokio::select! {
            outcome = self.wait(give_up) => outcome,
            () = stopped => Err(Refusal::BackendStopped),
        };
        self.exchange.thread.shared.metrics.waited_seconds.observe(began.elapsed().as_secs_f64());
        outcome
    }

    /// In order with all that wait for a worker of this backend.
    async fn wait(&mut self, give_up: Instant) -> Result<WorkerLease, Refusal> {
        let roster = &self.route.roster;
        let turn = *self.turn.get_or_insert_with(|| roster.turn(self.exchange.record.started()));
        loop {
            let failed = self.failed();
            // Those that are listed have failed: the supervisor needs a moment to notice and to replace them.
            let until = if failed.is_empty() { give_up } else { give_up.min(Instant::now() + self.pause) };
            match tokio::time::timeout_at(until, roster.wait(self.lane, turn, (self.home, &failed))).await {
                Ok(lease) => return Ok(lease),
                Err(_) if Instant::now() >= give_up => return Err(Refusal::NoWorker),
                Err(_) => {}
            }
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.avoid.clear();
            // One that ends is off the list in a moment; this one lives, and hangs up on this request.
            if let Some(reason) = self.hung_up().filter(|_| roster.lists_only(&self.died)) {
                return Err(Refusal::WorkerFailed(reason));
            }
        }
    }

    /// The workers that have failed this request.
    fn failed(&self) -> Vec<u64> {
        self.avoid.iter().chain(&self.died).copied().collect()
    }

    /// What the last worker said that hung up, once it is clear that it did not end.
    fn hung_up(&self) -> Option<String> {
        let (at, reason) = self.last_death.as_ref()?;
        (at.elapsed() > DEATH_NOTICED).then(|| reason.clone())
    }
}
