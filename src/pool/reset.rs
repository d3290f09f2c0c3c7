//! What happens to a connection when its lease ends: provably clean, made clean, or closed.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::connect::Open;

/// Rolling back reads the log back; longer than this and closing is the better way.
const ROLLBACK_TIME: Duration = Duration::from_secs(5);

/// How a connection comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// As it was when it was opened.
    Clean,
    /// A transaction is open; otherwise clean.
    InTransaction,
    /// Temporary tables, changed settings: nothing short of closing undoes it for certain.
    Changed,
}

/// Look at a connection; cheap, no I/O.
pub(super) fn condition(open: &Open) -> Condition {
    if open.marks.changed.load(Ordering::Relaxed) {
        Condition::Changed
    } else if !open.sqlite.is_autocommit() {
        Condition::InTransaction
    } else {
        Condition::Clean
    }
}

/// Roll back; true when the connection is clean afterwards. Blocks.
pub(super) fn roll_back(open: &Open) -> bool {
    open.watchdog.begin(Instant::now() + ROLLBACK_TIME, ROLLBACK_TIME);
    let done = open.sqlite.execute_batch("ROLLBACK");
    open.watchdog.finish();
    done.is_ok() && open.sqlite.is_autocommit()
}
