//! How long to wait before a failed worker is started again. Pure: it knows no clock and no process. It must
//! never say "give up": a backend that is fixed at three in the morning comes back by itself.

use std::time::Duration;

/// The limits of the pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Policy {
    /// The longest pause after the first failure.
    pub(super) first: Duration,
    /// The longest pause at all.
    pub(super) max: Duration,
    /// A worker that was ready for this long starts with a clean history.
    pub(super) stable: Duration,
}

/// The failures in a row so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct History {
    failures: u32,
}

impl History {
    /// One more failure, after having been ready for `ready_for` (zero: never).
    pub(super) fn failed(&mut self, policy: &Policy, ready_for: Duration) {
        if ready_for >= policy.stable {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// The pause now. `jitter` is any random number: it moves the pause within its upper half, so that
    /// workers that failed together do not come back together.
    pub(super) fn pause(&self, policy: &Policy, jitter: u64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(31);
        let longest = policy.first.saturating_mul(1 << doublings).min(policy.max);
        let half = longest / 2;
        // Thousandths are fine enough, and keep the arithmetic in integers.
        let part = u32::try_from(jitter % 1001).unwrap_or(0);
        longest - half + half.saturating_mul(part) / 1000
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Replacements of workers that serve well enough: how long the watch over the next one says nothing. Both a successor
/// that fails and one that is soon as weary as the one before would otherwise be replaced without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Renewals {
    history: History,
    respite: Duration,
}

impl Renewals {
    /// There was no successor: the worker serves on, however long it has been ready.
    pub(super) fn failed(&mut self, policy: &Policy, jitter: u64) {
        self.history.failed(policy, Duration::ZERO);
        self.respite = self.history.pause(policy, jitter);
    }

    /// A worker that had been ready for `ready_for` was replaced.
    pub(super) fn done(&mut self, policy: &Policy, ready_for: Duration, jitter: u64) {
        if ready_for >= policy.stable {
            *self = Self::default();
        } else {
            self.failed(policy, jitter);
        }
    }

    /// The pause now.
    pub(super) fn respite(&self) -> Duration {
        self.respite
    }
}

/// Any number: those that failed together must not come back together, and nothing depends on more.
pub(super) fn jitter() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        first: Duration::from_millis(250),
        max: Duration::from_secs(30),
        stable: Duration::from_secs(60),
    };

    fn check(failures: u32, expected_min_ms: u64, expected_max_ms: u64) {
        let history = History { failures };
        let pause_ms = |jitter| history.pause(&POLICY, jitter).as_millis() as u64;
        assert_eq!((pause_ms(0), pause_ms(1000)), (expected_min_ms, expected_max_ms), "after {failures}");
    }

    #[test]
    fn pauses_double_and_are_capped() {
        check(1, 125, 250);
        check(2, 250, 500);
        check(3, 500, 1000);
        check(7, 8000, 16_000);
        check(8, 15_000, 30_000);
        check(9, 15_000, 30_000);
        check(u32::MAX, 15_000, 30_000);
    }

    #[test]
    fn a_stable_minute_wipes_the_history() {
        let mut history = History::default();
        for _ in 0..5 {
            history.failed(&POLICY, Duration::from_secs(59));
        }
        assert_eq!(history.failures(), 5);
        history.failed(&POLICY, Duration::from_secs(60));
        assert_eq!(history.failures(), 1);
    }

    #[test]
    fn a_build_that_is_broken_is_tried_ever_more_seldom_however_old_the_worker_is() {
        let mut renewals = Renewals::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            renewals.failed(&POLICY, 1000);
            pauses.push(renewals.respite().as_millis());
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        renewals.done(&POLICY, Duration::from_secs(59), 0);
        assert_eq!(renewals.respite(), Duration::from_secs(15), "its successor is as short-lived");
        renewals.done(&POLICY, Duration::from_secs(60), 0);
        assert_eq!(renewals, Renewals::default());
    }

    proptest! {
        #[test]
        fn replacements_pause_as_a_naive_model_says(
            events in proptest::collection::vec(proptest::option::of(0_u64..120), 1..60), jitter in any::<u64>(),
        ) {
            let (mut renewals, mut in_a_row) = (Renewals::default(), 0_i32);
            for event in events {
                match event {
                    Some(ready_s) => renewals.done(&POLICY, Duration::from_secs(ready_s), jitter),
                    None => renewals.failed(&POLICY, jitter),
                }
                in_a_row = if event.is_some_and(|ready_s| ready_s >= 60) { 0 } else { in_a_row + 1 };
                let cap_ms = if in_a_row == 0 { 0.0 } else { (250.0 * 2_f64.powi(in_a_row - 1)).min(30_000.0) };
                let pause_ms = renewals.respite().as_secs_f64() * 1000.0;
                prop_assert!(pause_ms <= cap_ms + 1e-3 && pause_ms >= cap_ms / 2.0 - 1e-3, "{pause_ms} of {cap_ms}");
            }
        }
    }

    proptest! {
        #[test]
        fn pauses_are_as_a_naive_model_says(
            first_ms in 1_u64..10_000, max_ms in 1_u64..600_000, lives in proptest::collection::vec(0_u64..120, 1..80),
            jitter in any::<u64>(),
        ) {
            let policy = Policy {
                first: Duration::from_millis(first_ms),
                max: Duration::from_millis(max_ms),
                stable: Duration::from_secs(60),
            };
            let mut history = History::default();
            let mut longest_ms = 0_f64;
            for ready_s in lives {
                history.failed(&policy, Duration::from_secs(ready_s));
                longest_ms = if ready_s >= 60 || longest_ms == 0.0 { first_ms as f64 } else { longest_ms * 2.0 };
                let cap_ms = longest_ms.min(max_ms as f64);
                let pause_ms = history.pause(&policy, jitter).as_secs_f64() * 1000.0;
                prop_assert!(pause_ms <= cap_ms + 1e-3 && pause_ms >= cap_ms / 2.0 - 1e-3, "{pause_ms} of {cap_ms}");
            }
        }
    }
}
