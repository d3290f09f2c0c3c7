//! Strangers who ask for files and take none of them: what they hold is bounded, and everybody else is served.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    HOST, TestGateway, Wire,
    builder::Builder,
    bystander::Bystander,
    eventually,
    h2_frames::{END_STREAM, H2, HEADERS, SETTINGS, frame, get, headers, status_of},
    memory::{anonymous_bytes, metric},
};

/// What a flood may leave behind in memory: with the defaults, 256 pieces of 64 KiB and what h2 keeps beside each.
const MEMORY_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// Streams of one connection.
const STREAMS: u32 = 128;

/// The API with a directory of files on its host.
fn with_files(config: &str) -> (tempfile::TempDir, Builder) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("large.bin"), vec![7; 4_000_000]).unwrap();
    std::fs::write(dir.path().join("small.txt"), "small").unwrap();
    let site = format!("[[edge.site]]\npath = \"/files\"\nroot = {:?}", dir.path());
    (dir, TestGateway::builder().shops().worker("echo.mjs").config(&site).config(config))
}

/// A connection on which no stream has a window, and a request for the large file on each; their statuses.
fn ask_and_take_nothing(gateway: &TestGateway) -> (H2, Vec<u16>) {
    let mut h2 = H2::open(gateway);
    h2.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..STREAMS {
        h2.send(headers(number * 2 + 1, END_STREAM, &get("/files/large.bin")));
    }
    let mut statuses = Vec::new();
    while statuses.len() < STREAMS as usize {
        let frame = h2.frame().expect("the connection lives");
        if frame.kind == HEADERS {
            statuses.push(status_of(&frame.payload));
        }
    }
    (h2, statuses)
}

/// How often the gateway has the large file open.
fn open_files(gateway: &TestGateway) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().flatten();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.ends_with("large.bin")).count()
}

#[test]
fn one_address_holds_its_share_of_open_files_and_memory_and_another_one_is_served() {
    let (_dir, builder) = with_files("");
    let gateway = builder.start();
    gateway.get("/files/small.txt").secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let mut held = Vec::new();
    let (mut shown, mut refused) = (0, 0);
    for _ in 0..5 {
        let (h2, statuses) = ask_and_take_nothing(&gateway);
        shown += statuses.iter().filter(|status| **status == 200).count();
        refused += statuses.iter().filter(|status| **status == 429).count();
        held.push(h2);
    }
    assert_eq!((shown, refused), (256, 5 * 128 - 256), "what is not shown is refused");
    assert_eq!(open_files(&gateway), 256);
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    assert!(metric(&gateway, "gateway_refusals_total{code=\"too-many-in-flight\"}") >= 384);
    // It is told when to come back; another address has its own share.
    let refused = gateway.get("/files/small.txt").send().is(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let mut other = Wire::tcp_from(IpAddr::from(Ipv4Addr::new(127, 0, 0, 7)), gateway.http());
    other.send(format!("GET /files/small.txt HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert_eq!(other.answer().is(200).text(), "small");
    drop(held);
    eventually("what was held is given back", || {
        (open_files(&gateway) == 0 && gateway.get("/files/small.txt").send().status == 200).then_some(())
    });
}

#[test]
fn files_that_nobody_takes_are_closed_in_the_end() {
    let (_dir, builder) = with_files("edge.limits.body_idle_timeout = \"4s\"");
    let gateway = builder.start();
    let (_held, statuses) = ask_and_take_nothing(&gateway);
    assert_eq!(statuses, vec![200; STREAMS as usize]);
    assert!(open_files(&gateway) > 0);
    eventually("each is given up", || (open_files(&gateway) == 0).then_some(()));
    eventually("each is counted", || {
        let cuts = metric(&gateway, "gateway_cuts_total{code=\"stream-not-reading\"}");
        (cuts >= STREAMS.into()).then_some(())
    });
}

#[test]
fn all_addresses_together_hold_no_more_than_there_is() {
    let (_dir, builder) =
        with_files("[edge.admit]\nfiles_in_flight_max = 100\nclient_files_in_flight_max = 1000");
    let gateway = builder.start();
    let (h2, statuses) = ask_and_take_nothing(&gateway);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 100);
    let mut other = Wire::tcp_from(IpAddr::from(Ipv4Addr::new(127, 0, 0, 7)), gateway.http());
    let request = format!("GET /files/small.txt HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    other.send(&request);
    other.answer().is(429);
    drop(h2);
    eventually("there is room again", || {
        let mut wire = gateway.wire();
        wire.send(&request);
        (wire.answer().status == 200).then_some(())
    });
}

#[test]
fn files_leave_the_last_descriptors_to_requests_for_workers() {
    const GRANTED: usize = 160;
    let (_dir, builder) = with_files("edge.threads = 1");
    let site = builder.site();
    let gateway = TestGateway::start_through(site, &["prlimit", &format!("--nofile={GRANTED}:{GRANTED}")]);
    let bystander = Bystander::of(&gateway);
    let (_h2, statuses) = ask_and_take_nothing(&gateway);
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert!(count(200) > 20 && count(503) > 20 && count(200) + count(503) == 128, "{statuses:?}");
    assert!(metric(&gateway, "gateway_refusals_total{code=\"no-descriptor\"}") >= count(503) as u64);
    gateway.has_logged("out of file descriptors (raise LimitNOFILE)");
    drop(_h2);
    bystander.was_served();
    eventually("there is room again", || {
        (gateway.get("/files/small.txt").send().status == 200).then_some(())
    });
}
