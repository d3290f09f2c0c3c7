//! Clients that hold connections and do little: each has its limit, costs bounded memory, and everybody else is
//! served all the while.

use std::net::{IpAddr, Ipv4Addr, TcpStream};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    HOST, NAVAJA, TestGateway, Wire,
    bystander::Bystander,
    eventually,
    memory::{anonymous_bytes, metric},
};

/// What slow clients may hold of memory: far more than they should, far less than without a bound.
const MEMORY_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// As many as the issue of this product names.
const IDLE: usize = 10_000;

/// What an idle connection may cost, in a build without optimisation: a release takes half of it.
const IDLE_BYTES_MAX: u64 = 24 * 1024;

fn gateway(config: &str) -> TestGateway {
    let admit = "[edge.admit]\nclient_in_flight_max = 1000\ntenant_in_flight_max = 1000";
    TestGateway::builder().shops().worker("echo.mjs").config(admit).config(config).start()
}

#[test]
fn uploads_that_stop_are_answered_and_ended_and_nobody_else_notices() {
    let gateway = gateway("edge.limits.body_idle_timeout = \"700ms\"");
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let head =
        |more: &str| format!("POST /sink HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n{more}\r\n\r\n");
    let slow = [
        head("content-length: 1000000") + "some of it",
        head("content-length: 1000000"),
        head("transfer-encoding: chunked") + "5\r\nhello\r\n",
        head("transfer-encoding: chunked") + "fffff\r\nhel",
    ];
    let mut held: Vec<Wire> = Vec::new();
    for number in 0..80 {
        let mut wire = if number % 2 == 0 { gateway.tls_wire() } else { gateway.wire() };
        wire.send(&slow[number / 2 % slow.len()]);
        held.push(wire);
    }
    for wire in &mut held {
        let answer = wire.answer().is(408);
        assert_eq!(
            (answer.json()["code"].as_str(), answer.header("connection")),
            (Some("body-stalled"), Some("close"))
        );
        assert!(wire.is_closed());
    }
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    assert!(metric(&gateway, "gateway_refusals_total{code=\"body-stalled\"}") >= 80);
}

#[test]
fn clients_that_do_not_read_are_cut_and_nobody_else_notices() {
    let gateway = gateway("edge.limits.body_idle_timeout = \"700ms\"");
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let big = gateway.get("/big?bytes=100000000").origin(NAVAJA);
    // They ask for 4 GB in all, and take nothing of it.
    let held: Vec<Wire> = (0..40)
        .map(|number| if number % 2 == 0 { big.clone().secure() } else { big.clone() }.open())
        .collect();
    eventually("each is cut", || {
        (metric(&gateway, "gateway_cuts_total{code=\"not-reading\"}") >= 40).then_some(())
    });
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    eventually("each is in the access log", || {
        let stalled =
            gateway.access_log().into_iter().filter(|line| line["code"] == "client-stalled").count();
        (stalled == 40).then_some(())
    });
    drop(held);
}

#[test]
fn one_address_has_its_share_of_connections_and_another_one_its_own() {
    let gateway = gateway("edge.limits.connections_per_client_max = 8");
    let hog = IpAddr::from(Ipv4Addr::new(127, 0, 0, 7));
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    let mut held: Vec<Wire> = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::tcp_from(hog, gateway.http());
        wire.send(&request);
        wire.answer().is(200);
        held.push(wire);
    }
    // On every listener: the limit is the client's, not the thread's.
    for address in [gateway.http(), gateway.https()] {
        for _ in 0..5 {
            assert!(Wire::tcp_from(hog, address).is_closed(), "a ninth connection was served");
        }
    }
    assert_eq!(metric(&gateway, "gateway_cuts_total{code=\"client-connections\"}"), 10);
    assert!(gateway.log().contains("client-connections") && gateway.log().contains("127.0.0.7"));
    gateway.get("/x").origin(NAVAJA).send().is(200);
    for wire in &mut held {
        wire.send(&request);
        wire.answer().is(200);
    }
    held.pop();
    eventually("a place that was given back is given out", || {
        let mut wire = Wire::tcp_from(hog, gateway.http());
        wire.try_send(&request).ok()?;
        wire.try_head().ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn ten_thousand_idle_connections_cost_bounded_memory_and_nobody_else_notices() {
    let idle = IDLE.min(descriptors() * 3 / 4);
    let limits =
        "[edge.limits]\nconnections_max = 20000\nconnections_per_client_max = 20000\nidle_timeout = \"10m\"";
    let gateway = gateway(limits);
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    let mut held: Vec<Wire> = Vec::new();
    // Some never say a word, some have asked, one in ten over TLS.
    let mut mute: Vec<TcpStream> = Vec::new();
    for number in 0..idle {
        match number % 10 {
            0 => held.push(gateway.get("/x").origin(NAVAJA).secure().open()),
            1..5 => held.push(gateway.get("/x").origin(NAVAJA).open()),
            _ => mute.push(TcpStream::connect(gateway.http()).unwrap()),
        }
        if let Some(wire) = held.last_mut().filter(|_| number % 10 < 5) {
            wire.answer().is(200);
        }
    }
    let open = || metric(&gateway, "gateway_connections_open");
    eventually("all are open at once", || (open() >= idle as u64).then_some(()));
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    let each = after.saturating_sub(before) / idle as u64;
    eprintln!("{idle} idle connections: {each} bytes each");
    assert!(each < IDLE_BYTES_MAX, "{each} bytes an idle connection; memory went from {before} to {after}");
    // They are as good as new.
    for wire in held.iter_mut().step_by(100) {
        wire.send(&request);
        wire.answer().is(200);
    }
    drop((held, mute));
    eventually("all are gone", || (open() < 10).then_some(()));
}

/// As many as the system lets this process have.
fn descriptors() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap_or(usize::MAX)
}
