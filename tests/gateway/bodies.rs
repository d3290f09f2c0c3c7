//! Bodies in both directions: streamed, bounded, cut short, and with all that HTTP puts around them.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{HOST, NAVAJA, TestGateway, eventually};

fn echo() -> TestGateway {
    TestGateway::builder().shops().worker("echo.mjs").start()
}

fn events(gateway: &TestGateway) -> String {
    gateway.get("/seen").origin(NAVAJA).send().is(200).json()["events"].to_string()
}

fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n{more}\r\n")
}

#[test]
fn a_large_answer_arrives_whole() {
    let gateway = echo();
    let bytes = 20_000_003_usize;
    for secure in [false, true] {
        let request = gateway.get(&format!("/big?bytes={bytes}")).origin(NAVAJA);
        let answer = if secure { request.secure() } else { request }.send().is(200);
        assert_eq!(answer.body.len(), bytes);
        let right =
            answer.body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % (251 * 256) % 251);
        assert!(right, "the body arrived changed");
    }
}

#[test]
fn a_large_upload_arrives_whole_by_length_and_by_chunks() {
    let gateway = echo();
    let body: Vec<u8> = (0..5_000_000_u32).map(|at| u8::try_from(at % 253).unwrap()).collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = gateway.post("/sink", &body).origin(NAVAJA).send().is(200).json();
    assert_eq!((&answer["bytes"], &answer["sha256"]), (&body.len().into(), &(*sha256).into()));

    let mut wire = gateway.wire();
    wire.send(head("POST", "/sink", "transfer-encoding: chunked\r\ntrailer: x-sum\r\n"));
    for chunk in body.chunks(77_777) {
        wire.send(format!("{:x}\r\n", chunk.len()));
        wire.send(chunk);
        wire.send("\r\n");
    }
    wire.send("0\r\nx-sum: 1\r\n\r\n");
    let answer = wire.answer().is(200).json();
    assert_eq!((&answer["bytes"], &answer["sha256"]), (&body.len().into(), &(*sha256).into()));
    assert_eq!(answer["trailers"]["x-sum"], "1", "{answer}");
}

#[test]
fn an_upload_is_passed_on_while_it_is_still_being_sent() {
    let gateway = echo();
    let mut wire = gateway.wire();
    wire.send(head("POST", "/stall?ms=300", "transfer-encoding: chunked\r\n"));
    wire.send("5\r\nfirst\r\n");
    eventually("the worker has the head before the body ends", || {
        let seen = gateway.get("/seen").origin(NAVAJA).send().json();
        seen["seen"].to_string().contains("/stall").then_some(())
    });
    wire.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(wire.answer().is(200).json()["received"], 11);
}

#[test]
fn a_client_that_does_not_read_slows_the_worker_down_instead_of_filling_memory() {
    let gateway = echo();
    let mut wire = gateway.get("/big?bytes=200000000").origin(NAVAJA).open();
    wire.head().is(200);
    let sent = || gateway.get("/progress").origin(NAVAJA).send().json()["sent"].as_u64().unwrap();
    let mut before = sent();
    let settled = eventually("the worker stops sending", || {
        thread::sleep(Duration::from_millis(300));
        let now = sent();
        let settled = now == before;
        before = now;
        settled.then_some(now)
    });
    assert!(settled < 50_000_000, "{settled} bytes went into buffers");
    wire.vanish();
}

#[test]
fn a_worker_that_does_not_read_slows_the_client_down() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("edge.limits.body_bytes_max = 200000000")
        .start();
    let mut wire = gateway.wire();
    let total = 60_000_000;
    let begun = Instant::now();
    wire.send(head("POST", "/stall?ms=1500", &format!("content-length: {total}\r\n")));
    for _ in 0..total / 60_000 {
        wire.send([b'x'; 60_000]);
    }
    assert!(begun.elapsed() > Duration::from_millis(700), "60 MB went into buffers at once");
    assert_eq!(wire.answer().is(200).json()["received"], total);
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let gateway = echo();
    let mut wire = gateway.get("/sse?events=4&every=700").origin(NAVAJA).open();
    let answer = wire.head().is(200).readable_from(NAVAJA);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let begun = Instant::now();
    assert_eq!(wire.chunk().as_deref(), Some(&b"data: 0\n\n"[..]));
    let first = begun.elapsed();
    for event in 1..4 {
        assert_eq!(wire.chunk(), Some(format!("data: {event}\n\n").into_bytes()));
    }
    assert!(begun.elapsed() - first > Duration::from_millis(500), "the events came all at once");
    assert_eq!(wire.chunk(), None);
}

