//! WebSockets: judged like any other request, then left alone.

use std::net::SocketAddr;

use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest, protocol::WebSocket};

use crate::{Answer, HOST, NAVAJA, STRANGER, TestGateway, Wire, eventually, wire::Stream};

fn echo() -> TestGateway {
    TestGateway::builder().shops().worker("echo.mjs").start()
}

/// The upgrade as a browser asks for it; its answer's head decides.
fn upgrade(gateway: &TestGateway, path: &str, origin: Option<&str>) -> Answer {
    let mut request = gateway
        .get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    if let Some(origin) = origin {
        request = request.origin(origin);
    }
    request.open().head()
}

fn connect(gateway: &TestGateway, secure: bool) -> WebSocket<Box<dyn Stream>> {
    connect_as(gateway, NAVAJA, secure)
}

/// A WebSocket of a page of this origin.
pub(crate) fn connect_as(gateway: &TestGateway, origin: &str, secure: bool) -> WebSocket<Box<dyn Stream>> {
    let (wire, scheme) = if secure { (gateway.tls_wire(), "wss") } else { (gateway.wire(), "ws") };
    connect_from(origin, wire, scheme)
}

fn connect_over(wire: Wire, scheme: &str) -> WebSocket<Box<dyn Stream>> {
    connect_from(NAVAJA, wire, scheme)
}

fn connect_from(origin: &str, wire: Wire, scheme: &str) -> WebSocket<Box<dyn Stream>> {
    let mut request = format!("{scheme}://{HOST}/ws").into_client_request().unwrap();
    request.headers_mut().insert("origin", origin.parse().unwrap());
    tungstenite::client(request, wire.into_stream()).map(|(socket, _)| socket).unwrap()
}

#[test]
fn messages_pass_both_ways_over_http_and_https() {
    let gateway = echo();
    for secure in [false, true] {
        let mut socket = connect(&gateway, secure);
        for message in
            [Message::text("hello"), Message::binary(vec![0, 255, 1]), Message::text("x".repeat(3_000_000))]
        {
            socket.send(message.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), message);
        }
        socket.send(Message::text("headers")).unwrap();
        let headers: serde_json::Value =
            serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(headers["x-gateway-tenant"], "navaja");
        assert!(headers["x-gateway-database-url"].is_string());
        socket.close(None).unwrap();
    }
}

#[test]
fn an_upgrade_from_an_origin_that_is_not_listed_never_reaches_the_worker() {
    let gateway = echo();
    for origin in [STRANGER, "null", "http://navaja.example"] {
        upgrade(&gateway, "/ws", Some(origin)).is(403).readable_by_nobody();
    }
    upgrade(&gateway, "/ws", Some(NAVAJA)).is(101);
    let seen = gateway.get("/seen").origin(NAVAJA).send().json();
    assert_eq!(seen["seen"].to_string().matches("UPGRADE").count(), 1, "{seen}");
}

#[test]
fn a_suspended_tenants_upgrade_is_refused() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    upgrade(&gateway, "/ws", Some(NAVAJA)).is(101);
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    upgrade(&gateway, "/ws", Some(NAVAJA)).is(403).readable_from(NAVAJA);
}

#[test]
fn the_workers_refusal_of_an_upgrade_is_an_ordinary_answer() {
    let gateway = echo();
    upgrade(&gateway, "/refuse-upgrade", Some(NAVAJA)).is(400).readable_from(NAVAJA);
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn both_ends_close_properly() {
    let gateway = echo();
    let mut socket = connect(&gateway, false);
    socket.send(Message::text("close")).unwrap();
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!("no close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "as asked"));
    let mut socket = connect(&gateway, false);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    eventually("the worker hears the close", || {
        let events = gateway.get("/seen").origin(NAVAJA).send().json()["events"].to_string();
        events.contains("websocket: closed 1005").then_some(())
    });
}

#[test]
fn a_client_that_vanishes_and_a_worker_that_dies_end_the_other_side() {
    let gateway = echo();
    drop(connect(&gateway, false));
    eventually("the worker hears that the client is gone", || {
        let events = gateway.get("/seen").origin(NAVAJA).send().json()["events"].to_string();
        events.contains("websocket: closed 1006").then_some(())
    });
    let mut socket = connect(&gateway, false);
    socket.send(Message::text("crash")).unwrap();
    assert!(socket.read().is_err() || !socket.can_read());
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_silent_websocket_outlives_the_request_timeouts_and_ends_at_its_own() {
    let limits = "[edge.limits]\nidle_timeout = \"300ms\"\nbody_idle_timeout = \"300ms\"\nheader_timeout = \"300ms\"\n\
                  first_byte_timeout = \"300ms\"\nupgrade_idle_timeout = \"4s\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    let mut socket = connect(&gateway, false);
    std::thread::sleep(std::time::Duration::from_millis(900));
    socket.send(Message::text("still here")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still here"));
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1001, "nothing moved for longer than `upgrade_idle_timeout`");
}

#[test]
fn a_reload_of_the_configuration_keeps_websockets() {
    let gateway = echo();
    let mut socket = connect(&gateway, true);
    gateway.site().configure("[cors]\nmax_age = \"1m\"");
    gateway.cli(&["reload"]).ok();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
}

#[test]
fn upgrades_do_not_hold_the_stop_beyond_its_grace() {
    let gateway = echo();
    let address: SocketAddr = gateway.http();
    let mut socket = connect_over(Wire::tcp(address), "ws");
    socket.send(Message::text("hello")).unwrap();
    socket.read().unwrap();
    gateway.stop();
    assert!(socket.read().is_err() || !socket.can_read());
}
