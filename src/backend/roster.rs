//! The workers that may take traffic now. Every core's edge thread reads it for every request, so reading takes
//! no lock; the supervisor is the only writer. It must never hand out a worker that is being stopped.

mod home;
mod queue;
mod unix_socket;
mod waiting;
mod warmth;
mod worker;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};

use self::waiting::Line;
pub(crate) use self::{
    home::{Home, Sticky},
    waiting::Turn,
    worker::{Address, WorkerLease},
};
pub(super) use self::{
    unix_socket::UnixSocket,
    warmth::WarmUp,
    worker::{Worker, next_key},
};

/// One backend's workers that take traffic, shared by all edge threads.
#[derive(Debug)]
pub(crate) struct Roster {
    backend: String,
    keep_alive_ms: AtomicU64,
    workers: ArcSwap<Vec<Arc<Worker>>>,
    // Where the next search begins, so that ties go round instead of always to the first.
    turn: AtomicUsize,
    arrivals: Notify,
    size: Gauge,
    /// How many wait: read by every request, so that none passes those who came before.
    waiting: AtomicUsize,
    line: Mutex<Line>,
    warm_up: ArcSwap<WarmUp>,
    slots_wanted: AtomicU16,
    /// Somebody has told the backend to stop: waiting for a worker is pointless.
    stopped: watch::Sender<bool>,
}

impl Roster {
    /// An empty roster; `size` follows the number of workers in it.
    pub(super) fn new(backend: String, keep_alive: Duration, size: Gauge) -> Arc<Self> {
        let roster = Self {
            backend,
            keep_alive_ms: AtomicU64::new(0),
            workers: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            arrivals: Notify::new(),
            size,
            waiting: AtomicUsize::new(0),
            line: Mutex::new(Line::new()),
            warm_up: ArcSwap::from_pointee(WarmUp { in_flight: 0, answers: 0 }),
            slots_wanted: AtomicU16::new(0),
            stopped: watch::Sender::new(false),
        };
        roster.keep_alive_is(keep_alive);
        Arc::new(roster)
    }

    /// The roster of addresses that nobody watches over: listed whether they answer or not, as long as it lives.
    pub(crate) fn unwatched(name: &str, keep_alive: Duration, addresses: Vec<Address>) -> Arc<Self> {
        let roster = Self::new(name.to_owned(), keep_alive, Gauge::default());
        for address in addresses {
            roster.add(&Worker::new(next_key(), name.to_owned(), address));
        }
        roster
    }

    /// A roster that other rooms' tests fill themselves.
    #[cfg(test)]
    pub(crate) fn for_tests(backend: &str, keep_alive: Duration) -> Arc<Self> {
        Self::new(backend.to_owned(), keep_alive, Gauge::default())
    }

    /// A worker for a request that is at home nowhere.
    #[cfg(test)]
    pub(crate) fn pick(&self, avoid: &[u64]) -> Option<WorkerLease> {
        self.pick_at(None, avoid)
    }

    /// List a worker without a process.
    #[cfg(test)]
    pub(crate) fn list(self: &Arc<Self>, name: &str, address: Address) {
        self.add(&Worker::new(worker::next_key(), name.to_owned(), address));
    }

