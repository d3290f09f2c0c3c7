//! Output of a worker: lines are cut, kept, logged and never block.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tokio::sync::broadcast;

use super::{
    Limits, Ring, Sink, Stream,
    lines::{Allowance, Lines},
};

fn split(bytes_max: usize, chunks: &[&[u8]]) -> Vec<String> {
    let mut lines = Lines::new(bytes_max);
    let mut seen = Vec::new();
    for chunk in chunks {
        lines.feed(chunk, |line| seen.push(String::from_utf8_lossy(line).into_owned()));
    }
    lines.finish(|line| seen.push(String::from_utf8_lossy(line).into_owned()));
    seen
}

#[test]
fn bytes_become_lines_however_they_arrive() {
    assert_eq!(split(80, &[b"one\ntwo\n"]), ["one", "two"]);
    assert_eq!(split(80, &[b"on", b"e\r\ntw", b"o"]), ["one", "two"]);
    assert_eq!(split(80, &[b"\n\n"]), ["", ""]);
    assert_eq!(split(4, &[b"abcdefghij\n"]), ["abcd", "efgh", "ij"]);
    assert_eq!(split(4, &[b"abcd\nefgh\n"]), ["abcd", "efgh"]);
    assert_eq!(split(80, &[]), [""; 0]);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_no_line_is_too_long(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20), bytes_max in 1_usize..30,
    ) {
        let mut lines = Lines::new(bytes_max);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for chunk in &chunks {
            lines.feed(chunk, |line| seen.push(line.to_vec()));
        }
        lines.finish(|line| seen.push(line.to_vec()));
        prop_assert!(seen.iter().all(|line| line.len() <= bytes_max));
        let content = |bytes: Vec<u8>| -> Vec<u8> { bytes.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect() };
        let seen = seen.concat();
        prop_assert_eq!(content(seen), content(chunks.concat()));
    }
}

#[test]
fn a_flood_is_logged_in_part_and_counted() {
    let start = Instant::now();
    let mut allowance = Allowance::new(2, start);
    let verdicts: Vec<bool> = (0..5).map(|_| allowance.take(start).0).collect();
    assert_eq!(verdicts, [true, true, false, false, false]);
    assert_eq!(allowance.withheld(), 3);
    assert_eq!(allowance.take(start + Duration::from_secs(1)), (true, 3));
    assert_eq!(allowance.withheld(), 0);
}

#[tokio::test]
async fn the_ring_keeps_the_last_lines_and_followers_hear_all() {
    let (live, mut follower) = broadcast::channel(64);
    let ring = Arc::new(Ring::default());
    let limits = Limits { lines_max: 3, line_bytes_max: 100, logged_per_second_max: 0 };
    let sink = |pid| Sink {
        backend: "api".to_owned(),
        worker: "api/0".to_owned(),
        pid,
        stream: Stream::Stderr,
        ring: Arc::clone(&ring),
        live: live.clone(),
        limits,
    };
    sink(7).capture(&b"a\nb\nc\nd\n"[..]).await;
    sink(8).capture(&b"e \xff"[..]).await;
    let texts: Vec<String> = ring.last(10).into_iter().map(|line| line.text).collect();
    assert_eq!(texts, ["c", "d", "e \u{fffd}"]);
    assert_eq!(ring.last_of(7, 1), ["d"]);
    assert_eq!(ring.last(1)[0].pid, 8);
    assert_eq!(follower.recv().await.unwrap().text, "a");
    assert_eq!(follower.len(), 4);
}
