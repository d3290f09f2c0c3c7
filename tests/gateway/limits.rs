//! Limits of connections and requests that are no topic of their own.

use std::time::Duration;

use crate::{HOST, NAVAJA, TestGateway, eventually};

#[test]
fn a_connection_without_request_is_closed_after_the_idle_timeout() {
    let limits =
        "[edge.limits]\nidle_timeout = \"700ms\"\nheader_timeout = \"700ms\"\nhandshake_timeout = \"700ms\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    // Never said anything.
    assert!(gateway.wire().is_closed());
    // Half a head.
    let mut wire = gateway.wire();
    wire.send(format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\n"));
    assert_eq!(wire.answer().is(408).json()["code"], "headers-slow");
    assert!(wire.is_closed());
    // Idle after an answer.
    let mut wire = gateway.get("/x").origin(NAVAJA).open();
    wire.answer().is(200);
    assert!(wire.is_closed());
    // A TLS handshake that never ends.
    let mut wire = crate::Wire::tcp(gateway.https());
    wire.send([0x16, 0x03, 0x01, 0x02]);
    assert!(wire.is_closed());
    // An upload that stops.
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn more_headers_than_allowed_are_refused() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("edge.limits.headers_max = 20").start();
    let mut request = gateway.get("/x").origin(NAVAJA);
    for number in 0..15 {
        request = request.header(&format!("x-{number}"), "1");
    }
    request.send().is(200);
    for number in 15..40 {
        request = request.header(&format!("x-{number}"), "1");
    }
    request.send().is(431);
}

#[test]
fn connections_above_the_limit_wait_and_are_served_when_one_ends() {
    let limits = "[edge.limits]\nconnections_max = 4\n[edge]\nthreads = 1";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    let mut open: Vec<_> = (0..4).map(|_| gateway.get("/x").origin(NAVAJA).open()).collect();
    for wire in &mut open {
        wire.answer().is(200);
    }
    let mut waiting = gateway.get("/late").origin(NAVAJA).open();
    assert!(!waiting.comes_within(Duration::from_millis(500)), "a fifth connection was served");
    open.clear();
    assert_eq!(waiting.answer().is(200).json()["url"], "/late");
}

#[test]
fn idle_connections_to_a_worker_are_closed_before_nodes_own_five_seconds() {
    let gateway = TestGateway::builder().shops().worker("keeps.mjs").start();
    gateway.get("/asked").origin(NAVAJA).send().is(200);
    eventually("one of the two has closed it", || {
        gateway.log().contains("closed by the gateway").then_some(())
    });
    assert!(!gateway.log().contains("closed by the worker"), "{}", gateway.log());
}
