//! Workers that an order has replaced, or found too many, and that still finish their requests. They go by themselves:
//! this is for whoever wants to see them off. It must never be what another order waits for.

use futures_util::future::join_all;
use tokio::sync::watch;

use super::job::Departure;

/// Those of one order.
#[derive(Debug, Default)]
#[must_use = "whoever gave the order waits for it"]
pub(crate) struct Drain {
    departures: Vec<Departure>,
    /// Changes when the next order is taken up.
    taken_up: Option<watch::Receiver<u64>>,
}

impl Drain {
    /// Of the order that was taken up last.
    pub(super) fn new(departures: Vec<Departure>, orders: &watch::Sender<u64>) -> Self {
        Self { departures, taken_up: Some(orders.subscribe()) }
    }

    /// Resolves when all of them have gone, or another order is carried out. Cancel safe.
    pub(crate) async fn over(self) {
        let gone = join_all(self.departures.into_iter().map(Departure::gone));
        let Some(mut taken_up) = self.taken_up else { return };
        tokio::select! {
            biased;
            _ = gone => {}
            // It fails when there will be no other order, since the backend has ended.
            _ = taken_up.changed() => {}
        }
    }
}
