//! How WebSockets end: by half, at a frame's end, with a reason that both sides read.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocket};

use crate::{BARBA, NAVAJA, TestGateway, Wire, eventually, websocket::connect_as, wire::Stream};

/// A gateway whose tenants can be suspended: those in the file cannot.
fn two_tenants(program: &str, config: &str) -> TestGateway {
    let gateway = TestGateway::builder().worker(program).config(config).start();
    for (id, origin) in [("navaja", NAVAJA), ("barba", BARBA)] {
        gateway
            .cli(&["tenant", "add", id, "--origin", origin, "--database", &format!("sqlite://{id}.db")])
            .ok();
    }
    gateway
}

/// A masked text frame as clients send it; the mask is zero, so that it can be read.
fn frame(text: &str) -> Vec<u8> {
    [&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0], text.as_bytes()].concat()
}

/// The next frame's first byte and payload, unmasked as servers send it.
#[track_caller]
fn next_frame(wire: &mut Wire) -> (u8, Vec<u8>) {
    let head = wire.exactly(2).unwrap();
    let length = match head[1] {
        126 => wire.exactly(2).unwrap().iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        short => short.into(),
    };
    (head[0], wire.exactly(length).unwrap())
}

/// A WebSocket with every byte in the test's hand.
#[track_caller]
fn switched(gateway: &TestGateway, path: &str, origin: &str, secure: bool) -> Wire {
    let request = gateway
        .get(path)
        .origin(origin)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = if secure { request.secure() } else { request };
    let mut wire = request.open();
    assert_eq!(wire.head().status, 101);
    wire
}

#[track_caller]
fn closed_with(socket: &mut WebSocket<Box<dyn Stream>>) -> u16 {
    match socket.read() {
        Ok(Message::Close(Some(frame))) => frame.code.into(),
        other => panic!("no close frame: {other:?}"),
    }
}

fn seen(gateway: &TestGateway) -> Value {
    gateway.get("/seen").origin(BARBA).send().json()
}

#[track_caller]
fn worker_hears(gateway: &TestGateway, event: &str) {
    eventually(&format!("the worker hears: {event}"), || {
        seen(gateway)["events"].to_string().contains(event).then_some(())
    });
}

/// The access log's line of the WebSocket at this path.
#[track_caller]
fn logged(gateway: &TestGateway, path: &str, code: &str) -> Value {
    eventually(&format!("the access log has {path} as {code}"), || {
        gateway.access_log().into_iter().find(|line| line["path"] == path && line["code"] == code)
    })
}

#[track_caller]
fn counted(gateway: &TestGateway, reason: &str, count: u32) {
    let line = format!("gateway_websockets_closed_total{{reason=\"{reason}\"}} {count}\n");
    eventually(&format!("the metrics have {line}"), || {
        gateway.admin("GET", "/metrics")?.text().contains(&line).then_some(())
    });
}

#[test]
fn suspend_remove_and_rotate_close_the_tenants_websockets_on_both_sides_and_nobody_elses() {
    for (order, code, reason) in [
        (&["tenant", "suspend", "navaja"][..], 1008, "tenant-suspended"),
        (&["tenant", "remove", "navaja"], 1008, "tenant-removed"),
        (&["tenant", "rotate", "navaja"], 1012, "tenant-rotated"),
        (&["tenant", "set", "navaja", "--remove-origin", NAVAJA], 1008, "origin-not-listed"),
    ] {
        let gateway = two_tenants("echo.mjs", "");
        let mut closed: Vec<_> = (0..6).map(|turn| connect_as(&gateway, NAVAJA, turn % 2 == 0)).collect();
        let mut stays = connect_as(&gateway, BARBA, true);
        gateway.cli(order).ok();
        for socket in &mut closed {
            assert_eq!(closed_with(socket), code, "{order:?}");
        }
        worker_hears(&gateway, &format!("websocket: closed {code}"));
        let line = logged(&gateway, "/ws", reason);
        assert_eq!((&line["tenant"], &line["status"]), (&"navaja".into(), &101.into()), "{line}");
        counted(&gateway, reason, 6);
        stays.send(Message::text("hello")).unwrap();
        assert_eq!(stays.read().unwrap(), Message::text("hello"));
    }
}

#[test]
fn a_pause_and_changes_that_end_no_ticket_keep_websockets() {
    let gateway = two_tenants("echo.mjs", "");
    let mut socket = connect_as(&gateway, NAVAJA, true);
    gateway.cli(&["tenant", "pause", "navaja"]).ok();
    gateway.cli(&["tenant", "add", "third", "--origin", "https://third.example"]).ok();
    gateway.cli(&["tenant", "resume", "navaja"]).ok();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
}