#[test]
fn a_stream_lives_as_long_as_something_moves_and_a_dead_one_is_cut() {
    let limits = "[edge.limits]\nbody_idle_timeout = \"2s\"\nfirst_byte_timeout = \"5s\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    // Twelve events in 4.8 s: more than twice the idle timeout in all, never idle.
    let answer = gateway.get("/sse?events=12&every=400").origin(NAVAJA).send().is(200);
    assert!(answer.text().ends_with("data: 11\n\n"));
    let mut wire = gateway.get("/sse?events=3&every=5000&type=text/plain").origin(NAVAJA).open();
    wire.head().is(200);
    wire.try_chunk().expect_err("a stream without a sign of life goes on");
}

#[test]
fn trailers_pass_when_the_client_says_it_takes_them() {
    let gateway = echo();
    let answer = gateway.get("/chunked?chunks=2").origin(NAVAJA).header("te", "trailers").send().is(200);
    assert_eq!(answer.text(), "chunk 0\nchunk 1\n");
    assert_eq!(answer.trailers, [("x-checksum".to_owned(), "sum".to_owned())]);
}

#[test]
fn head_has_the_headers_of_get_and_no_body_and_the_connection_goes_on() {
    let gateway = echo();
    let mut wire = gateway.wire();
    wire.send(head("HEAD", "/headers?set=content-length:1000", ""));
    let answer = wire.answer().is(200).readable_from(NAVAJA);
    assert_eq!(answer.header("content-length"), Some("1000"));
    wire.send(head("GET", "/after", ""));
    assert_eq!(wire.answer().is(200).json()["url"], "/after");
    // Errors have no body to HEAD either.
    wire.send(format!("HEAD /x HTTP/1.1\r\nhost: {HOST}\r\norigin: https://stranger.example\r\n\r\n"));
    assert_eq!(wire.answer().status, 403);
    wire.send(head("GET", "/after", ""));
    wire.answer().is(200);
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let gateway = echo();
    let mut wire = gateway.wire();
    wire.send(head("POST", "/sink", "expect: 100-continue\r\ncontent-length: 5\r\n"));
    wire.head().is(100);
    wire.send("hello");
    assert_eq!(wire.answer().is(200).json()["bytes"], 5);
}

#[test]
fn a_body_that_would_be_too_large_is_refused_before_it_is_sent() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("edge.limits.body_bytes_max = 1000").start();
    let mut wire = gateway.wire();
    wire.send(head("POST", "/sink", "expect: 100-continue\r\ncontent-length: 5000\r\n"));
    wire.head().is(413);
    // Without a length it is seen when it passes the limit.
    let mut wire = gateway.wire();
    wire.send(head("POST", "/sink", "transfer-encoding: chunked\r\n"));
    for _ in 0..20 {
        // The answer may come while we still send, and the connection end with it.
        let _refused = wire.try_send(format!("64\r\n{}\r\n", "x".repeat(100)));
    }
    let _refused = wire.try_send("0\r\n\r\n");
    wire.answer().problem(413).readable_from(NAVAJA);
    let seen = gateway.get("/x").origin(NAVAJA).send().is(200);
    assert_eq!(seen.json()["url"], "/x");
    gateway.post("/sink", [b'x'; 1000]).origin(NAVAJA).send().is(200);
}

