//! Output of a worker: lines are cut, kept, logged and never block.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{
    LAST_WORDS_MAX, Limits, Outlets, Ring, Rules, Sink, Stream,
    lines::{Allowance, Lines, Withheld},
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
    // As long as a line may be, and its end comes later.
    assert_eq!(split(4, &[b"abcd", b"\nef\n"]), ["abcd", "ef"]);
    assert_eq!(split(4, &[b"abcd", b"ef\n"]), ["abcd", "ef"]);
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

const GENEROUS: Limits =
    Limits { lines_max: 100, line_bytes_max: 100, lines_per_second_max: 1000, bytes_per_second_max: 1 << 20 };

fn outlets() -> Arc<Outlets> {
    Arc::new(Outlets::new("api", 64, (Counter::default(), Counter::default())))
}

fn sink(pid: u32, (ring, outlets): (&Arc<Ring>, &Arc<Outlets>), limits: Limits) -> Sink {
    Sink {
        backend: "api".to_owned(),
        worker: "api/0".to_owned(),
        pid,
        stream: Stream::Stderr,
        ring: Arc::clone(ring),
        outlets: Arc::clone(outlets),
        limits,
        over: CancellationToken::default(),
    }
}

fn texts(ring: &Ring) -> Vec<String> {
    ring.last(1000).into_iter().map(|line| line.text).collect()
}

#[test]
fn what_is_too_much_in_a_second_is_withheld_and_counted() {
    let start = Instant::now();
    let mut allowance = Allowance::new(&Limits { lines_per_second_max: 2, ..GENEROUS }, start);
    assert_eq!(allowance.account_due(), None);
    let verdicts: Vec<bool> = (0..5).map(|_| allowance.take(b"line", start).0).collect();
    assert_eq!(verdicts, [true, true, false, false, false]);
    let second = start + Duration::from_secs(1);
    assert_eq!(allowance.account_due(), Some(second));
    assert_eq!(allowance.take(b"line", second), (true, Some(Withheld { lines: 3, bytes: 12 })));
    assert_eq!((allowance.account_due(), allowance.account()), (None, None));
}

#[test]
fn bytes_are_counted_too_and_one_line_a_second_passes_however_long() {
    let start = Instant::now();
    let mut allowance = Allowance::new(&Limits { bytes_per_second_max: 10, ..GENEROUS }, start);
    let verdicts = ["12345", "12345", "1", ""].map(|line| allowance.take(line.as_bytes(), start).0);
    // After the first that did not fit none passes: the order would lie.
    assert_eq!(verdicts, [true, true, false, false]);
    assert_eq!(allowance.account(), Some(Withheld { lines: 2, bytes: 1 }));
    let second = start + Duration::from_secs(1);
    assert_eq!(allowance.take(b"longer than a second may be", second), (true, None));
}

#[tokio::test]
async fn a_flood_is_told_in_one_line_and_its_last_words_are_kept() {
    let (ring, outlets) = (Arc::default(), outlets());
    let limits = Limits { lines_per_second_max: 2, ..GENEROUS };
    let flood: String = (0..100).map(|number| format!("{number}\n")).collect();
    sink(7, (&ring, &outlets), limits).capture(flood.as_bytes()).await;
    let texts = texts(&ring);
    assert_eq!(texts[..2], ["0", "1"]);
    assert!(texts[2].starts_with("78 lines dropped (148 bytes of stderr)"), "{}", texts[2]);
    assert_eq!(texts.len(), 3 + LAST_WORDS_MAX);
    assert_eq!((texts[3].as_str(), texts.last().unwrap().as_str()), ("80", "99"));
    assert_eq!((ring.dropped(), outlets.dropped_total.get()), (78, 78));
    assert_eq!(ring.last(100)[2].stream, Stream::Gateway);
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_has_ended_is_told_of_although_nothing_follows() {
    use tokio::io::AsyncWriteExt;
    let (ring, outlets) = (Arc::default(), outlets());
    let (mut pipe, end) = tokio::io::duplex(64);
    let limits = Limits { lines_per_second_max: 1, ..GENEROUS };
    let capture = sink(7, (&ring, &outlets), limits).capture(end);
    let write = async {
        pipe.write_all(b"a\nb\nc\n").await.unwrap();
        while ring.dropped() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(texts(&ring)[1].starts_with("2 lines dropped"), "{:?}", texts(&ring));
        drop(pipe);
    };
    tokio::join!(capture, write);
}

#[tokio::test]
async fn last_words_are_kept_though_somebody_holds_the_pipe_open() {
    use tokio::io::AsyncWriteExt;
    let (ring, outlets) = (Arc::default(), outlets());
    let (mut pipe, end) = tokio::io::duplex(64);
    let sink = sink(7, (&ring, &outlets), Limits { lines_per_second_max: 1, ..GENEROUS });
    let over = sink.over.clone();
    let ending = async {
        pipe.write_all(b"a\nb\nc\nno end").await.unwrap();
        while texts(&ring).is_empty() {
            tokio::task::yield_now().await;
        }
        over.cancel();
    };
    tokio::join!(sink.capture(end), ending);
    assert_eq!(texts(&ring), ["a", "b", "c", "no end"]);
    drop(pipe);
}

#[tokio::test]
async fn the_ring_keeps_the_last_lines_and_followers_hear_all() {
    let (ring, outlets) = (Arc::default(), outlets());
    let mut follower = outlets.follow();
    let limits = Limits { lines_max: 3, ..GENEROUS };
    sink(7, (&ring, &outlets), limits).capture(&b"a\nb\nc\nd\n"[..]).await;
    sink(8, (&ring, &outlets), limits).capture(&b"e \xff"[..]).await;
    assert_eq!(texts(&ring)[1..], ["c", "d", "e \u{fffd}"]);
    let forgotten = &ring.last(usize::MAX)[0];
    assert!(
        forgotten.text.starts_with("earlier lines") && forgotten.stream == Stream::Gateway,
        "{forgotten:?}"
    );
    assert_eq!(ring.last_of(7, 1), ["d"]);
    assert_eq!(ring.last(1)[0].pid, 8);
    let first = follower.recv().await.unwrap();
    assert_eq!(first.text, "a");
    assert!(first.number < ring.last(1)[0].number);
    assert_eq!(follower.len(), 4);
}

fn rules(path: &Path) -> Rules {
    let day = Duration::from_secs(86_400);
    Rules {
        path: path.to_owned(),
        file_bytes_max: 1 << 20,
        files_kept: 2,
        rotate_after: day,
        kept_for: 14 * day,
    }
}

#[tokio::test]
async fn files_get_every_line_that_is_kept_and_move_with_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old/api.log"), dir.path().join("new/api.log"));
    let (ring, outlets) = (Arc::default(), outlets());
    let write = |text: &'static [u8]| sink(7, (&ring, &outlets), GENEROUS).capture(text);
    write(b"nowhere\n").await;
    outlets.write_to(Some(rules(&old))).unwrap();
    write(b"a\n{\"b\":1}\n").await;
    outlets.write_to(Some(rules(&new))).unwrap();
    write(b"c\n").await;
    outlets.close().await;
    outlets.close().await;
    let old = std::fs::read_to_string(old).unwrap();
    let lines: Vec<serde_json::Value> = old.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["text"], &lines[1]["json"]["b"]), (&"a".into(), &1.into()));
    assert_eq!(lines.len(), 2, "{old}");
    assert!(std::fs::read_to_string(new).unwrap().contains("\"text\":\"c\""));
}
