//! The watch over a worker that serves: is it still well, has it grown too large or too old? It must never judge
//! twice at a time for the gentle reasons: one worker of a backend is replaced after the other.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    config::Health,
    generation::Generation,
    health,
    memory::{self, Memory},
    roster::Worker,
    state::Slot,
};

/// How often memory and requests are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All workers are looked at in the same moment: a processor that sleeps is woken once for all of them, and what the
/// first look has brought into its caches serves the others.
fn until_next(every: Duration) -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let since = FIRST.get_or_init(Instant::now).elapsed();
    let over = since.as_nanos().checked_rem(every.as_nanos()).unwrap_or_default();
    every.saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or_default()))
}

/// Why a worker that runs is to be replaced.
#[derive(Debug)]
pub(super) enum Weary {
    /// It missed this many health checks in a row, the last like this: it must not get requests meanwhile.
    Unhealthy { misses: u32, seen: String },
    /// Its process group holds too much memory.
    Large { resident_mb: u64, max_mb: u64 },
    /// It was given as many requests as it may.
    Served(u64),
    /// It has been ready for as long as it may.
    Old(Duration),
}

impl Weary {
    /// Must it not get requests while its successor starts?
    pub(super) fn is_unhealthy(&self) -> bool {
        matches!(self, Self::Unhealthy { .. })
    }
}

impl fmt::Display for Weary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unhealthy { misses, seen } => write!(f, "not well {misses} times in a row: {seen}"),
            Self::Large { resident_mb, max_mb } => {
                write!(f, "it holds {resident_mb} MB, more than memory_max_mb = {max_mb}")
            }
            Self::Served(requests) => write!(f, "it was given {requests} requests (max_requests)"),
            Self::Old(age) => {
                let seconds = Duration::from_secs(age.as_secs());
                write!(f, "it has run for {} (max_age)", humantime::format_duration(seconds))
            }
        }
    }
}

/// What the watch looks at.
pub(super) struct Vigil {
    pub(super) worker: Arc<Worker>,
    pub(super) slot: Arc<Slot>,
    pub(super) generation: Arc<Generation>,
    /// The worker's process, which leads its group.
    pub(super) pid: u32,
    pub(super) ready_at: Instant,
    /// Nothing is said for this long: the last try to replace it has just failed.
    pub(super) respite: Duration,
    /// One worker of the backend at a time.
    pub(super) turns: Arc<Semaphore>,
    /// And one of the slot until its last request has ended.
    pub(super) departures: Arc<Semaphore>,
}

/// The right to replace a worker that serves well.
pub(super) struct Leave {
    /// No other of the backend is being replaced, until the successor is ready.
    pub(super) turn: OwnedSemaphorePermit,
    /// No other of the slot finishes its requests.
    pub(super) departure: OwnedSemaphorePermit,
}

impl Vigil {
    /// Resolves when the worker is to be replaced; with the right to it, unless it cannot wait. Cancel safe.
    pub(super) async fn ended(self) -> (Weary, Option<Leave>) {
        let weary = tokio::select! {
            weary = self.unwell() => weary,
            weary = self.gentle() => weary,
        };
        if weary.is_unhealthy() {
            return (weary, None);
        }
        let leave = async {
            let departure = Arc::clone(&self.departures).acquire_owned().await.ok()?;
            let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
            Some(Leave { turn, departure })
        };
        tokio::select! {
            // The semaphores are never closed.
            Some(leave) = leave => (weary, Some(leave)),
            // It may get worse while it waits.
            unwell = self.unwell() => (unwell, None),
        }
    }

    /// Resolves after too many misses in a row.
    async fn unwell(&self) -> Weary {
        let health = &self.generation.config.health;
        let Some(path) = &health.path else { return std::future::pending().await };
        let mut misses = 0;
        loop {
            tokio::time::sleep(until_next(health.watch_interval)).await;
            let began = Instant::now();
            match health::check(self.worker.address(), Some(path), health.timeout).await {
                Ok(()) => {
                    misses = 0;
                    self.answered(health, began.elapsed());
                }
                // To replace it would take more of what there is none of.
                Err(unwell) if unwell.is_our_own() => {
                    tracing::warn!(worker = self.slot.name, reason = %unwell, "the worker cannot be asked");
                }
                Err(unwell) => {
                    misses += 1;
                    tracing::warn!(worker = self.slot.name, misses, reason = %unwell, "worker is not well");
                    if misses >= health.unhealthy_after {
                        return Weary::Unhealthy { misses, seen: unwell.to_string() };
                    }
                }
            }
        }
    }

    /// A slow good answer is somebody who blocks the event loop, and worth a word.
    fn answered(&self, health: &Health, latency: Duration) {
        self.slot.health_took(latency);
        if latency > health.slow_after {
            let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                worker = self.slot.name,
                latency_ms,
                "the health path answered late: something blocks the worker's event loop"
            );
        }
    }

    /// Resolves when it is too large, too old or has served enough.
    async fn gentle(&self) -> Weary {
        let config = &self.generation.config;
        if config.memory_max_mb.is_none() && config.max_requests.is_none() && config.max_age.is_none() {
            return std::future::pending().await;
        }
        tokio::time::sleep(self.respite).await;
        let mut memory = Memory::of_group(self.pid);
        loop {
            if let Some(max) = config.max_requests.filter(|max| self.worker.taken() >= *max) {
                return Weary::Served(max);
            }
            if config.max_age.is_some_and(|max| self.ready_at.elapsed() >= max) {
                return Weary::Old(self.ready_at.elapsed());
            }
            if let Some(max_mb) = config.memory_max_mb {
                if memory::census_is_due() {
                    // It may read all of /proc. An error is a panic in there: the list stays as it is.
                    drop(tokio::task::spawn_blocking(memory::take_census).await);
                }
                let resident_mb = memory.resident_bytes() / (1024 * 1024);
                if resident_mb > max_mb {
                    return Weary::Large { resident_mb, max_mb };
                }
            }
            tokio::time::sleep(until_next(LOOK_EVERY).min(config.max_age.unwrap_or(LOOK_EVERY))).await;
        }
    }
}
