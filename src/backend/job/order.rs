//! What a slot is told, by whom, and how that ends.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::super::{generation::Generation, state::Failure};

/// Why an order was not carried out.
#[derive(Debug)]
pub(in crate::backend) enum Undone {
    /// The worker did not get ready.
    NotReady(Failure),
    /// The slot is ending.
    Ending,
    /// Whoever ordered it wants it no longer.
    BrokenOff,
}

/// Where the outcome of an order goes.
pub(super) type Answer = oneshot::Sender<Result<Departure, Undone>>;

/// The end of a process that has been replaced, which it comes to by itself.
#[derive(Debug)]
pub(in crate::backend) struct Departure(pub(super) Option<oneshot::Receiver<()>>);

impl Departure {
    /// Nobody has to go.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Resolves when it has gone. Cancel safe.
    pub(in crate::backend) async fn gone(mut self) {
        self.wait().await;
    }

    /// Nothing if it has gone before this resolves.
    pub(in crate::backend) async fn unless(mut self, patience: impl Future<Output = ()>) -> Option<Self> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            () = patience => Some(self),
        }
    }

    async fn wait(&mut self) {
        if let Some(gone) = &mut self.0 {
            // Also when nobody says so any more.
            let _gone = gone.await;
            self.0 = None;
        }
    }
}

/// Whoever gave an order that takes its time: where the outcome goes, and whether it is wanted no longer.
#[derive(Debug)]
pub(super) struct Giver {
    pub(super) answer: Answer,
    pub(super) gives_up: CancellationToken,
}

impl Giver {
    /// Resolves when there is nobody any more for whom to go on.
    pub(super) async fn gone(&self, ending: &CancellationToken) -> Undone {
        tokio::select! {
            biased;
            () = ending.cancelled() => Undone::Ending,
            () = self.gives_up.cancelled() => Undone::BrokenOff,
        }
    }
}

/// What a slot can be told.
#[derive(Debug)]
pub(super) enum Order {
    /// Stop the worker, then start it from the same generation.
    Restart(Giver),
    /// Start a worker of this generation, and only when it is ready stop the old one.
    Reload(Arc<Generation>, Giver),
    /// Let the worker finish its requests, for no longer than `drain_timeout`, and end: it is one too many.
    Leave(Answer),
}
