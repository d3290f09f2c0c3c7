//! One worker as the edge sees it: where it is and how many requests it has. It must never count a request
//! for a worker that has been closed.

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, time::Instant};

use super::{
    Roster,
    unix_socket::UnixSocket,
    warmth::{Room, Warmth},
};

/// Set in the count of a worker that takes no more requests: one atomic, so that "still open" and "one more"
/// are decided together.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Time-outs without an answer between them that make a worker look hung. One may be the request's own fault.
const HANGS_AFTER: usize = 3;

/// How long it looks so after the last of them. Longer would be an exile for one that was only busy.
const HANGS_FOR_MS: u64 = 15_000;

/// Keys are unique in this process, so that connections to a gone worker are never mistaken for its successor's.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// Where a worker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A Unix socket.
    Unix(UnixSocket),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl Address {
    /// A Unix socket that the configuration names, whoever listens there.
    pub(crate) fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(UnixSocket::of_anybody(path.into()))
    }
}

/// A key that no worker of this process had before.
pub(in crate::backend) fn next_key() -> u64 {
    NEXT_KEY.fetch_add(1, Ordering::Relaxed)
}

/// One process (or upstream) that can take requests.
#[derive(Debug)]
pub(in crate::backend) struct Worker {
    key: u64,
    slot: u16,
    name: String,
    address: Address,
    in_flight: AtomicUsize,
    /// Those among them that have no end of their own.
    lasting: AtomicUsize,
    taken: AtomicU64,
    /// Requests that timed out here since the last answer: it may have them still, though nobody waits for them.
    timed_out: AtomicUsize,
    /// When the last of them did, since `made`.
    timed_out_ms: AtomicU64,
    made: Instant,
    idle: Notify,
    pub(super) warmth: Warmth,
    /// Where those wait who would be told of room.
    pub(super) roster: OnceLock<Weak<Roster>>,
}

impl Worker {
    /// A worker with no request yet; `key` comes from [`next_key`].
    pub(in crate::backend) fn new(key: u64, name: String, address: Address) -> Arc<Self> {
        let slot = name.rsplit_once('/').and_then(|(_, slot)| slot.parse().ok());
        Arc::new(Self {
            key,
            slot: slot.unwrap_or_default(),
            name,
            address,
            in_flight: AtomicUsize::new(0),
            lasting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            timed_out: AtomicUsize::new(0),
            timed_out_ms: AtomicU64::new(0),
            made: Instant::now(),
            idle: Notify::new(),
            warmth: Warmth::warm(),
            roster: OnceLock::new(),
        })
    }

    /// Unique per process start.
    pub(in crate::backend) fn key(&self) -> u64 {
        self.key
    }

    /// Such as `api/0`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number in its name; 0, if there is none.
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// What it has to do, as far as can be known from here.
    pub(super) fn load(&self) -> usize {
        self.in_flight() + self.timed_out.load(Ordering::Relaxed)
    }

    /// Where it listens.
    pub(in crate::backend) fn address(&self) -> &Address {
        &self.address
    }

    /// Requests it has not finished.
    pub(in crate::backend) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed) & !CLOSED
    }

    /// Requests it was given since its start.
    pub(in crate::backend) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Does it leave requests unanswered? Of those that belong together all go to one worker: one that hangs must not
    /// get them for ever. Now and then it gets some, to see whether it still does.
    pub(super) fn hangs(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed) >= HANGS_AFTER
            && self.age_ms().saturating_sub(self.timed_out_ms.load(Ordering::Relaxed)) < HANGS_FOR_MS
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes it no more requests?
    pub(in crate::backend) fn is_closed(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Take no more requests, for good.
    pub(in crate::backend) fn close(&self) {
        self.in_flight.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Resolves when a closed worker has finished its last request. Cancel safe.
    pub(in crate::backend) async fn idle(&self) {
        self.until(|| self.in_flight() == 0).await;
    }

    /// Resolves when a closed worker has finished its last request, but for those that have no end of their own.
    /// Cancel safe.
    pub(in crate::backend) async fn only_lasting(&self) {
        self.until(|| self.in_flight() <= self.lasting.load(Ordering::Acquire)).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if holds() {
                return;
            }
            idle.await;
        }
    }

    fn enter(&self) -> bool {
        let one_more = |count: usize| (count & CLOSED == 0).then_some(count + 1);
        let entered = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok();
        self.taken.fetch_add(u64::from(entered), Ordering::Relaxed);
        entered
    }

    fn leave(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::AcqRel);
        // Only a drain waits, and only a closed worker drains: the common path stays one atomic.
        if before & CLOSED != 0 {
            self.idle.notify_waiters();
        }
    }
}

