//! The budget at work: the ledger's decisions carried out with real connections and real waiting. It knows no
//! engine: a connection is whatever can be dropped on a thread that may block.

mod ledger;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};

pub(crate) use self::ledger::{Counts, Share, standard_max};
use self::ledger::{Effect, Ledger, Place, Slot};
use crate::tenant::TenantId;

/// The connections of one database server over all tenants.
pub(crate) struct Budget<C: Send + 'static> {
    books: Mutex<Books<C>>,
    /// Connections are closed on this runtime's blocking threads.
    runtime: Handle,
    emptied: Notify,
}

struct Books<C: Send + 'static> {
    ledger: Ledger<TenantId>,
    idle: HashMap<Slot, Idle<C>>,
    waiting: HashMap<Place, oneshot::Sender<Grant<C>>>,
}

struct Idle<C> {
    connection: C,
    since: Instant,
}

/// A share of the budget, and the idle connection that came with it. Without one, open one.
pub(crate) struct Grant<C: Send + 'static> {
    // Dropped first: the permit is free only once the connection is closed.
    /// An idle connection to use again.
    pub(crate) connection: Option<C>,
    /// The right to have it open.
    pub(crate) permit: Permit<C>,
}

/// One counted connection; dropping it says that the connection is closed.
pub(crate) struct Permit<C: Send + 'static> {
    budget: Arc<Budget<C>>,
    slot: Slot,
    returned: bool,
}

/// Leaves the queue when the waiting future is dropped.
struct Waiter<'a, C: Send + 'static> {
    budget: &'a Arc<Budget<C>>,
    tenant: &'a TenantId,
    place: Place,
}

impl<C: Send + 'static> Budget<C> {
    /// Nothing is open yet.
    pub(crate) fn new(budget: u32, standard: Share, runtime: Handle) -> Arc<Self> {
        let ledger = Ledger::new(budget, standard);
        let books = Books { ledger, idle: HashMap::new(), waiting: HashMap::new() };
        Arc::new(Self { books: Mutex::new(books), runtime, emptied: Notify::new() })
    }

    /// Set every tenant's share.
    pub(crate) fn declare(self: &Arc<Self>, shares: Vec<(TenantId, Share)>) {
        self.carry_out(|books| books.ledger.declare(shares));
    }

    /// Wait for a connection or the right to open one. Cancel safe; the caller bounds the wait.
    pub(crate) async fn acquire(self: &Arc<Self>, tenant: &TenantId) -> Option<Grant<C>> {
        let (sender, receiver) = oneshot::channel();
        let mut asked = None;
        self.carry_out(|books| {
            let (place, effects) = books.ledger.ask(tenant);
            books.waiting.insert(place, sender);
            asked = Some(place);
            effects
        });
        let _waiter = Waiter { budget: self, tenant, place: asked? };
        receiver.await.ok()
    }

    /// A tenant's numbers.
    pub(crate) fn counts(&self, tenant: &TenantId) -> Counts {
        self.books().ledger.counts(tenant)
    }

    /// Connections open over all tenants, at one moment.
    pub(crate) fn open(&self) -> u32 {
        self.books().ledger.open()
    }

    /// A tenant's maximum.
    pub(crate) fn max(&self, tenant: &TenantId) -> u32 {
        self.books().ledger.max(tenant)
    }

    /// Close a tenant's idle connections.
    pub(crate) fn close_idle(self: &Arc<Self>, tenant: &TenantId) {
        self.carry_out(|books| {
            let idle = books.ledger.idle_of(tenant);
            idle.into_iter().filter(|slot| books.ledger.retire(*slot)).map(Effect::Close).collect()
        });
    }

    /// Close what has been idle for that long.
    pub(crate) fn expire(self: &Arc<Self>, idle_timeout: Duration) {
        self.carry_out(|books| {
            let old: Vec<_> = books
                .idle
                .iter()
                .filter(|(_, idle)| idle.since.elapsed() >= idle_timeout)
                .map(|(s, _)| *s)
                .collect();
            old.into_iter().filter(|slot| books.ledger.retire(*slot)).map(Effect::Close).collect()
        });
    }

    /// Wait until a tenant, or everybody, has no connection open. Cancel safe.
    pub(crate) async fn emptied(&self, tenant: Option<&TenantId>) {
        loop {
            let notified = self.emptied.notified();
            let open = {
                let books = self.books();
                tenant.map_or_else(|| books.ledger.open(), |tenant| books.ledger.counts(tenant).open)
            };
            if open == 0 {
                return;
            }
            notified.await;
        }
    }

    fn give_back(self: &Arc<Self>, slot: Slot, connection: C) {
        self.carry_out(|books| {
            books.idle.insert(slot, Idle { connection, since: Instant::now() });
            books.ledger.give_back(slot)
        });
    }

    /// Change the books under the lock, then act on the outcome outside of it.
    fn carry_out(self: &Arc<Self>, change: impl FnOnce(&mut Books<C>) -> Vec<Effect>) {
        let mut grants = Vec::new();
        let mut closes = Vec::new();
        {
            let mut books = self.books();
            for effect in change(&mut books) {
                let (place, slot) = match effect {
                    Effect::Reuse(place, slot) | Effect::Open(place, slot) => (Some(place), slot),
                    Effect::Close(slot) => (None, slot),
                };
                let connection = books.idle.remove(&slot).map(|idle| idle.connection);
                let permit = Permit { budget: self.clone(), slot, returned: false };
                let grant = Grant { connection, permit };
                match place {
                    Some(place) => grants.push((books.waiting.remove(&place), grant)),
                    None => closes.push(grant),
                }
            }
        }
        for (waiter, grant) in grants {
            let sent = match waiter {
                Some(waiter) => waiter.send(grant),
                None => Err(grant),
            };
            let Err(grant) = sent else { continue };
            // The waiter went away at this very moment.
            match grant {
                Grant { connection: Some(connection), permit } => permit.give_back(connection),
                Grant { connection: None, permit } => drop(permit),
            }
        }
        for grant in closes {
            // Closing a database may write to disk.
            self.runtime.spawn_blocking(move || drop(grant));
        }
    }

    fn books(&self) -> MutexGuard<'_, Books<C>> {
        // The books are changed by code that does not panic half way.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Send + 'static> Permit<C> {
    /// The connection is clean and may be used again.
    pub(crate) fn give_back(mut self, connection: C) {
        self.returned = true;
        self.budget.give_back(self.slot, connection);
    }
}

