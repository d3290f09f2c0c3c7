//! Clients that ask for much with few bytes over HTTP/2. Each flood ends with its connection, is counted, costs
//! bounded memory, and leaves everybody else alone.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    HOST, NAVAJA, TestGateway,
    bystander::Bystander,
    eventually,
    h2_frames::{self, DATA, END_STREAM, GOAWAY, H2, HEADERS, PING, RST_STREAM, SETTINGS, frame, headers},
    memory::{anonymous_bytes, metric},
};

/// RFC 9113 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;
const CONTINUATION: u8 = 0x9;
const WINDOW_UPDATE: u8 = 0x8;
const PRIORITY: u8 = 0x2;
const END_HEADERS: u8 = 0x4;

/// What a flood may leave behind in memory: far more than it should, far less than one that is not bounded takes.
const MEMORY_BYTES_MAX: u64 = 48 * 1024 * 1024;

fn gateway(config: &str) -> TestGateway {
    TestGateway::builder().shops().worker("echo.mjs").config(config).start()
}

/// Send frames until the gateway ends the connection; its code, or `None` when it ended without one.
#[track_caller]
fn until_cut(h2: &mut H2, frames_max: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    for number in 0..frames_max {
        if h2.try_send(next(number)).is_err() {
            break;
        }
    }
    loop {
        match h2.frame() {
            Ok(frame) if frame.kind == GOAWAY => {
                let code = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
                if code != 0 {
                    return Some(code);
                }
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// Run one flood on ten connections, one after another, beside somebody who wants to be served.
#[track_caller]
fn flood(gateway: &TestGateway, what: &str, mut attack: impl FnMut(&mut H2) -> Option<u32>) {
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(gateway);
    for _ in 0..10 {
        let mut h2 = H2::open(gateway);
        let code = attack(&mut h2);
        // A reset may overtake the goodbye.
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM || code == 1), "{what}: {code:?}");
    }
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "{what}: memory went from {before} to {after}");
}

fn cuts(gateway: &TestGateway) -> u64 {
    metric(gateway, "gateway_cuts_total{code=\"h2-flood\"}")
        + metric(gateway, "gateway_cuts_total{code=\"h2-protocol\"}")
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    let mut fields = h2_frames::get(path);
    fields.push(("origin", NAVAJA.to_owned()));
    headers(stream, END_STREAM, &fields)
}

#[test]
fn rapid_resets_end_the_connection() {
    let (gateway, begun) = (gateway(""), Instant::now());
    flood(&gateway, "rapid reset", |h2| {
        until_cut(h2, 20_000, |number| {
            let stream = number * 2 + 1;
            [request(stream, "/rapid"), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
    });
    eventually("each is counted", || (cuts(&gateway) >= 10).then_some(()));
    let lines = gateway.has_logged("connections were cut").matches("connections were cut").count() as u64;
    // One in ten seconds for each of the two reasons that a flood may be cut for.
    assert!(lines <= 2 * (1 + begun.elapsed().as_secs() / 10), "{lines} lines about ten floods");
    // Each reset that reached a worker is one of few: the others never left the gateway.
    let seen = gateway.get("/seen").origin(NAVAJA).send().is(200).json()["seen"].to_string();
    let reached = seen.matches("/rapid").count();
    assert!(reached < 10 * 300, "{reached} requests reached the worker");
}

#[test]
fn streams_that_the_client_makes_us_reset_end_the_connection() {
    let gateway = gateway("");
    // MadeYouReset: each request is fine, and then a frame on its stream that only a reset can answer.
    flood(&gateway, "made you reset", |h2| {
        until_cut(h2, 20_000, |number| {
            let stream = number * 2 + 1;
            let nothing = frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes());
            [request(stream, "/made"), nothing].concat()
        })
    });
    eventually("each is counted", || (cuts(&gateway) >= 10).then_some(()));
}

#[test]
fn a_head_of_endless_continuations_ends_the_connection() {
    let gateway = gateway("");
    flood(&gateway, "continuation", |h2| {
        let begin = frame(HEADERS, END_STREAM, 1, &h2_frames::block(&h2_frames::get("/")));
        h2.send(begin);
        let more = h2_frames::block(&[("x-more", "x".repeat(8000))]);
        until_cut(h2, 5_000, |_| frame(CONTINUATION, 0, 1, &more))
    });
    // Without a byte in any.
    flood(&gateway, "empty continuations", |h2| {
        h2.send(frame(HEADERS, END_STREAM, 1, &h2_frames::block(&h2_frames::get("/"))));
        until_cut(h2, 100_000, |_| frame(CONTINUATION, 0, 1, &[]))
    });
    eventually("each is counted", || (cuts(&gateway) >= 20).then_some(()));
}

#[test]
fn a_header_that_unpacks_to_megabytes_is_refused_before_it_is_kept() {
    let gateway = gateway("");
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let mut h2 = H2::open(&gateway);
    // One entry of 4 KB in the table, then referred to with one byte each: 16 KB become 64 MB.
    let mut bomb = h2_frames::block(&h2_frames::get("/bomb"));
    bomb.push(0x40);
    bomb.extend([1, b'x', 127, 0x80 | 0x21, 0x1e]);
    bomb.extend(vec![b'b'; 4000]);
    bomb.extend(vec![0x80 | 62; 10_000]);
    for number in 0..50_u32 {
        let stream = number * 2 + 1;
        let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb);
        if h2.try_send(head).is_err() {
            break;
        }
    }
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    let seen = gateway.get("/seen").origin(NAVAJA).send().is(200).json()["seen"].to_string();
    assert!(!seen.contains("/bomb"), "a bomb reached the worker");
}

#[test]
fn frames_that_carry_nothing_end_the_connection_or_cost_nothing() {
    let gateway = gateway("");
    // Each asks for an answer that is never read: the answers must not pile up.
    let ping = frame(PING, 0, 0, &[7; 8]);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    let priority = frame(PRIORITY, 0, 99, &[0, 0, 0, 0, 16]);
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let mut held = Vec::new();
    for flood in [ping, settings, priority] {
        for _ in 0..3 {
            let mut h2 = H2::open(&gateway);
            h2.give_up_writing_after(Duration::from_millis(500));
            let many = flood.repeat(500);
            for _ in 0..200 {
                if h2.try_send(&many).is_err() {
                    break;
                }
            }
            held.push(h2);
        }
    }
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    drop(held);
    // Empty DATA frames are counted by h2 itself.
    flood(&gateway, "empty data", |h2| {
        let mut fields = h2_frames::get("/sink");
        fields[0].1 = "POST".to_owned();
        fields.push(("origin", NAVAJA.to_owned()));
        h2.send(headers(1, 0, &fields));
        until_cut(h2, 200_000, |_| frame(DATA, 0, 1, &[]))
    });
}

#[test]
fn answers_for_which_a_client_opens_no_window_are_given_up() {
    // It is the worker's time as well.
    let gateway = gateway("edge.limits.body_idle_timeout = \"3s\"");
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let mut h2 = H2::open(&gateway);
    // No stream has a window.
    h2.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..100_u32 {
        h2.send(request(number * 2 + 1, "/big?bytes=100000"));
    }
    let mut reset = 0;
    while reset < 100 {
        let frame = h2.frame().expect("the connection lives");
        assert!(frame.kind != GOAWAY, "the connection ended with {reset} streams given up");
        reset += u32::from(frame.kind == RST_STREAM);
    }
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    eventually("each is counted", || {
        (metric(&gateway, "gateway_cuts_total{code=\"stream-not-reading\"}") >= 100).then_some(())
    });
    eventually("each is in the access log", || {
        let stalled =
            gateway.access_log().into_iter().filter(|line| line["code"] == "client-stalled").count();
        (stalled == 100).then_some(())
    });
    // A stream with a window is served on the same connection.
    h2.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    h2.send(request(301, "/small"));
    assert!(matches!(h2.outcome(301), h2_frames::Outcome::Answered { status: 200, .. }));
}

#[test]
fn answers_that_a_client_takes_byte_by_byte_are_given_up() {
    let gateway = gateway("edge.limits.body_idle_timeout = \"2s\"");
    let bystander = Bystander::of(&gateway);
    let mut h2 = H2::open(&gateway);
    h2.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]));
    let mut open: BTreeSet<u32> = (0..20).map(|number| number * 2 + 1).collect();
    for stream in &open {
        h2.send(request(*stream, "/big?bytes=100000"));
    }
    let mut rounds = 0;
    while !open.is_empty() {
        rounds += 1;
        assert!(rounds < 300, "{} streams still drip", open.len());
        for stream in &open {
            h2.send(frame(WINDOW_UPDATE, 0, *stream, &1_u32.to_be_bytes()));
        }
        let mut waiting = open.clone();
        while !waiting.is_empty() {
            let frame = h2.frame().expect("the connection lives");
            if frame.kind == RST_STREAM {
                open.remove(&frame.stream);
            }
            if matches!(frame.kind, DATA | RST_STREAM) {
                waiting.remove(&frame.stream);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bystander.was_served();
    eventually("each is counted", || {
        (metric(&gateway, "gateway_cuts_total{code=\"stream-not-reading\"}") >= 20).then_some(())
    });
}

#[test]
fn the_end_of_an_answer_that_is_never_taken_is_given_up_too() {
    let gateway = gateway("edge.limits.body_idle_timeout = \"1s\"");
    let bystander = Bystander::of(&gateway);
    let mut h2 = H2::open(&gateway);
    // All but the last bytes fit.
    h2.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 100]));
    for number in 0..20_u32 {
        h2.send(request(number * 2 + 1, "/big?bytes=20000"));
    }
    let mut reset = 0;
    while reset < 20 {
        let frame = h2.frame().expect("the connection lives");
        reset += u32::from(frame.kind == RST_STREAM);
    }
    bystander.was_served();
}

