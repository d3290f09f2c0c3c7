//! The stock of idle connections to workers: per thread and worker, newest first, closed before the worker's own
//! keep-alive ends them. No lock, no other core; it must never hand out a connection whose last answer has not
//! passed whole.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use super::connection::Connection;

/// A request that cannot be sent twice takes no connection that has been idle for longer: whoever closes idle
/// connections in less than that, closes them between two requests of one page. Opening one costs 50 µs.
const CAREFUL_IDLE_MAX: Duration = Duration::from_secs(1);

/// Buffers for heads on their way out: as many as are kept, and what most heads fit in.
const SPACES_MAX: usize = 64;
const SPACE_BYTES: usize = 2 * 1024;
/// Larger ones are not kept.
const SPACE_BYTES_MAX: usize = 8 * 1024;

/// One thread's idle connections by worker.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
    spaces: RefCell<Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
    until: Instant,
}

impl Upstreams {
    /// The idle connection used last, which is the least likely to have been closed meanwhile. `careful`: for a
    /// request that cannot be sent twice.
    pub(super) fn take(&self, worker: u64, careful: bool) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let stock = idle.get_mut(&worker)?;
        let now = Instant::now();
        while let Some(last) = stock.pop() {
            if careful && now.duration_since(last.since) > CAREFUL_IDLE_MAX {
                // It may do for another request; those below are older still.
                stock.push(last);
                return None;
            }
            if now < last.until && last.connection.is_fit(careful) {
                return Some(last.connection);
            }
        }
        None
    }

    /// Keep a connection for the next request, if it can have one.
    pub(super) fn give_back(
        &self,
        worker: u64,
        mut connection: Box<Connection>,
        keep: Duration,
        idle_max: usize,
    ) {
        let Some(keep) = connection.rest(keep) else { return };
        let mut idle = self.idle.borrow_mut();
        let stock = idle.entry(worker).or_default();
        if stock.len() < idle_max {
            let since = Instant::now();
            stock.push(Idle { connection, since, until: since + keep });
        }
    }

    /// An empty buffer for a head.
    pub(super) fn space(&self) -> Vec<u8> {
        self.spaces.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SPACE_BYTES))
    }

    /// Keep it for the next one.
    pub(super) fn keep_space(&self, mut space: Vec<u8>) {
        let mut spaces = self.spaces.borrow_mut();
        if spaces.len() < SPACES_MAX && space.capacity() <= SPACE_BYTES_MAX {
            space.clear();
            spaces.push(space);
        }
    }

    /// Close what has been idle for too long or was closed by its worker, and forget workers that are gone.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, stock| {
            stock.retain(|idle| now < idle.until && idle.connection.is_fit(false));
            !stock.is_empty()
        });
    }

    /// Is none idle?
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Close all of them.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
