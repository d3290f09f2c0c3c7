//! Open streams between their requests, each under a baton: random, good for one use, and only for the ticket
//! that opened the stream. A stream left alone is rolled back and closed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio_util::sync::CancellationToken;

use super::{protocol::Failure, work::Session};
use crate::{
    pool::Lease,
    shutdown::Shutdown,
    tenant::{Epoch, TenantId},
};

/// Who opened a stream, and so who may go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) epoch: Epoch,
    /// The ticket's name: in the request mode it names the request.
    pub(super) ticket: String,
}

/// A stream: what it remembers, and the connection that its transaction is on.
pub(super) struct Stream {
    pub(super) session: Session,
    pub(super) lease: Option<Lease>,
    /// Counted while the stream may outlive its request.
    pub(super) place: Option<Place>,
}

/// Counts one open stream of a tenant.
pub(super) struct Place {
    streams: Arc<Streams>,
    tenant: TenantId,
}

/// All streams that wait for their next request.
pub(super) struct Streams {
    state: Mutex<State>,
    per_tenant_max: usize,
    idle_timeout: Duration,
}

#[derive(Default)]
struct State {
    parked: HashMap<String, Parked>,
    places: HashMap<TenantId, usize>,
}

struct Parked {
    owner: Owner,
    stream: Stream,
    /// Ends the task that watches over the stream.
    taken: CancellationToken,
}

impl Streams {
    pub(super) fn new(per_tenant_max: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), per_tenant_max, idle_timeout })
    }

    /// How many streams are open.
    pub(super) fn len(&self) -> usize {
        self.state().places.values().sum()
    }

    /// A new stream; `stays_open` when its first request does not close it.
    pub(super) fn open(self: &Arc<Self>, tenant: &TenantId, stays_open: bool) -> Result<Stream, Failure> {
        let place = if stays_open { Some(self.place(tenant)?) } else { None };
        Ok(Stream { session: Session::default(), lease: None, place })
    }

    fn place(self: &Arc<Self>, tenant: &TenantId) -> Result<Place, Failure> {
        let mut state = self.state();
        let open = state.places.entry(tenant.clone()).or_default();
        if *open >= self.per_tenant_max {
            let message = format!(
                "tenant `{tenant}` has {open} streams open already (`door.sqlite.streams_max`); close transactions"
            );
            return Err(Failure::new("TOO_MANY_STREAMS", message));
        }
        *open += 1;
        Ok(Place { streams: self.clone(), tenant: tenant.clone() })
    }

    /// The stream of a baton, for its owner alone; the baton is used up.
    pub(super) fn take(&self, baton: &str, owner: &Owner) -> Result<Stream, Failure> {
        let mut state = self.state();
        let theirs = state.parked.get(baton).is_some_and(|parked| parked.owner == *owner);
        let parked = if theirs { state.parked.remove(baton) } else { None };
        let parked = parked.ok_or_else(|| {
            Failure::new(
                "STREAM_EXPIRED",
                "the stream has expired, was closed, or its baton has been used; begin the transaction again",
            )
        })?;
        parked.taken.cancel();
        Ok(parked.stream)
    }

    /// Put a stream aside until its next request, which must come with the baton returned. It ends when it
    /// is idle too long, its transaction's time is up, its ticket or pool ends, or the door closes.
    pub(super) fn park(
        self: &Arc<Self>,
        stream: Stream,
        owner: Owner,
        ends: Option<CancellationToken>,
        life: &Shutdown,
    ) -> String {
        let baton = baton();
        let taken = CancellationToken::new();
        let idle = Instant::now() + self.idle_timeout;
        let due = stream.lease.as_ref().map_or(idle, |lease| idle.min(lease.limit()));
        let pool_closed = stream.lease.as_ref().map(Lease::closed).unwrap_or_default();
        let ends = ends.unwrap_or_default();
        let parked = Parked { owner, stream, taken: taken.clone() };
        self.state().parked.insert(baton.clone(), parked);
        let (streams, name, begun) = (self.clone(), baton.clone(), life.clone());
        life.spawn(async move {
            tokio::select! {
                () = taken.cancelled() => return,
                () = tokio::time::sleep_until(due.into()) => {}
                () = ends.cancelled() => {}
                () = pool_closed.cancelled() => {}
                () = begun.begun() => {}
            }
            let ended = streams.state().parked.remove(&name);
            // Outside of the lock: giving the connection back and the place free touches other locks.
            drop(ended);
        });
        baton
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.streams.state();
        if let Some(open) = state.places.get_mut(&self.tenant) {
            *open -= 1;
            if *open == 0 {
                state.places.remove(&self.tenant);
            }
        }
    }
}

/// 256 random bits.
fn baton() -> String {
    let mut bytes = [0; 32];
    #[expect(clippy::expect_used, reason = "without randomness batons could be guessed")]
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}
