//! What one tenant or client has taken: requests in flight and a token bucket in one atomic. It must never block.

use std::sync::{
    Arc,
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

/// Bursts of twice the rate pass: two seconds' worth.
const BURST_NS: u64 = 2_000_000_000;

/// Nobody waits longer for what passed at once: an hour.
const DEBT_NS_MAX: u64 = 3_600_000_000_000;

/// Counters of one tenant or client.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    in_flight: AtomicU32,
    waiting: AtomicU32,
    /// When the bucket is full again, nanoseconds of the clock: a token bucket kept as one time (the generic
    /// cell rate algorithm, ITU-T I.371).
    full_at_ns: AtomicU64,
}

/// One count held; dropped, it is given back.
#[derive(Debug)]
pub(super) struct InFlight {
    gauge: Arc<Gauge>,
    waiting: bool,
}

impl Gauge {
    /// One more in flight, unless that are too many.
    pub(super) fn take(self: &Arc<Self>, max: u32) -> Option<InFlight> {
        self.hold(max, false)
    }

    fn hold(self: &Arc<Self>, max: u32, waiting: bool) -> Option<InFlight> {
        let count = if waiting { &self.waiting } else { &self.in_flight };
        let one_more = |count: u32| (count < max).then_some(count + 1);
        count.fetch_update(AcqRel, Relaxed, one_more).ok()?;
        Some(InFlight { gauge: self.clone(), waiting })
    }

    /// One more now, or how long until one more passes.
    pub(super) fn pass(&self, per_second: u32, now_ns: u64) -> Result<(), u64> {
        self.pass_many(1, per_second, now_ns)
    }

    /// So many more now, or how long until they pass. More than a burst pass when a burst would, and are waited for afterwards.
    pub(super) fn pass_many(&self, count: u64, per_second: u32, now_ns: u64) -> Result<(), u64> {
        let Some(each_ns) = 1_000_000_000_u64.checked_div(per_second.into()) else { return Err(BURST_NS) };
        let cost_ns = each_ns.saturating_mul(count);
        let mut wait_ns = 0;
        let next = |full_at: u64| {
            let begins = full_at.max(now_ns);
            wait_ns = (begins + cost_ns.min(BURST_NS)).saturating_sub(now_ns + BURST_NS);
            (wait_ns == 0).then(|| begins.saturating_add(cost_ns.min(DEBT_NS_MAX)))
        };
        let passed = self.full_at_ns.fetch_update(AcqRel, Relaxed, next).is_ok();
        if passed { Ok(()) } else { Err(wait_ns) }
    }

    /// Would a fresh gauge say the same? Then this one may be forgotten.
    pub(super) fn is_idle(&self, now_ns: u64) -> bool {
        self.in_flight.load(Relaxed) == 0 && self.full_at_ns.load(Relaxed) <= now_ns
    }
}

impl InFlight {
    /// One more of the same gauge's waiting, unless that are too many.
    pub(super) fn wait(&self, max: u32) -> Option<Self> {
        self.gauge.hold(max, true)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let count = if self.waiting { &self.gauge.waiting } else { &self.gauge.in_flight };
        count.fetch_sub(1, AcqRel);
    }
}
