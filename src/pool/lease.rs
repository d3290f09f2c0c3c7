//! A lease: one connection taken out for one stream of work. Its statements run on a thread that may block;
//! whoever stops waiting stops the statement. It must never hand back a connection that is not clean.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    PoolError,
    authorize::Marks,
    budget::Permit,
    connect::Open,
    pool::Pool,
    reset::{Condition, condition, roll_back},
    watchdog::{Stop, Watchdog},
};

/// What the lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// One of the readers; SQLite refuses writes.
    Read,
    /// The one writer.
    Write,
}

/// A connection taken out. Dropping it gives the connection back clean, or closes it.
pub(crate) struct Lease {
    seat: Option<Seat>,
    access: Access,
    limit: Instant,
}

/// The connection and everything that is free again once it is back.
struct Seat {
    open: Open,
    permit: Permit<Open>,
    turn: OwnedSemaphorePermit,
    gate: OwnedRwLockReadGuard<()>,
    pool: Arc<Pool>,
}

/// What a job on the blocking thread works with.
pub(crate) struct Running<'a> {
    /// The connection.
    pub(crate) sqlite: &'a Connection,
    watchdog: &'a Watchdog,
    marks: &'a Marks,
    statement_timeout: Duration,
}

/// While it lives, a prepared statement runs.
#[must_use]
pub(crate) struct Stepping<'a>(&'a Marks);

/// What a connection needs to come into being as a lease.
pub(super) struct LeaseParts {
    pub(super) open: Open,
    pub(super) permit: Permit<Open>,
    pub(super) turn: OwnedSemaphorePermit,
    pub(super) gate: OwnedRwLockReadGuard<()>,
    pub(super) pool: Arc<Pool>,
    pub(super) access: Access,
}

/// Stops a run when the future that waits for it is dropped.
struct StopOnDrop {
    watchdog: Arc<Watchdog>,
    interrupt: Arc<rusqlite::InterruptHandle>,
    run: u64,
}

impl Running<'_> {
    /// Call before each statement: its time starts now. Fails when no more may start.
    pub(crate) fn statement(&self) -> Result<(), Stop> {
        self.watchdog.statement(self.statement_timeout)
    }

    /// Call after preparing a statement and hold while it runs: some things only SQLite itself may do, and it does
    /// them then.
    pub(crate) fn stepping(&self) -> Stepping<'_> {
        self.marks.stepping.store(true, Ordering::Relaxed);
        Stepping(self.marks)
    }

    /// Why the statement that just failed was stopped, if it was.
    pub(crate) fn verdict(&self) -> Option<Stop> {
        self.watchdog.verdict()
    }
}

impl Drop for Stepping<'_> {
    fn drop(&mut self) {
        self.0.stepping.store(false, Ordering::Relaxed);
    }
}

impl Lease {
    pub(super) fn new(parts: LeaseParts) -> Self {
        let LeaseParts { open, permit, turn, gate, pool, access } = parts;
        let limit = Instant::now() + pool.settings.transaction_timeout;
        Self { seat: Some(Seat { open, permit, turn, gate, pool }), access, limit }
    }

    /// Reader or writer?
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// When its transaction, or whatever else it is held for, must have ended.
    pub(crate) fn limit(&self) -> Instant {
        self.limit
    }

    /// Cancelled when the tenant's pool closes: the lease must then be dropped.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.seat.as_ref().map(|seat| seat.pool.closed.clone()).unwrap_or_default()
    }

    /// Is it as clean as when it was taken out, so that giving it back loses nothing of the stream's?
    pub(crate) fn is_clean(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| condition(&seat.open) == Condition::Clean)
    }

    /// Run a job on a blocking thread. When this future is dropped, `ends` is cancelled, the pool closes or
    /// the lease's time is up, the job's statement is interrupted; the connection is safe in every case.
    pub(crate) async fn run<T, F>(
        self,
        ends: Option<&CancellationToken>,
        job: F,
    ) -> Result<(Self, T), PoolError>
    where
        T: Send + 'static,
        F: FnOnce(&Running<'_>) -> T + Send + 'static,
    {
        let Some(seat) = self.seat.as_ref() else { return Err(PoolError::Thread("no seat".to_owned())) };
        let pool = seat.pool.clone();
        let run = seat.open.watchdog.begin(self.limit, pool.settings.statement_timeout);
        let guard =
            StopOnDrop { watchdog: seat.open.watchdog.clone(), interrupt: seat.open.interrupt.clone(), run };
        let statement_timeout = pool.settings.statement_timeout;
        let mut work = pool.runtime.spawn_blocking(move || {
            let output = self.seat.as_ref().map(|seat| {
                let watchdog = &*seat.open.watchdog;
                let output = job(&Running {
                    sqlite: &seat.open.sqlite,
                    watchdog,
                    marks: &seat.open.marks,
                    statement_timeout,
                });
                watchdog.finish();
                output
            });
            (self, output)
        });
        let mut look_again = guard.watchdog.stop_if_late(run, &guard.interrupt);
        let (mut hear_ends, mut hear_closed) = (true, true);
        loop {
            let asleep = async {
                match look_again {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let ended = async {
                match ends {
                    Some(ends) => ends.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut work => {
                    return match done {
                        Ok((lease, Some(output))) => Ok((lease, output)),
                        Ok((_, None)) => Err(PoolError::Thread("no seat".to_owned())),
                        Err(error) => Err(PoolError::Thread(error.to_string())),
                    };
                }
                () = asleep => look_again = guard.watchdog.stop_if_late(run, &guard.interrupt),
                () = ended, if hear_ends => {
                    hear_ends = false;
                    guard.stop(Stop::Ended);
                }
                () = pool.closed.cancelled(), if hear_closed => {
                    hear_closed = false;
                    guard.stop(Stop::Closed);
                }
            }
        }
    }
}

impl StopOnDrop {
    fn stop(&self, why: Stop) {
        self.watchdog.stop(self.run, why, &self.interrupt);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // After the run's own end this finds nothing to stop.
        self.stop(Stop::Ended);
    }
}

impl Seat {
    /// Give the connection back, then free turn and gate: the order lets nobody in too early.
    fn give_back(self) {
        let Self { open, permit, turn, gate, pool } = self;
        permit.give_back(open);
        drop((turn, gate, pool));
    }

    fn close(self) {
        let Self { open, permit, turn, gate, pool } = self;
        drop(open);
        drop(permit);
        drop((turn, gate, pool));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let closed = seat.pool.closed.is_cancelled();
        match condition(&seat.open) {
            Condition::Clean if !closed => seat.give_back(),
            found => {
                let runtime = seat.pool.runtime.clone();
                // Rolling back and closing touch the disk.
                runtime.spawn_blocking(move || {
                    if found == Condition::InTransaction && !closed && roll_back(&seat.open) {
                        seat.give_back();
                    } else {
                        seat.close();
                    }
                });
            }
        }
    }
}