#[test]
fn limits_of_requests_hold_for_every_stream_of_a_connection() {
    let gateway = gateway("[edge.admit]\nclient_in_flight_max = 4\ntenant_in_flight_max = 64");
    let mut h2 = H2::open(&gateway);
    for number in 0..8_u32 {
        h2.send(request(number * 2 + 1, "/slow?ms=3000"));
    }
    let mut statuses: Vec<u16> = Vec::new();
    while statuses.len() < 8 {
        let frame = h2.frame().unwrap();
        if frame.kind == HEADERS {
            statuses.push(h2_frames::status_of(&frame.payload));
        }
    }
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((refused, statuses.len()), (4, 8), "{statuses:?}");
    // A WebSocket is a request in flight for as long as it lives.
    let upgrade = format!(
        "GET /socket HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut sockets: Vec<_> = (0..4)
        .map(|_| {
            // Those answered above give their places back a moment after the last bytes.
            eventually("there is a place for it", || {
                let mut wire = gateway.wire();
                wire.send(&upgrade);
                (wire.head().status == 101).then_some(wire)
            })
        })
        .collect();
    let refused = gateway.get("/x").origin(NAVAJA).send().is(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    sockets.pop();
    eventually("a socket that ended gives its place back", || {
        (gateway.get("/x").origin(NAVAJA).send().status == 200).then_some(())
    });
}

#[test]
fn a_client_that_asks_too_fast_is_told_when_to_come_back() {
    let gateway = gateway("[edge.admit]\nclient_requests_per_second = 5");
    let mut h2 = H2::open(&gateway);
    for number in 0..40_u32 {
        h2.send(request(number * 2 + 1, "/x"));
    }
    let mut statuses: Vec<u16> = Vec::new();
    while statuses.len() < 40 {
        let frame = h2.frame().unwrap();
        if frame.kind == HEADERS {
            statuses.push(h2_frames::status_of(&frame.payload));
        }
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    // All at once, so that however long one takes, more come than may.
    let mut wire = gateway.wire();
    wire.send(gateway.get("/x").origin(NAVAJA).bytes().repeat(20));
    let answers: Vec<_> = (0..20).map(|_| wire.answer()).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one is told to come back");
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
}
