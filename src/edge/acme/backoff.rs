//! How long to wait before trying again: pure arithmetic on failures, with a jitter that is the same each time it
//! is asked for, so that a schedule can be computed anew without moving.

use std::time::Duration;

use jiff::Timestamp;

/// Pauses are up to a quarter longer than computed: many hosts that fail together do not come back together.
const JITTER: f64 = 0.25;

/// A pause after so many failures in a row: the first one, three times as long each time, never above the longest.
pub(crate) fn pause(first: Duration, longest: Duration, failures: u32, spread: f64) -> Duration {
    // 3^20 first pauses are years: the longest one is reached long before.
    let steps = i32::try_from(failures.saturating_sub(1).min(20)).unwrap_or(20);
    let plain = (first.as_secs_f64() * 3f64.powi(steps)).min(longest.as_secs_f64());
    Duration::from_secs_f64(plain * (1.0 + JITTER * spread))
}

/// That moment and so much later.
pub(crate) fn after(moment: Timestamp, pause: Duration) -> Timestamp {
    moment.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// That moment and so much earlier.
pub(crate) fn before(moment: Timestamp, pause: Duration) -> Timestamp {
    moment.checked_sub(pause).unwrap_or(Timestamp::MIN)
}

/// From one moment to a later one; nothing if it is not later.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A number from 0 to 1 that depends on nothing but these (FNV-1a, then SplitMix64's last steps).
pub(crate) fn spread(seed: u64, word: &str, number: u64) -> f64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in word.bytes().chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The upper 32 bits: a double holds them exactly.
    let upper = u32::try_from((hash ^ (hash >> 31)) >> 32).unwrap_or(0);
    f64::from(upper) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_minutes_to_hours_and_stay_there() {
        let (first, longest) = (Duration::from_secs(300), Duration::from_secs(12 * 3600));
        let minutes = |failures| pause(first, longest, failures, 0.0).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5, 6, 50].map(minutes), [5, 15, 45, 135, 405, 720, 720]);
        assert_eq!(minutes(0), 5);
        assert_eq!(pause(first, longest, 1, 1.0), Duration::from_secs(375));
    }

    #[test]
    fn the_jitter_is_the_same_for_the_same_and_differs_between_hosts() {
        assert_eq!(spread(1, "a.example", 2).to_bits(), spread(1, "a.example", 2).to_bits());
        let mut seen: Vec<u64> = (0..100).map(|n| spread(1, &format!("{n}.example"), 1).to_bits()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        assert!((0..100).all(|n| (0.0..=1.0).contains(&spread(n, "x", n))));
    }
}
