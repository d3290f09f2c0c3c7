//! Where each worker is in its life, for all to see. A slot is a worker's place: its processes come and go,
//! several at once while one replaces another. It must never show a combination that cannot be.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    WorkerStatus,
    memory::Memory,
    output::Ring,
    roster::Worker,
    status::{Replacement, Replacements},
    vigil::Weary,
};

/// A process that got ready.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The process; none when it has ended and its descendants are waited for.
    pub(super) pid: Option<u32>,
    /// As the edge sees it.
    pub(super) worker: Arc<Worker>,
    /// What it was started from.
    pub(super) generation: u64,
}

/// A worker's state, with what exists in that state and nothing else.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Its process runs and is not ready yet.
    Starting {
        /// The process; none while it is being forked.
        pid: Option<u32>,
        /// What it is started from.
        generation: u64,
    },
    /// It takes traffic.
    Ready(Running),
    /// It runs and is not well: it takes no request, and its successor is being started.
    Unwell(Running),
    /// It finishes its requests and ends.
    Draining(Running),
    /// It has ended unasked, this moment or while its successor is being started.
    Ended,
    /// It failed and waits for the next try.
    BackOff,
    /// It has been stopped for good.
    Finished,
    /// It was one too many: nobody has the place but those that still leave it.
    GivenUp,
}

