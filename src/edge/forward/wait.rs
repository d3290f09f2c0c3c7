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
    /// A worker for the next try; waits, bounded in number and time, while there is none.
    pub(super) async fn worker(&mut self) -> Result<WorkerLease, Refusal> {
        let roster = &self.route.roster;
        let failed: Vec<u64> = self.avoid.iter().chain(&self.died).copied().collect();
        if let Some(lease) = roster.pick(&failed) {
            return Ok(lease);
        }
        let admit = &self.exchange.settings.admit;
        let _waiting = self.place.wait(admit.waiting_max)?;
        let give_up = *self.give_up.get_or_insert_with(|| Instant::now() + admit.waiting_timeout);
        loop {
            if !failed.is_empty() {
                // Those that are listed have failed: the supervisor needs a moment to notice and to replace them.
                tokio::time::sleep_until(give_up.min(Instant::now() + self.pause)).await;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.avoid.clear();
            }
            let ready = tokio::time::timeout_at(give_up, roster.ready()).await;
            let hung_up = self.hung_up();
            match roster.pick(&self.died) {
                Some(lease) if ready.is_ok() && Instant::now() < give_up => return Ok(lease),
                _ if ready.is_err() || Instant::now() >= give_up => return Err(Refusal::NoWorker),
                // One that ends is off the list in a moment; this one lives, and hangs up on this request.
                None if hung_up.is_some() => {
                    return Err(Refusal::WorkerFailed(hung_up.unwrap_or_default()));
                }
                // Another took it between the call and us.
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// What the last worker said that hung up, once it is clear that it did not end.
    fn hung_up(&self) -> Option<String> {
        let (at, reason) = self.last_death.as_ref()?;
        (at.elapsed() > DEATH_NOTICED).then(|| reason.clone())
    }
}