#[test]
fn a_drain_says_going_away_to_both_sides() {
    let gateway = two_tenants("echo.mjs", "");
    let mut sockets: Vec<_> = (0..4).map(|turn| connect_as(&gateway, NAVAJA, turn % 2 == 0)).collect();
    gateway.signal(Signal::SIGTERM);
    for socket in &mut sockets {
        assert_eq!(closed_with(socket), 1001);
    }
    let site = gateway.stop();
    let log = std::fs::read_to_string(site.path().join("stdout.log")).unwrap();
    assert_eq!(log.matches("\"code\":\"draining\"").count(), 4, "{log}");
}

#[test]
fn idle_websockets_are_told_so_on_both_sides() {
    let gateway = two_tenants("echo.mjs", "edge.limits.upgrade_idle_timeout = \"600ms\"");
    let mut socket = connect_as(&gateway, NAVAJA, true);
    assert_eq!(closed_with(&mut socket), 1001);
    worker_hears(&gateway, "websocket: closed 1001");
    logged(&gateway, "/ws", "idle");
}

#[test]
fn who_closed_stands_in_the_access_log() {
    let gateway = two_tenants("echo.mjs", "");
    let mut socket = connect_as(&gateway, NAVAJA, false);
    socket.send(Message::text("hello")).unwrap();
    socket.read().unwrap();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let line = logged(&gateway, "/ws", "client-closed");
    // A head and a mask of the client's frames each, a head of the worker's; two bytes of close code back, if any.
    assert_eq!(line["bytes_in"], 5 + 6 + 6, "{line}");
    assert!(line["bytes_out"].as_u64().unwrap() >= 5 + 2 + 2, "{line}");
    let mut socket = connect_as(&gateway, NAVAJA, false);
    socket.send(Message::text("close")).unwrap();
    assert_eq!(closed_with(&mut socket), 4001);
    while socket.read().is_ok() {}
    logged(&gateway, "/ws", "worker-closed");
    connect_over_and_vanish(&gateway);
    logged(&gateway, "/silent", "client-gone");
}

fn connect_over_and_vanish(gateway: &TestGateway) {
    switched(gateway, "/silent", NAVAJA, false).vanish();
}

#[test]
fn after_the_clients_half_close_the_worker_hears_the_end_and_goes_on() {
    let gateway = two_tenants("sockets.mjs", "");
    for secure in [false, true] {
        let mut wire = switched(&gateway, "/client-half", NAVAJA, secure);
        wire.send(frame("my last word"));
        wire.half_close();
        for turn in 1..=3 {
            assert_eq!(next_frame(&mut wire), (0x81, format!("still here {turn}").into_bytes()));
        }
        assert!(wire.is_closed());
    }
    worker_hears(&gateway, "client-half: heard the end");
    logged(&gateway, "/client-half", "client-closed");
}

#[test]
fn after_the_workers_half_close_the_client_hears_the_end_and_goes_on() {
    let gateway = two_tenants("sockets.mjs", "");
    for secure in [false, true] {
        let mut wire = switched(&gateway, "/worker-half", NAVAJA, secure);
        assert_eq!(next_frame(&mut wire), (0x81, b"my last word".to_vec()));
        assert!(wire.is_closed(), "the worker's end did not come");
        for _ in 0..3 {
            wire.send(frame("still here"));
        }
        wire.half_close();
    }
    eventually("the worker heard all of it, twice", || {
        let events = seen(&gateway)["events"].to_string();
        (events.matches("worker-half: heard 48 bytes and the end").count() == 2).then_some(())
    });
    logged(&gateway, "/worker-half", "worker-closed");
}

#[test]
fn a_side_that_says_nothing_after_the_others_end_is_cut_after_the_close_timeout() {
    let gateway = two_tenants("sockets.mjs", "edge.limits.upgrade_close_timeout = \"500ms\"");
    let mut wire = switched(&gateway, "/silent", NAVAJA, false);
    wire.half_close();
    worker_hears(&gateway, "silent: heard the end");
    assert!(wire.is_closed());
    logged(&gateway, "/silent", "client-closed");
}

#[test]
fn a_goodbye_waits_for_the_end_of_the_workers_frame() {
    let gateway = two_tenants("sockets.mjs", "");
    let mut wire = switched(&gateway, "/half-frame", NAVAJA, true);
    assert_eq!(wire.exactly(5).unwrap(), b"\x81\x0cin ");
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    // The worker goes on when it hears our goodbye.
    assert_eq!(wire.exactly(9).unwrap(), b"one piece");
    let (first, payload) = next_frame(&mut wire);
    assert_eq!((first, &payload[..2]), (0x88, &1008u16.to_be_bytes()[..]));
    assert!(String::from_utf8_lossy(&payload[2..]).contains("suspended"));
}