impl State {
    fn word(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready(_) => "ready",
            Self::Unwell(_) => "unwell",
            Self::Draining(_) => "draining",
            Self::Ended => "ended",
            Self::BackOff => "back-off",
            Self::Finished => "finished",
            Self::GivenUp => "given up",
        }
    }

    fn running(&self) -> Option<&Running> {
        match self {
            Self::Ready(running) | Self::Unwell(running) | Self::Draining(running) => Some(running),
            Self::Starting { .. } | Self::Ended | Self::BackOff | Self::Finished | Self::GivenUp => None,
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Starting { pid, .. } => *pid,
            _ => self.running()?.pid,
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Starting { generation, .. } => *generation,
            _ => self.running().map_or(0, |running| running.generation),
        }
    }

    fn in_flight(&self) -> usize {
        self.running().map_or(0, |running| running.worker.in_flight())
    }

    /// The same when its process is no more.
    fn without_process(&self) -> Self {
        match self {
            Self::Starting { generation, .. } => Self::Starting { pid: None, generation: *generation },
            Self::Draining(running) => Self::Draining(Running { pid: None, ..running.clone() }),
            Self::Ready(_) | Self::Unwell(_) => Self::Ended,
            Self::Ended | Self::BackOff | Self::Finished | Self::GivenUp => self.clone(),
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

/// Which of a slot's two chairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// The worker itself.
    Main,
    /// Its successor, until that is ready.
    Successor,
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
    successor: Option<(State, Timestamp)>,
    /// Those that were replaced and still finish their requests, the newest last.
    leaving: Vec<(State, Timestamp)>,
    restarts: u64,
    replacements: Replacements,
    failure: Option<(Failure, Timestamp)>,
    health_ms: Option<u64>,
}

impl Slot {
    /// A slot whose first process is about to start.
    pub(super) fn new(backend: &str, number: usize) -> Arc<Self> {
        let board = Board {
            main: (State::Starting { pid: None, generation: 0 }, Timestamp::now()),
            successor: None,
            leaving: Vec::new(),
            restarts: 0,
            replacements: Replacements::default(),
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
            Seat::Successor => board.successor = Some(entry),
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
                    State::Ready(_) => return Ok(()),
                    State::BackOff => return Err(board.failure.clone().map(|(failure, _)| failure)),
                    State::Finished | State::GivenUp => return Err(None),
                    State::Starting { .. } | State::Unwell(_) | State::Draining(_) | State::Ended => {}
                }
            }
            change.await;
        }
    }

    /// There is no successor any more.
    pub(super) fn clear_successor(&self) {
        self.board().successor = None;
    }

    /// The successor is the worker from here on; the old one, if it still runs, finishes its requests.
    pub(super) fn succeeded(&self, running: Running, old: Option<Running>) {
        let now = Timestamp::now();
        let mut board = self.board();
        board.main = (State::Ready(running), now);
        board.successor = None;
        board.leaving.extend(old.map(|old| (State::Draining(old), now)));
        drop(board);
        self.changed.notify_waiters();
    }

    /// There is to be no worker here any more; the last one, if it still runs, finishes its requests.
    pub(super) fn given_up(&self, last: Option<Running>) {
        let now = Timestamp::now();
        let mut board = self.board();
        board.main = (State::GivenUp, now);
        board.successor = None;
        board.leaving.extend(last.map(|last| (State::Draining(last), now)));
        drop(board);
        self.changed.notify_waiters();
    }

    /// How many still leave it.
    pub(super) fn leaving(&self) -> usize {
        self.board().leaving.len()
    }

    /// Does its worker take traffic?
    pub(super) fn serves(&self) -> bool {
        matches!(self.board().main.0, State::Ready(_))
    }

    /// One that was replaced has gone.
    pub(super) fn left(&self, key: u64) {
        let is_it = |state: &State| state.running().is_some_and(|running| running.worker.key() == key);
        self.board().leaving.retain(|(state, _)| !is_it(state));
    }

    /// This process is no more: from here on its id may be somebody else's.
    pub(super) fn reaped(&self, pid: u32) {
        let mut board = self.board();
        let Board { main, successor, leaving, .. } = &mut *board;
        let entries = std::iter::once(main).chain(successor).chain(leaving);
        for (state, since) in entries.filter(|(state, _)| state.pid() == Some(pid)) {
            (*state, *since) = (state.without_process(), Timestamp::now());
        }
    }

    /// A process failed.
    pub(super) fn failed(&self, failure: Failure) {
        self.board().failure = Some((failure, Timestamp::now()));
    }

    /// The health path answered well after this time.
    pub(super) fn health_took(&self, latency: Duration) {
        self.board().health_ms = u64::try_from(latency.as_millis()).ok();
    }

    /// Another has taken over from it, for this reason.
    pub(super) fn replaced(&self, weary: &Weary) {
        let last = Replacement { at: Timestamp::now(), reason: weary.to_string() };
        let replacements = &mut self.board().replacements;
        *match weary {
            Weary::Large { .. } => &mut replacements.memory,
            Weary::Served(_) => &mut replacements.requests,
            Weary::Old(_) => &mut replacements.age,
            Weary::Unhealthy { .. } => &mut replacements.health,
        } += 1;
        replacements.last = Some(last);
    }

    /// It is being started again after a failure.
    pub(super) fn restarted(&self) {
        self.board().restarts += 1;
    }

    /// One status, and one more for each process that comes or goes beside it.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let mut seen = self.seen();
        // Files of many processes: nobody who starts or ends one waits for that.
        for status in &mut seen {
            status.memory_mb = status.pid.map(|pid| Memory::of_group(pid).resident_bytes() / (1024 * 1024));
        }
        seen
    }

    fn seen(&self) -> Vec<WorkerStatus> {
        let board = self.board();
        let (failure, failed_at) = board.failure.as_ref().map(|(failure, at)| (failure, *at)).unzip();
        let main = Some(&board.main).filter(|(state, _)| !matches!(state, State::GivenUp));
        let entries = main.into_iter().chain(&board.successor).chain(&board.leaving);
        entries
            .map(|(state, since)| WorkerStatus {
                name: self.name.clone(),
                pid: state.pid(),
                state: state.word().to_owned(),
                generation: state.generation(),
                since: *since,
                restarts: board.restarts,
                replacements: board.replacements.clone(),
                in_flight: state.in_flight(),
                memory_mb: None,
                health_ms: board.health_ms.filter(|_| matches!(state, State::Ready(_))),
                lines_dropped: self.ring.dropped(),
                last_error: failure.map(|failure| failure.reason.clone()),
                last_error_at: failed_at,
                last_facts: failure.map_or_else(Vec::new, |failure| failure.facts.clone()),
                last_lines: failure.map_or_else(Vec::new, |failure| failure.lines.clone()),
            })
            .collect()
    }
}