#[test]
fn ten_megabytes_of_headers_are_refused_and_the_gateway_lives_on() {
    let gateway = echo();
    for mut wire in [gateway.wire(), gateway.tls_wire()] {
        wire.send(format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n"));
        for line in 0..10_000 {
            if wire.try_send(format!("x-{line}: {}\r\n", "x".repeat(1000))).is_err() {
                break;
            }
        }
        let _refused = wire.try_send("\r\n");
        wire.answer().problem(431).varies_by_origin();
    }
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn the_worker_hears_when_the_client_vanishes() {
    let gateway = echo();
    let wire = gateway.get("/hang").origin(NAVAJA).open();
    eventually("the request arrived", || {
        let seen = gateway.get("/seen").origin(NAVAJA).send().json();
        seen["seen"].to_string().contains("/hang").then_some(())
    });
    wire.vanish();
    eventually("the worker hears of it", || events(&gateway).contains("hang: client gone").then_some(()));
    let mut wire = gateway.get("/sse?events=1000&every=20").origin(NAVAJA).open();
    wire.head().is(200);
    assert!(wire.chunk().is_some());
    wire.vanish();
    eventually("the worker hears of it", || events(&gateway).contains("sse: client gone").then_some(()));
    // A closed tab says goodbye; its worker hears it just as well.
    let heard = |gateway: &TestGateway| events(gateway).matches("hang: client gone").count();
    let wire = gateway.get("/hang").origin(NAVAJA).open();
    // Who says goodbye before the worker has the request is forgotten without troubling it.
    eventually("the second request arrived", || {
        let seen = gateway.get("/seen").origin(NAVAJA).send().json();
        (seen["seen"].to_string().matches("/hang").count() == 2).then_some(())
    });
    drop(wire);
    eventually("the worker hears of it", || (heard(&gateway) == 2).then_some(()));
    // In the middle of an upload.
    let mut wire = gateway.wire();
    wire.send(head("POST", "/sink", "content-length: 1000\r\n"));
    wire.send("half of it");
    eventually("the upload arrived", || {
        let seen = gateway.get("/seen").origin(NAVAJA).send().json();
        seen["seen"].to_string().contains("/sink").then_some(())
    });
    wire.vanish();
    eventually("the worker hears of it", || events(&gateway).contains("/sink").then_some(()));
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_worker_that_dies_in_the_middle_of_its_answer_cuts_the_connection_and_is_started_again() {
    let gateway = echo();
    let before = gateway.worker_pids();
    let mut wire = gateway.get("/crash-midway").origin(NAVAJA).open();
    let head = wire.head().is(200);
    assert_eq!(head.header("content-length"), Some("1000"));
    let body = wire.exactly(1000);
    assert!(body.is_err(), "the client takes half an answer for a whole one");
    gateway.get("/x").origin(NAVAJA).send().is(200);
    assert_ne!(gateway.worker_pids(), before);
    // Who reads the access log must see that this answer was not whole.
    let line = gateway.access_line(head.header("x-request-id").unwrap());
    assert!(line["code"].is_string(), "a cut answer looks like a whole one: {line}");
}

#[test]
fn many_requests_use_one_connection_one_after_the_other() {
    let gateway = echo();
    let mut wire = gateway.tls_wire();
    for number in 0..50 {
        wire.send(gateway.get(&format!("/{number}")).origin(NAVAJA).bytes());
        assert_eq!(wire.answer().is(200).json()["url"], format!("/{number}"));
    }
    // Pipelined, too.
    let two =
        [gateway.get("/one").origin(NAVAJA).bytes(), gateway.get("/two").origin(NAVAJA).bytes()].concat();
    wire.send(two);
    assert_eq!(wire.answer().json()["url"], "/one");
    assert_eq!(wire.answer().json()["url"], "/two");
}

#[test]
fn requests_that_two_parsers_could_read_differently_never_reach_the_worker() {
    let gateway = echo();
    for smuggled in [
        head("POST", "/smuggled", "content-length: 5\r\ncontent-length: 6\r\n") + "hello",
        head("POST", "/smuggled", "content-length: 5, 6\r\n") + "hello",
        head("POST", "/smuggled", "content-length: +5\r\n") + "hello",
        head("POST", "/smuggled", "transfer-encoding: xchunked\r\n") + "0\r\n\r\n",
        head("POST", "/smuggled", "transfer-encoding: chunked, identity\r\n") + "0\r\n\r\n",
        head("POST", "/smuggled", "transfer-encoding : chunked\r\n") + "0\r\n\r\n",
        head("GET", "/smuggled", "x: a\r\n folded: b\r\n"),
        head("GET", "/smuggled", "x: a\u{0}b\r\n"),
        head("GET", "/smuggled", "bad header: x\r\n"),
    ] {
        for mut wire in [gateway.wire(), gateway.tls_wire()] {
            wire.send(&smuggled);
            let answer = wire.answer().problem(400).varies_by_origin();
            assert!(wire.is_closed());
            drop(wire);
            assert_eq!(gateway.access_line(answer.header("x-request-id").unwrap())["client"], "127.0.0.1");
        }
    }
    let seen = gateway.get("/seen").origin(NAVAJA).send().json();
    assert!(!seen["seen"].to_string().contains("smuggled"), "{seen}");
}

#[test]
fn a_length_beside_chunks_is_refused_and_what_follows_is_never_read() {
    let gateway = echo();
    // By its length the body holds a second request; by its chunks it is empty.
    let inner = "0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: api.example\r\nx-gateway-tenant: barba\r\n\r\n";
    let length = format!("content-length: {}\r\n", inner.len());
    let chunked = "transfer-encoding: chunked\r\n";
    for lengths in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        let mut wire = gateway.wire();
        wire.send(head("POST", "/smuggled", &lengths) + inner);
        wire.answer().problem(400).readable_by_nobody();
        assert!(wire.is_closed());
    }
    let seen = gateway.get("/seen").origin(NAVAJA).send().json()["seen"].to_string();
    assert!(!seen.contains("smuggled") && !seen.contains("hidden"), "{seen}");
}