#[test]
fn no_goodbye_is_put_into_the_middle_of_a_frame_that_does_not_end() {
    let gateway = two_tenants("sockets.mjs", "");
    let mut wire = switched(&gateway, "/silent", NAVAJA, false);
    wire.send(&frame("unfinished")[..9]);
    worker_hears(&gateway, "heard 818a00000000756e66");
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    // The other direction stands at a frame's end.
    assert_eq!(next_frame(&mut wire).0, 0x88);
    worker_hears(&gateway, "silent: heard the end");
    let events = seen(&gateway)["events"].to_string();
    assert_eq!(events.matches("heard 8").count(), 1, "more than the client's own bytes: {events}");
}

#[test]
fn clients_are_told_when_their_worker_ends() {
    let gateway = two_tenants("sockets.mjs", "");
    let mut wire = switched(&gateway, "/silent", NAVAJA, true);
    // The old worker drains, then gets SIGTERM, which ends it and its connections without a word.
    gateway.cli(&["backend", "restart", "api"]).ok();
    let (first, payload) = next_frame(&mut wire);
    assert_eq!((first, &payload[..2]), (0x88, &1012u16.to_be_bytes()[..]));
    logged(&gateway, "/silent", "worker-gone");
}

#[test]
fn a_client_that_does_not_read_stops_the_worker_and_loses_nothing() {
    for secure in [false, true] {
        let gateway = two_tenants("sockets.mjs", "");
        let before = memory_bytes(&gateway);
        let mut wire = switched(&gateway, "/flood", NAVAJA, secure);
        // All 64 MiB would come in a moment if anybody took them.
        let mut last = 0;
        let sent = eventually("the worker is stopped", || {
            let sent = seen(&gateway)["progress"]["sent"].as_u64().unwrap();
            let stopped = sent > 0 && sent == std::mem::replace(&mut last, sent);
            std::thread::sleep(Duration::from_millis(100));
            stopped.then_some(sent)
        });
        assert!(sent < 32 * 1024 * 1024, "{sent} bytes went nowhere");
        let grown = memory_bytes(&gateway).saturating_sub(before);
        assert!(grown < 8 * 1024 * 1024, "the gateway holds {grown} bytes");
        let frames = std::iter::from_fn(|| Some(next_frame(&mut wire).1.len())).take(4096);
        assert_eq!(frames.sum::<usize>(), 4096 * 16_380);
        assert!(wire.is_closed());
    }
}

#[test]
fn a_worker_that_does_not_read_stops_the_client_and_loses_nothing() {
    let gateway = two_tenants("sockets.mjs", "");
    let before = memory_bytes(&gateway);
    let mut wire = switched(&gateway, "/deaf", NAVAJA, false);
    wire.give_up_writing_after(Duration::from_secs(1));
    let piece = [&[0x82, 0xfe, 0x40, 0, 0, 0, 0, 0][..], &[7; 16 * 1024]].concat();
    let mut sent = 0;
    while let Ok(count) = wire.try_send_some(&piece[sent % piece.len()..]) {
        sent += count;
        assert!(sent < 64 * 1024 * 1024, "{sent} bytes went nowhere");
    }
    let grown = memory_bytes(&gateway).saturating_sub(before);
    assert!(grown < 8 * 1024 * 1024, "the gateway holds {grown} bytes");
    gateway.get("/wake").origin(BARBA).send().is(200);
    wire.half_close();
    eventually("the worker has all of it", || (seen(&gateway)["progress"]["received"] == sent).then_some(()));
}

#[test]
fn open_websockets_are_requests_in_flight_of_their_client() {
    let gateway = two_tenants("echo.mjs", "edge.admit.client_in_flight_max = 2");
    let first = connect_as(&gateway, NAVAJA, false);
    let _second = connect_as(&gateway, NAVAJA, true);
    gateway.get("/x").origin(NAVAJA).send().is(429).readable_from(NAVAJA);
    // Another tenant's are counted apart.
    gateway.get("/x").origin(BARBA).send().is(200);
    drop(first);
    eventually("the place is free again", || {
        (gateway.get("/x").origin(NAVAJA).send().status == 200).then_some(())
    });
}

#[test]
fn a_handshake_with_a_body_is_refused() {
    let gateway = two_tenants("echo.mjs", "");
    let request = gateway
        .get("/ws")
        .origin(NAVAJA)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body("GET /smuggled HTTP/1.1\r\nhost: api.example\r\n\r\n");
    request.send().is(400).readable_from(NAVAJA);
    assert!(!seen(&gateway)["seen"].to_string().contains("smuggled"));
}

/// Resident memory of the gateway's process.
fn memory_bytes(gateway: &TestGateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