impl<C: Send + 'static> Drop for Permit<C> {
    fn drop(&mut self) {
        if !self.returned {
            self.budget.carry_out(|books| books.ledger.closed(self.slot));
            self.budget.emptied.notify_waiters();
        }
    }
}

impl<C: Send + 'static> Drop for Waiter<'_, C> {
    fn drop(&mut self) {
        self.budget.carry_out(|books| {
            // Granted places left the map: nothing to cancel, and no lock held for long.
            match books.waiting.remove(&self.place) {
                Some(_) => books.ledger.cancel(self.tenant, self.place),
                None => Vec::new(),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_loses_no_connection() {
        let budget = Budget::new(2, Share { max: 2, floor: 0 }, Handle::current());
        let (a, b, c) = (tenant("a"), tenant("b"), tenant("c"));
        let first = budget.acquire(&a).await.unwrap();
        let second = budget.acquire(&b).await.unwrap();
        let gone = tokio::time::timeout(Duration::from_millis(20), budget.acquire(&c)).await;
        assert!(gone.is_err());
        assert_eq!(budget.counts(&c).waiting, 0);
        first.permit.give_back(1);
        assert_eq!(budget.acquire(&a).await.unwrap().connection, Some(1));
        drop(second);
        budget.emptied(Some(&b)).await;
        assert!(budget.acquire(&c).await.unwrap().connection.is_none());
    }

    #[tokio::test]
    async fn idle_connections_are_closed_to_make_room_and_when_they_are_old() {
        let budget = Budget::new(1, Share { max: 2, floor: 0 }, Handle::current());
        let (a, b) = (tenant("a"), tenant("b"));
        budget.acquire(&a).await.unwrap().permit.give_back(());
        let grant = budget.acquire(&b).await.unwrap();
        assert_eq!((budget.counts(&a).open, budget.counts(&b).in_use), (0, 1));
        grant.permit.give_back(());
        budget.expire(Duration::from_secs(60));
        assert_eq!(budget.counts(&b).open, 1);
        budget.expire(Duration::ZERO);
        tokio::time::timeout(Duration::from_secs(5), budget.emptied(None)).await.unwrap();
    }
}
