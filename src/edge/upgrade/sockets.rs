//! The WebSockets of one thread, so that those of a suspended tenant, or all of them, can be told to end. Costs
//! nothing until one is opened or the registry changes; it must never be seen by another thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use http::HeaderValue;
use tokio::sync::Notify;

use crate::tenant::{Epoch, Snapshot, Status, TenantId};

use super::{
    super::{identify::Caller, thread::Thread},
    ending::Ending,
};

/// One piece on its way through; a TLS record holds as much (RFC 8446 5.1).
const PIECE_BYTES: usize = 16 * 1024;

/// One thread's open WebSockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Rc<Held>>>,
    /// Bytes between a read and its write, which follow one another at once: one buffer serves all.
    scratch: RefCell<Vec<u8>>,
}

/// What one of them hangs on.
#[derive(Debug)]
struct Held {
    tenant: Option<(TenantId, Epoch)>,
    /// The origin of the page that opened it.
    page: Option<HeaderValue>,
    told: Cell<Option<Ending>>,
    tell: Notify,
}

/// One open WebSocket; dropped, it is on no list any more.
#[derive(Debug)]
pub(crate) struct OpenSocket {
    thread: Rc<Thread>,
    key: u64,
    held: Rc<Held>,
}

impl Sockets {
    /// The registry has changed: tell those whose tenant, ticket or origin is gone.
    pub(crate) fn judge(&self, snapshot: &Snapshot) {
        self.open.borrow().values().for_each(|held| held.judge(snapshot));
    }

    /// Tell all of them.
    pub(crate) fn end(&self, ending: Ending) {
        self.open.borrow().values().for_each(|held| held.tell(ending));
    }

    /// Use the one buffer.
    pub(super) fn with_scratch<T>(&self, run: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut scratch = self.scratch.borrow_mut();
        scratch.resize(PIECE_BYTES, 0);
        run(&mut scratch)
    }
}

impl Held {
    fn judge(&self, snapshot: &Snapshot) {
        let Some((id, epoch)) = &self.tenant else { return };
        let ending = match snapshot.by_id(id.as_str()) {
            None => Ending::Removed,
            Some(tenant) if tenant.status == Status::Suspended => Ending::Suspended,
            Some(tenant) if tenant.epoch != *epoch => Ending::Rotated,
            Some(_) if !self.is_listed(snapshot, id) => Ending::Unlisted,
            Some(_) => return,
        };
        self.tell(ending);
    }

    fn is_listed(&self, snapshot: &Snapshot, id: &TenantId) -> bool {
        let Some(page) = &self.page else { return true };
        let owner = page.to_str().ok().and_then(|origin| snapshot.by_origin(origin));
        owner.is_some_and(|owner| owner.id == *id)
    }

    /// Only the first word counts.
    fn tell(&self, ending: Ending) {
        if self.told.get().is_none() {
            self.told.set(Some(ending));
            self.tell.notify_one();
        }
    }
}

impl OpenSocket {
    /// One that its caller has just been granted. What changed since then is told at once.
    pub(super) fn new(thread: &Rc<Thread>, caller: &Caller) -> Self {
        let held = Rc::new(Held {
            tenant: caller.tenant.as_ref().map(|tenant| (tenant.id.clone(), tenant.epoch)),
            page: caller.page.as_ref().map(|page| page.origin.clone()),
            told: Cell::default(),
            tell: Notify::new(),
        });
        let sockets = &thread.sockets;
        let key = sockets.next.get();
        sockets.next.set(key + 1);
        sockets.open.borrow_mut().insert(key, held.clone());
        thread.shared.metrics.websockets.inc();
        held.judge(&thread.shared.registry.snapshot());
        if thread.drain.has_begun() {
            held.tell(Ending::Draining);
        }
        Self { thread: thread.clone(), key, held }
    }

    /// The thread that serves it.
    pub(super) fn thread(&self) -> &Rc<Thread> {
        &self.thread
    }

    /// Resolves when it must end. Cancel safe.
    pub(super) async fn told(&self) -> Ending {
        loop {
            if let Some(ending) = self.held.told.get() {
                return ending;
            }
            self.held.tell.notified().await;
        }
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.thread.sockets.open.borrow_mut().remove(&self.key);
        self.thread.shared.metrics.websockets.dec();
    }
}
