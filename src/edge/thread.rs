//! What one core's edge thread owns: its connections, its idle connections to workers, its buffers. Nothing of it
//! is ever seen by another thread; what all share is in `Shared`.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll, Waker},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::{
    metrics::{Metrics, RequestLabels},
    shutdown::Shutdown,
    tenant::{Refusals, Registry, TenantId, Tickets},
};

use super::{
    access_log::{AccessLog, FLUSH_EVERY, Lines},
    acme::Challenges,
    admit::Admit,
    clients::Clients,
    cork::Spare,
    cuts::Cuts,
    descriptors::Descriptors,
    forward::Upstreams,
    pulse::{Heart, Pulse},
    request_id::RequestIds,
    settings::Settings,
    turn::Turns,
    upgrade::Sockets,
};

/// What all edge threads share; on the request path only atomics and short shard locks.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) admit: Admit,
    pub(crate) access_log: Arc<AccessLog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    /// Connections open, over all threads.
    pub(crate) connections: AtomicUsize,
    pub(crate) clients: Clients,
    pub(crate) cuts: Cuts,
    pub(crate) descriptors: Descriptors,
    /// What a certificate authority may come to see now.
    pub(crate) challenges: Arc<Challenges>,
    /// Do the threads live?
    pub(crate) pulse: Pulse,
}

/// One thread's own things.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstreams: Upstreams,
    pub(crate) lines: Lines,
    pub(crate) tally: Tally,
    pub(crate) ids: RequestIds,
    pub(crate) drain: Drain,
    pub(crate) sockets: Sockets,
    pub(crate) turns: Turns,
    pub(crate) spare: Rc<Spare>,
    heart: Arc<Heart>,
    stir: Stir,
}

/// Is there something that the next tick sees to? A thread at rest has no ticks.
#[derive(Debug, Default)]
struct Stir {
    stirred: Cell<bool>,
    told: Notify,
}

impl Thread {
    /// A thread that has served nothing yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            upstreams: Upstreams::default(),
            lines: Lines::new(shared.access_log.clone()),
            tally: Tally::default(),
            ids: RequestIds::new(),
            drain: Drain::default(),
            sockets: Sockets::default(),
            turns: Turns::default(),
            spare: Rc::default(),
            heart: shared.pulse.join(),
            stir: Stir::default(),
            shared,
        })
    }

    /// Is the access log on?
    pub(crate) fn writes_log(&self) -> bool {
        self.shared.settings.load().access_log
    }

    /// A request ends: there will be something to do at the next tick.
    pub(crate) fn stir(&self) {
        if !self.stir.stirred.replace(true) {
            // It may have rested for days, in which the clocks went apart.
            self.lines.set_clock();
            self.stir.told.notify_one();
        }
    }

    /// Resolves when a tick is due: some time after something has stirred, or when the pulse is felt. Cancel safe.
    pub(crate) async fn tick_due(&self) {
        let stirred = async {
            self.stir.told.notified().await;
            tokio::time::sleep(FLUSH_EVERY).await;
        };
        tokio::select! {
            () = stirred => {}
            () = self.heart.felt() => {}
        }
    }

    /// What is done every now and then instead of with every request.
    pub(crate) fn tick(&self) {
        self.lines.flush();
        self.tally.flush(&self.shared.metrics);
        self.upstreams.sweep();
        self.heart.beat();
        // Idle connections to workers are to be closed in time.
        let busy = !self.upstreams.is_empty();
        self.stir.stirred.set(busy);
        if busy {
            self.stir.told.notify_one();
        }
    }
}

/// Has the drain begun, and whom to wake then. The shutdown's own future takes a lock that all cores share at
/// every poll of every connection; this takes none.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    begun: Cell<bool>,
    next: Cell<u64>,
    wakers: RefCell<HashMap<u64, Waker>>,
}

/// One connection's place in the drain's list.
#[derive(Debug)]
pub(crate) struct Drained {
    thread: Rc<Thread>,
    key: u64,
}

impl Drain {
    /// Has it begun?
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Begin: every connection looks up.
    pub(crate) fn begin(&self) {
        self.begun.set(true);
        self.wakers.borrow().values().for_each(Waker::wake_by_ref);
    }
}

impl Drained {
    /// A place for a connection that begins.
    pub(crate) fn new(thread: &Rc<Thread>) -> Self {
        let key = thread.drain.next.get();
        thread.drain.next.set(key + 1);
        Self { thread: thread.clone(), key }
    }

    /// Wake this task when the drain begins. A task's waker does not change, so once is enough.
    pub(crate) fn wake(&self, waker: &Waker) {
        self.thread.drain.wakers.borrow_mut().insert(self.key, waker.clone());
    }
}

impl Drained {
    /// Has the drain begun? Wakes the task when it does.
    pub(crate) fn poll_begun(&self, cx: &Context<'_>) -> Poll<()> {
        if self.thread.drain.has_begun() {
            return Poll::Ready(());
        }
        self.wake(cx.waker());
        Poll::Pending
    }

    /// The outcome of a step in which the client has not asked for anything yet, such as a handshake; `None` when the
    /// gateway drains and the client does not come to its request soon.
    pub(crate) async fn unless_late<T>(thread: &Rc<Thread>, step: impl Future<Output = T>) -> Option<T> {
        let drained = Self::new(thread);
        let late = async {
            std::future::poll_fn(|cx| drained.poll_begun(cx)).await;
            tokio::time::sleep(thread.shared.settings.load().limits.last_request_timeout).await;
        };
        tokio::select! {
            biased;
            outcome = step => Some(outcome),
            () = late => None,
        }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.thread.drain.wakers.borrow_mut().remove(&self.key);
    }
}

/// Counts of finished requests, added to the process's metrics every now and then: labels are strings, and
/// counters that all cores touch at every request bounce between them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: RefCell<HashMap<Option<TenantId>, [u64; 5]>>,
    first_bytes_s: RefCell<Vec<f64>>,
}

/// Samples kept until the next flush at most: at 100,000 requests a second that is every 40 ms.
const SAMPLES_MAX: usize = 4096;

impl Tally {
    /// One request has ended.
    pub(crate) fn count(&self, tenant: &Option<TenantId>, status: u16, first_byte: Option<Duration>) {
        let class = usize::from((status / 100).clamp(1, 5)) - 1;
        let mut requests = self.requests.borrow_mut();
        match requests.get_mut(tenant) {
            Some(counts) => counts[class] += 1,
            None => requests.entry(tenant.clone()).or_default()[class] += 1,
        }
        let mut samples = self.first_bytes_s.borrow_mut();
        if let Some(time) = first_byte.filter(|_| samples.len() < SAMPLES_MAX) {
            samples.push(time.as_secs_f64());
        }
    }

    fn flush(&self, metrics: &Metrics) {
        for (tenant, counts) in self.requests.borrow_mut().drain() {
            let name = tenant.map_or_else(|| "-".to_owned(), |tenant| tenant.to_string());
            for (count, class) in counts.into_iter().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]) {
                if count > 0 {
                    let labels = RequestLabels { tenant: name.clone(), class };
                    metrics.requests_total.get_or_create(&labels).inc_by(count);
                }
            }
        }
        for seconds in self.first_bytes_s.borrow_mut().drain(..) {
            metrics.first_byte_seconds.observe(seconds);
        }
    }
}
