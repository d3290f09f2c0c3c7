//! The one way to start a task, and the one way to end them all: every task is counted, so that the drain
//! can wait for it. It must never kill a task that still makes progress before the deadline.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};

/// A cloneable handle: begin the end, hear of it, and spawn tasks that the drain waits for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Shutdown {
    /// A new, independent life: nothing has begun to end.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Ask every task to finish. Idempotent.
    pub(crate) fn begin(&self) {
        self.token.cancel();
    }

    /// Has the end begun?
    pub(crate) fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the end begins. Cancel safe.
    pub(crate) fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Start a task that the drain waits for.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Start a task on this thread's runtime that the drain waits for.
    pub(crate) fn spawn_local<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.tracker.spawn_local(task)
    }

    /// Wait until every task has ended; false when `deadline` came first.
    pub(crate) async fn drained(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }

    /// How many tasks are running, for tests and the log line of a drain that ran out of time.
    pub(crate) fn tasks(&self) -> usize {
        self.tracker.len()
    }
}