/// A request's place at a worker; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct WorkerLease {
    worker: Arc<Worker>,
    /// It has a place in the window of a cold worker, until that begins its answer.
    counted: AtomicBool,
    /// It has no end of its own.
    lasting: AtomicBool,
}

impl WorkerLease {
    /// A place at this worker, unless it has been closed or has as much as it may.
    pub(super) fn take(worker: &Arc<Worker>) -> Option<Self> {
        let room = worker.warmth.enter();
        if room == Room::Full {
            return None;
        }
        let counted = room == Room::Taken;
        if !worker.enter() {
            if counted {
                worker.warmth.leave();
            }
            return None;
        }
        let worker = Arc::clone(worker);
        Some(Self { worker, counted: AtomicBool::new(counted), lasting: AtomicBool::new(false) })
    }

    /// The worker has begun its answer: a cold one may be given one more.
    pub(crate) fn answered(&self) {
        if self.worker.timed_out.load(Ordering::Relaxed) > 0 {
            self.worker.timed_out.store(0, Ordering::Relaxed);
        }
        // Warm workers' leases are not counted: the common path stays one load.
        if self.counted.load(Ordering::Relaxed) && self.counted.swap(false, Ordering::Relaxed) {
            let roster = self.worker.roster.get().and_then(Weak::upgrade);
            let somebody_waits = roster.as_ref().is_some_and(|roster| roster.somebody_waits());
            self.worker.warmth.answered(somebody_waits);
            roster.inspect(|roster| roster.call());
        }
    }

    /// The worker has not answered in time. Others are preferred until it answers somebody: requests that time out
    /// must not pile up on it.
    pub(crate) fn timed_out(&self) {
        self.worker.timed_out_ms.store(self.worker.age_ms(), Ordering::Relaxed);
        self.worker.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    /// What it is held for has no end of its own, like a WebSocket: a drain does not wait for that.
    pub(crate) fn lasts(&self) {
        if !self.lasting.swap(true, Ordering::Relaxed) {
            self.worker.lasting.fetch_add(1, Ordering::AcqRel);
            if self.worker.is_closed() {
                self.worker.idle.notify_waiters();
            }
        }
    }

    /// Give the place back without calling anybody: for one who is calling.
    pub(super) fn withdraw(self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            self.worker.warmth.leave();
        }
    }

    /// Unique per process start: a connection belongs to a key, never to a name.
    pub(crate) fn key(&self) -> u64 {
        self.worker.key
    }

    /// Takes this worker no more requests, because it drains or has ended?
    pub(crate) fn is_closed(&self) -> bool {
        self.worker.is_closed()
    }

    /// For logs, such as `api/0`.
    pub(crate) fn name(&self) -> &str {
        &self.worker.name
    }

    /// Where to connect.
    pub(crate) fn address(&self) -> &Address {
        &self.worker.address
    }
}

impl Drop for WorkerLease {
    fn drop(&mut self) {
        // Before the request itself: never may there seem to be fewer that a drain waits for than there are.
        if self.lasting.load(Ordering::Relaxed) {
            self.worker.lasting.fetch_sub(1, Ordering::AcqRel);
        }
        self.worker.leave();
        if self.counted.load(Ordering::Relaxed) {
            self.worker.warmth.leave();
            if let Some(roster) = self.worker.roster.get().and_then(Weak::upgrade) {
                roster.call();
            }
        }
    }
}
