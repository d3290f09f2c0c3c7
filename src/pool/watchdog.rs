//! The stop signal of one connection: a statement past its deadline, or one that nobody waits for any more,
//! really stops. It must never stop the next user's statement.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, InterruptHandle};

/// The progress handler is asked every so many virtual machine steps: some ten microseconds of work, against
/// some tens of nanoseconds for the question.
const STEPS_BETWEEN_CHECKS: i32 = 1000;

/// Why a statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `pool.statement_timeout`.
    StatementTimeout,
    /// `pool.transaction_timeout`.
    TransactionTimeout,
    /// The ticket's request ended, or its client went away.
    Ended,
    /// The tenant was suspended, removed or rotated, or the gateway stops.
    Closed,
}

/// One per connection.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts runs, so that a late stop finds that its run is over.
    run: u64,
    running: bool,
    statement: Option<Instant>,
    /// No statement of this run goes on after that.
    limit: Option<Instant>,
    stopped: Option<Stop>,
}

impl Watchdog {
    /// Watch over a connection.
    pub(super) fn install(connection: &Connection) -> rusqlite::Result<Arc<Self>> {
        let watchdog = Arc::new(Self::default());
        let asked = watchdog.clone();
        connection.progress_handler(STEPS_BETWEEN_CHECKS, Some(move || asked.must_stop()))?;
        Ok(watchdog)
    }

    /// A run begins; its number goes into `stop`.
    pub(super) fn begin(&self, limit: Instant, statement_timeout: Duration) -> u64 {
        let mut state = self.state();
        let run = state.run + 1;
        let statement = Some(Instant::now() + statement_timeout);
        *state = State { run, running: true, statement, limit: Some(limit), stopped: None };
        run
    }

    /// The next statement of the run begins. Fails when the run may start no more.
    pub(super) fn statement(&self, timeout: Duration) -> Result<(), Stop> {
        let mut state = self.state();
        if state.stopped == Some(Stop::StatementTimeout) {
            state.stopped = None;
        }
        let now = Instant::now();
        if state.stopped.is_none() && state.limit.is_some_and(|limit| now >= limit) {
            state.stopped = Some(Stop::TransactionTimeout);
        }
        state.statement = Some(now + timeout);
        state.stopped.map_or(Ok(()), Err)
    }

    /// Why the statement that just failed was stopped, if it was.
    pub(super) fn verdict(&self) -> Option<Stop> {
        self.state().stopped
    }

    /// The run is over: whoever comes late stops nothing.
    pub(super) fn finish(&self) {
        self.state().running = false;
    }

    /// Stop a run.
    pub(super) fn stop(&self, run: u64, why: Stop, handle: &InterruptHandle) {
        let mut state = self.state();
        if state.run == run && state.running {
            state.stopped = Some(why);
            // Under the lock, so that the run cannot end and another begin in between.
            handle.interrupt();
        }
    }

    /// Stop a run whose time is up; otherwise say when to look again. The progress handler sees most of
    /// these first, but some single steps, such as counting a big table, only hear an interrupt.
    pub(super) fn stop_if_late(&self, run: u64, handle: &InterruptHandle) -> Option<Instant> {
        let mut state = self.state();
        if state.run != run || !state.running {
            return None;
        }
        let due = state.due()?;
        if Instant::now() < due {
            return Some(due);
        }
        state.mark_late();
        handle.interrupt();
        // A later statement of this run gets a deadline of its own.
        Some(Instant::now() + Duration::from_millis(20))
    }

    fn must_stop(&self) -> bool {
        let mut state = self.state();
        if state.stopped.is_none() && state.due().is_some_and(|due| Instant::now() >= due) {
            state.mark_late();
        }
        state.running && state.stopped.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn due(&self) -> Option<Instant> {
        match (self.statement, self.limit) {
            (Some(statement), Some(limit)) => Some(statement.min(limit)),
            (statement, limit) => statement.or(limit),
        }
    }

    fn mark_late(&mut self) {
        let whole = self.limit.is_some_and(|limit| Instant::now() >= limit);
        self.stopped.get_or_insert(if whole { Stop::TransactionTimeout } else { Stop::StatementTimeout });
    }
}
