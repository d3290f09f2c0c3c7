//! Requests that wait for a worker: called in order, tenants in turn, as fast as the workers have room. It must
//! never let anybody pass those who came before, nor keep a worker's place for one who has gone.

use std::{
    fmt,
    sync::{
        MutexGuard, PoisonError,
        atomic::{Ordering, fence},
    },
    time::Instant,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::{Home, Roster, WorkerLease, queue::Queue};

/// A request's place in the order: when it came, and what tells it from another of that moment. It keeps its place
/// when it has to wait again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    came: Instant,
    number: u64,
}

/// Who waits, by tenant.
#[derive(Debug)]
pub(super) struct Line {
    queue: Queue<Box<str>, Turn, Waiter>,
    numbers: u64,
    length: Gauge,
}

struct Waiter {
    /// Keys of workers that are not for it.
    avoid: Box<[u64]>,
    /// Where it is at home.
    home: Option<Home>,
    lease: oneshot::Sender<WorkerLease>,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("avoid", &self.avoid).finish_non_exhaustive()
    }
}

impl Line {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self { queue: Queue::new(), numbers: 0, length: Gauge::default() }
    }
}

/// Out of the line when dropped, called or not.
struct Standing<'a> {
    roster: &'a Roster,
    lane: Box<str>,
    turn: Turn,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut line = self.roster.line();
        if line.queue.remove(&self.lane, self.turn).is_some() {
            self.roster.count(&line);
        }
    }
}

impl Roster {
    /// A place in the order for a request that came then.
    pub(crate) fn turn(&self, came: Instant) -> Turn {
        let mut line = self.line();
        line.numbers += 1;
        Turn { came, number: line.numbers }
    }

    /// Wait in `lane` (the tenant's) for a worker that is none of `avoid`. Without end: bound it. Cancel safe: who
    /// goes away leaves no trace, and its worker to the next.
    pub(crate) async fn wait(
        &self,
        lane: &str,
        turn: Turn,
        (home, avoid): (Option<Home>, &[u64]),
    ) -> WorkerLease {
        loop {
            let (lease, called) = oneshot::channel();
            let standing = Standing { roster: self, lane: lane.into(), turn };
            {
                let mut line = self.line();
                line.queue.push(standing.lane.clone(), turn, Waiter { avoid: avoid.into(), home, lease });
                self.count(&line);
            }
            // Room that came between the look and here would be missed otherwise.
            self.call();
            if let Ok(lease) = called.await {
                return lease;
            }
            drop(standing);
        }
    }

    /// Does anybody wait?
    pub(super) fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Are there workers, and all of them among these?
    pub(crate) fn lists_only(&self, keys: &[u64]) -> bool {
        let workers = self.workers.load();
        !workers.is_empty() && workers.iter().all(|worker| keys.contains(&worker.key()))
    }

    /// Call the next ones, as many as the workers have room for.
    pub(super) fn call(&self) {
        // Who lines up looks for room after saying so, and who makes room looks for waiters after making it: one of
        // the two sees the other.
        fence(Ordering::SeqCst);
        if !self.somebody_waits() {
            return;
        }
        let mut line = self.line();
        while let Some(lease) = self.take(None, &[]) {
            let mut other = None;
            let next = line.queue.next(|waiter| {
                if waiter.home.is_some() || waiter.avoid.contains(&lease.key()) {
                    other = self.take(waiter.home, &waiter.avoid);
                    return other.is_some();
                }
                true
            });
            let Some(waiter) = next else {
                // Under the lock, so that whoever lines up after this finds the place free.
                lease.withdraw();
                break;
            };
            let given = match other {
                Some(other) => {
                    lease.withdraw();
                    other
                }
                None => lease,
            };
            // It may have gone at this moment: then the place is the next one's.
            if let Err(back) = waiter.lease.send(given) {
                back.withdraw();
            }
        }
        self.count(&line);
    }

    /// The gauge that follows how many wait.
    pub(in crate::backend) fn waiting_is_shown_by(&self, gauge: Gauge) {
        self.line().length = gauge;
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in it is left half done across a panic that cannot happen.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, line: &Line) {
        self.waiting.store(line.queue.len(), Ordering::Relaxed);
        line.length.set(i64::try_from(line.queue.len()).unwrap_or(i64::MAX));
    }
}
