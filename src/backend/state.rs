//! Where each worker is in its life, for all to see. A slot is a worker's place: its processes come and go,
//! two at once while a reload rolls. It must never show a combination that cannot be.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{WorkerStatus, memory, output::Ring, roster::Worker};

/// A worker's state, with what exists in that state and nothing else.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Its process runs and is not ready yet.
    Starting {
        /// The process; none while it is being forked.
        pid: Option<u32>,
    },
    /// It takes traffic.
    Ready {
        /// The process.
        pid: u32,
        /// As the edge sees it.
        worker: Arc<Worker>,
    },
    /// It runs and is not well: it takes no request, and its successor is being started.
    Unwell {
        /// The process.
        pid: u32,
        /// As the edge sees it.
        worker: Arc<Worker>,
    },
    /// It finishes its requests and ends.
    Draining {
        /// The process.
        pid: u32,
        /// As the edge sees it.
        worker: Arc<Worker>,
    },
    /// It failed and waits for the next try.
    BackOff,
    /// It has been stopped for good.
    Finished,
}

impl State {
    fn word(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Unwell { .. } => "unwell",
            Self::Draining { .. } => "draining",
            Self::BackOff => "back-off",
            Self::Finished => "finished",
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Starting { pid } => *pid,
            Self::Ready { pid, .. } | Self::Unwell { pid, .. } | Self::Draining { pid, .. } => Some(*pid),
            Self::BackOff | Self::Finished => None,
        }
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Ready { worker, .. } | Self::Unwell { worker, .. } | Self::Draining { worker, .. } => {
                worker.in_flight()
            }
            Self::Starting { .. } | Self::BackOff | Self::Finished => 0,
        }
    }
}

/// Why a worker failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// One sentence.
    pub(super) reason: String,
    /// What else there is to know, each a line.
    pub(super) facts: Vec<String>,
    /// The last lines it wrote.
    pub(super) lines: Vec<String>,
}

/// Which of a slot's two chairs: the worker itself, or the one beside it while a reload rolls (the newcomer
/// before the swap, the old one after it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// The worker itself.
    Main,
    /// The other one.
    Beside,
}

/// A worker's place.
#[derive(Debug)]
pub(super) struct Slot {
    /// From 0.
    pub(super) number: usize,
    /// Such as `api/0`.
    pub(super) name: String,
    /// What its processes wrote.
    pub(super) ring: Arc<Ring>,
    board: Mutex<Board>,
    changed: Notify,
}

#[derive(Debug)]
struct Board {
    main: (State, Timestamp),
    beside: Option<(State, Timestamp)>,
    restarts: u64,
    failure: Option<Failure>,
    health_ms: Option<u64>,
}

impl Slot {
    /// A slot whose first process is about to start.
    pub(super) fn new(backend: &str, number: usize) -> Arc<Self> {
        let board = Board {
            main: (State::Starting { pid: None }, Timestamp::now()),
            beside: None,
            restarts: 0,
            failure: None,
            health_ms: None,
        };
        let name = format!("{backend}/{number}");
        Arc::new(Self {
            number,
            name,
            ring: Arc::default(),
            board: Mutex::new(board),
            changed: Notify::new(),
        })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody's state has changed.
    pub(super) fn set(&self, seat: Seat, state: State) {
        let entry = (state, Timestamp::now());
        let mut board = self.board();
        match seat {
            Seat::Main => board.main = entry,
            Seat::Beside => board.beside = Some(entry),
        }
        drop(board);
        self.changed.notify_waiters();
    }

    /// Resolves when its worker is ready or has failed to be; without a failure it has ended. Cancel safe.
    pub(super) async fn settled(&self) -> Result<(), Option<Failure>> {
        loop {
            let mut change = std::pin::pin!(self.changed.notified());
            // Registered before the look, or a change between look and wait would be missed.
            change.as_mut().enable();
            {
                let board = self.board();
                match board.main.0 {
                    State::Ready { .. } => return Ok(()),
                    State::BackOff => return Err(board.failure.clone()),
                    State::Finished => return Err(None),
                    State::Starting { .. } | State::Unwell { .. } | State::Draining { .. } => {}
                }
            }
            change.await;
        }
    }

    /// Nobody is beside the worker any more.
    pub(super) fn clear_beside(&self) {
        self.board().beside = None;
    }

    /// A process failed.
    pub(super) fn failed(&self, failure: Failure) {
        self.board().failure = Some(failure);
    }

    /// The health path answered well after this time.
    pub(super) fn health_took(&self, latency: Duration) {
        self.board().health_ms = u64::try_from(latency.as_millis()).ok();
    }

    /// It is being started again after a failure.
    pub(super) fn restarted(&self) {
        self.board().restarts += 1;
    }

    /// One status, or two while a reload rolls.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let board = self.board();
        let entries = std::iter::once(&board.main).chain(&board.beside);
        entries
            .map(|(state, since)| WorkerStatus {
                name: self.name.clone(),
                pid: state.pid(),
                state: state.word().to_owned(),
                since: *since,
                restarts: board.restarts,
                in_flight: state.in_flight(),
                memory_mb: state.pid().and_then(memory::resident_bytes).map(|bytes| bytes / (1024 * 1024)),
                health_ms: board.health_ms.filter(|_| matches!(state, State::Ready { .. })),
                lines_dropped: self.ring.dropped(),
                last_error: board.failure.as_ref().map(|failure| failure.reason.clone()),
                last_facts: board.failure.as_ref().map_or_else(Vec::new, |failure| failure.facts.clone()),
                last_lines: board.failure.as_ref().map_or_else(Vec::new, |failure| failure.lines.clone()),
            })
            .collect()
    }
}