    /// The backend whose workers these are.
    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// How long an idle connection to a worker may be kept: shorter than Node's own patience.
    pub(crate) fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms.load(Ordering::Relaxed))
    }

    /// The worker at which the request is at home; without a home the one with the least to do, ties in turn. None
    /// of those whose keys are in `avoid`, and nobody passes those who wait.
    pub(crate) fn pick_at(&self, home: Option<Home>, avoid: &[u64]) -> Option<WorkerLease> {
        if self.somebody_waits() { None } else { self.take(home, avoid) }
    }

    fn take(&self, home: Option<Home>, avoid: &[u64]) -> Option<WorkerLease> {
        loop {
            let workers = self.workers.load();
            let worker = match home {
                Some(home) => home::at_home(&workers, home, avoid)?,
                None => least_busy(&workers, self.turn.fetch_add(1, Ordering::Relaxed), avoid)?,
            };
            if let Some(lease) = WorkerLease::take(worker) {
                return Some(lease);
            }
            // It was closed or filled between look and take: the next search skips it.
        }
    }

    /// Among how many slots a new home is chosen: as many as there should be, whichever of them has a worker now, or those
    /// who come while the first one is up alone would all stay there.
    pub(crate) fn slots(&self) -> u16 {
        let wanted = self.slots_wanted.load(Ordering::Relaxed);
        if wanted > 0 {
            return wanted;
        }
        // Nobody has told us. As if all slots had one, if none has.
        let last = self.workers.load().iter().map(|worker| worker.slot()).max();
        last.map_or(u16::MAX, |last| last.saturating_add(1))
    }

    /// Resolves when a worker can be picked. Cancel safe.
    pub(crate) async fn ready(&self) {
        loop {
            let mut arrival = std::pin::pin!(self.arrivals.notified());
            // Registered before the look, or an arrival between look and wait would be missed.
            arrival.as_mut().enable();
            if !self.workers.load().is_empty() {
                return;
            }
            arrival.await;
        }
    }

    /// Let a worker take traffic.
    pub(super) fn add(self: &Arc<Self>, worker: &Arc<Worker>) {
        worker.warmth.cool(**self.warm_up.load());
        // A worker is listed once in its life.
        let _first = worker.roster.set(Arc::downgrade(self));
        self.workers.rcu(|workers| {
            let mut workers = Vec::clone(workers);
            workers.push(Arc::clone(worker));
            workers
        });
        self.size.inc();
        self.arrivals.notify_waiters();
        self.call();
    }

    /// No request goes to this worker from here on; those in flight go on. False when it was not there.
    pub(super) fn remove(&self, worker: &Worker) -> bool {
        let before = self.workers.rcu(|workers| {
            let mut workers = Vec::clone(workers);
            workers.retain(|other| other.key() != worker.key());
            workers
        });
        // After the list, so that a search that lost the race looks again and finds it gone.
        worker.close();
        let was_there = before.iter().any(|other| other.key() == worker.key());
        if was_there {
            self.size.dec();
        }
        was_there
    }

    /// Has somebody told the backend to stop?
    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Resolves when the backend has been told to stop. Cancel safe.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as we do.
        drop(self.stopped.subscribe().wait_for(|stopped| *stopped).await);
    }

    /// The backend has been told to stop, or to start again.
    pub(super) fn stopped_is(&self, stopped: bool) {
        self.stopped.send_replace(stopped);
    }

    /// So many slots should have a worker.
    pub(super) fn slots_are(&self, wanted: usize) {
        self.slots_wanted.store(u16::try_from(wanted).unwrap_or(u16::MAX), Ordering::Relaxed);
    }

    /// How those that are listed from here on are warmed up.
    pub(super) fn warm_up_is(&self, warm_up: WarmUp) {
        self.warm_up.store(Arc::new(warm_up));
    }

    /// A new configuration's patience.
    pub(super) fn keep_alive_is(&self, keep_alive: Duration) {
        let keep_alive_ms = u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX);
        self.keep_alive_ms.store(keep_alive_ms, Ordering::Relaxed);
    }
}

/// The first of the least busy, searched from `turn` on.
fn least_busy<'a>(workers: &'a [Arc<Worker>], turn: usize, avoid: &[u64]) -> Option<&'a Arc<Worker>> {
    let start = turn.checked_rem(workers.len())?;
    let (early, late) = workers.split_at(start);
    late.iter()
        .chain(early)
        .filter(|worker| !worker.is_closed() && !worker.warmth.is_full() && !avoid.contains(&worker.key()))
        .min_by_key(|worker| worker.load())
}
