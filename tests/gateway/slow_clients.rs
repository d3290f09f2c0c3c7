//! Clients that hold connections and do little: each has its limit, costs bounded memory, and everybody else is
//! served all the while.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
};

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
fn an_upload_that_drips_is_no_better_than_one_that_stops_and_a_slow_one_arrives() {
    // A round of all of them takes 100 ms: 10 bytes a second each.
    let gateway = gateway("[edge.limits]\nbody_idle_timeout = \"3s\"\nbody_bytes_per_second_min = 500");
    let bystander = Bystander::of(&gateway);
    let head = |length: u32| {
        format!("POST /sink HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\ncontent-length: {length}\r\n\r\n")
    };
    // No more than a worker that has just begun takes at a time, so that none waits for its turn.
    let mut dripping: Vec<_> =
        (0..12).map(|number| if number % 2 == 0 { gateway.tls_wire() } else { gateway.wire() }).collect();
    dripping.iter_mut().for_each(|wire| wire.send(head(100_000)));
    let mut slow = gateway.wire();
    slow.send(head(100_000));
    let mut rounds = 0;
    for _ in 0..100 {
        rounds += 1;
        let sent = dripping.iter_mut().filter_map(|wire| wire.try_send(b"x").ok()).count();
        slow.send(vec![b'x'; 1000]);
        std::thread::sleep(std::time::Duration::from_millis(100));
        if sent == 0 {
            break;
        }
    }
    assert!(rounds < 100, "an upload that drips is never ended");
    assert!(metric(&gateway, "gateway_refusals_total{code=\"body-stalled\"}") >= 12);
    slow.send(vec![b'x'; 100_000 - rounds * 1000]);
    slow.answer().is(200);
    bystander.was_served();
}

#[test]
fn a_crowd_that_drips_heads_and_handshakes_is_ended_in_time_and_nobody_else_notices() {
    const EACH: usize = 250;
    let limits = "[edge.limits]\nheader_timeout = \"1s\"\nhandshake_timeout = \"1s\"\nconnections_per_client_max = 2000";
    let gateway = gateway(limits);
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    // A ClientHello that is never whole: a record of 512 bytes, its first ones.
    let (hello, head) =
        ([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\nx-drip: "));
    let mut crowd: Vec<(Wire, bool)> = Vec::new();
    for _ in 0..EACH {
        let (mut plain, mut secure) = (gateway.wire(), Wire::tcp(gateway.https()));
        plain.send(&head);
        secure.send(hello);
        crowd.extend([(plain, false), (secure, true)]);
    }
    let open = || metric(&gateway, "gateway_connections_open");
    let most = open();
    assert!(most > 100, "only {most} were open at once");
    let after = anonymous_bytes(gateway.pid());
    assert!(after < before + MEMORY_BYTES_MAX, "memory went from {before} to {after}");
    eventually("each is ended, however it drips", || {
        // Whoever is still there moves all the while.
        crowd.retain_mut(|(wire, secure)| wire.try_send(if *secure { &[0][..] } else { b"x" }).is_ok());
        (open() < 10).then_some(())
    });
    bystander.was_served();
    assert!(metric(&gateway, "gateway_cuts_total{code=\"headers-slow\"}") >= EACH as u64);
    assert!(metric(&gateway, "gateway_cuts_total{code=\"handshake-slow\"}") >= EACH as u64);
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
fn a_client_that_takes_less_than_it_must_is_cut_and_one_that_takes_more_is_not() {
    // Far more than any line brings, so that whoever waits between two reads is too slow.
    let gateway =
        gateway("[edge.limits]\nbody_idle_timeout = \"2s\"\nanswer_bytes_per_second_min = 50_000_000");
    let ask = |bytes: &str| {
        let mut stream = TcpStream::connect(gateway.http()).unwrap();
        stream.write_all(&gateway.get(bytes).origin(NAVAJA).bytes()).unwrap();
        stream
    };
    let mut slow = ask("/big?bytes=1000000000");
    let mut buffer = vec![0; 100_000];
    let mut rounds = 0;
    // A cut connection ends with a reset, or with less than it has promised.
    while slow.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
        rounds += 1;
        assert!(rounds < 1500, "it is never cut");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(metric(&gateway, "gateway_cuts_total{code=\"not-reading\"}"), 1);
    // Whom the gateway waits for is not this one: it is the worker that takes its time.
    gateway.get("/slow?ms=3000").origin(NAVAJA).send().is(200);
    gateway.get("/big?bytes=20000000").origin(NAVAJA).send().is(200);
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
