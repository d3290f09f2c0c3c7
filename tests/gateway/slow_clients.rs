//! Clients that hold connections and do little: each has its limit, costs bounded memory, and everybody else is
//! served all the while.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    HOST, NAVAJA, TestGateway, Wire,
    bystander::Bystander,
    eventually,
    h2_frames::{DATA, END_HEADERS, END_STREAM, H2, HEADERS, Outcome, block, frame, get, headers},
    memory::{anonymous_bytes, metric},
};

/// What slow clients may hold of memory: far more than they should, far less than without a bound.
const MEMORY_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// RFC 9113 6.10.
const CONTINUATION: u8 = 0x9;

/// As many as the issue of this product names.
const IDLE: usize = 10_000;

/// What an idle connection may cost, in a build without optimisation: a release takes half of it.
const IDLE_BYTES_MAX: u64 = 24 * 1024;
const IDLE_H2_BYTES_MAX: u64 = 48 * 1024;

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
    // A round of all of them takes 100 ms: 10 bytes a second each, or fewer on a busy machine.
    let gateway = gateway("[edge.limits]\nbody_idle_timeout = \"3s\"\nbody_bytes_per_second_min = 100");
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
    // It is the worker's time as well, and this one has 4 GB to write.
    let gateway = gateway("edge.limits.body_idle_timeout = \"4s\"");
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
    // Ten times what the first one takes, and far less than whoever reads on and on does on a busy machine too.
    let gateway =
        gateway("[edge.limits]\nbody_idle_timeout = \"2s\"\nanswer_bytes_per_second_min = 10_000_000");
    let ask = |bytes: &str| {
        let mut stream = TcpStream::connect(gateway.http()).unwrap();
        stream.write_all(&gateway.get(bytes).origin(NAVAJA).bytes()).unwrap();
        stream
    };
    let mut slow = ask("/big?bytes=1000000000");
    let mut buffer = vec![0; 20_000];
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
    let log = gateway.has_logged("client-connections");
    assert!(log.contains("127.0.0.7"), "{log}");
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

/// HTTP/2 has no hook for it: each of these ends, though its bytes keep coming and another answer is on its way.
#[test]
fn heads_that_drip_over_http_2_are_ended_in_time_and_nobody_else_notices() {
    let limits = "[edge.limits]\nheader_timeout = \"2s\"\nidle_timeout = \"10m\"";
    let gateway = gateway(limits);
    let bystander = Bystander::of(&gateway);
    // Complete heads, and what is no head: these live on.
    let mut idle = H2::open(&gateway);
    idle.send(request(1, "/x"));
    assert!(matches!(idle.outcome(1), Outcome::Answered { status: 200, .. }));
    let mut uploads = H2::open(&gateway);
    let mut fields = get("/sink");
    fields[0].1 = "POST".to_owned();
    fields.push(("origin", NAVAJA.to_owned()));
    uploads.send(headers(1, 0, &fields));
    // Half of a piece of a body, which has a time of its own.
    let body = frame(DATA, END_STREAM, 1, &[b'x'; 1000]);
    uploads.send(&body[..500]);

    // Heads that are never whole: the frame's own head, its payload, between two frames, in the next one's.
    let begun = frame(HEADERS, END_STREAM, 1, &block(&get("/drip")));
    let alone = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0; 8000]);
    let in_two = [begun.clone(), frame(CONTINUATION, END_HEADERS, 1, &[0; 8000])].concat();
    let mut dripping: Vec<(H2, VecDeque<u8>)> = Vec::new();
    let mut drip = |mut h2: H2, head: &[u8], said: usize| {
        h2.send(&head[..said]);
        dripping.push((h2, head[said..].iter().copied().collect()));
    };
    for _ in 0..4 {
        let between = begun.len();
        for (head, said) in
            [(&alone, 4), (&alone, 20), (&in_two, between), (&in_two, between + 5), (&in_two, between + 20)]
        {
            drip(H2::open(&gateway), head, said);
        }
        // Beside an answer that never ends.
        let mut h2 = H2::open(&gateway);
        h2.send(request(1, "/sse?events=100000&every=100"));
        drip(h2, &frame(HEADERS, END_STREAM | END_HEADERS, 3, &[0; 8000]), 20);
    }
    // A preface that never comes.
    let mut mute: Vec<Wire> =
        (0..4).map(|_| Wire::tls(gateway.https(), HOST, gateway.tls(&["h2"]))).collect();
    mute[0].send(b"PRI * HTTP/2.0\r\n");
    let count = (dripping.len() + mute.len()) as u64;
    eventually("each is ended, however it drips", || {
        for (h2, rest) in &mut dripping {
            // Whoever is still there moves all the while.
            let _gone = h2.try_send([rest.pop_front().expect("it drips slowly")]);
        }
        (metric(&gateway, "gateway_cuts_total{code=\"headers-slow\"}") >= count).then_some(())
    });
    assert!(dripping.iter_mut().all(|(h2, _)| is_over(h2)), "one is counted and lives on");
    // They have been told the gateway's settings, and then nothing.
    assert!(mute.iter_mut().all(|wire| (0..1000).any(|_| wire.exactly(1).is_err())));
    bystander.was_served();
    assert_eq!(metric(&gateway, "gateway_cuts_total{code=\"headers-slow\"}"), count);
    gateway.has_logged("headers-slow");
    // Whose heads were whole is served as before.
    idle.send(request(3, "/x"));
    assert!(matches!(idle.outcome(3), Outcome::Answered { status: 200, .. }));
    uploads.send(&body[500..]);
    assert!(matches!(uploads.outcome(1), Outcome::Answered { status: 200, .. }));
}

/// Does the connection end after what was still on its way?
fn is_over(h2: &mut H2) -> bool {
    (0..10_000).any(|_| h2.frame().is_err())
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    let mut fields = get(path);
    fields.push(("origin", NAVAJA.to_owned()));
    headers(stream, END_STREAM, &fields)
}

#[test]
fn ten_thousand_idle_connections_cost_bounded_memory_and_nobody_else_notices() {
    let_it_have(IDLE);
    let limits =
        "[edge.limits]\nconnections_max = 20000\nconnections_per_client_max = 20000\nidle_timeout = \"10m\"";
    let gateway = gateway(limits);
    gateway.get("/").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let bystander = Bystander::of(&gateway);
    let ask = gateway.get("/x").origin(NAVAJA).bytes();
    let mut held: Vec<Wire> = Vec::new();
    // Some never say a word, some have asked; one in ten over TLS, and two in ten over HTTP/2.
    let (mut mute, mut h2): (Vec<TcpStream>, Vec<H2>) = (Vec::new(), Vec::new());
    for number in 0..IDLE {
        match number % 10 {
            0 => held.push(gateway.get("/x").origin(NAVAJA).secure().open()),
            1..5 => held.push(gateway.get("/x").origin(NAVAJA).open()),
            5..7 => {
                let mut one = H2::open(&gateway);
                one.send(request(1, "/x"));
                assert!(matches!(one.outcome(1), Outcome::Answered { status: 200, .. }));
                h2.push(one);
            }
            _ => mute.push(TcpStream::connect(gateway.http()).unwrap()),
        }
        if let Some(wire) = held.last_mut().filter(|_| number % 10 < 5) {
            wire.answer().is(200);
        }
    }
    let open = || metric(&gateway, "gateway_connections_open");
    eventually("all are open at once", || (open() >= IDLE as u64).then_some(()));
    bystander.was_served();
    let after = anonymous_bytes(gateway.pid());
    let all_max = (IDLE - h2.len()) as u64 * IDLE_BYTES_MAX + h2.len() as u64 * IDLE_H2_BYTES_MAX;
    eprintln!("{IDLE} idle connections, {} of HTTP/2: {} bytes", h2.len(), after.saturating_sub(before));
    assert!(after < before + all_max, "memory went from {before} to {after}, by more than {all_max}");
    // They are as good as new.
    for wire in held.iter_mut().step_by(100) {
        wire.send(&ask);
        wire.answer().is(200);
    }
    for one in h2.iter_mut().step_by(50) {
        one.send(request(3, "/x"));
        assert!(matches!(one.outcome(3), Outcome::Answered { status: 200, .. }));
    }
    drop((held, mute, h2));
    eventually("all are gone", || (open() < 10).then_some(()));
}

/// Descriptors for so many connections, here and in a gateway that is started after it; the test is of that number and
/// no other.
#[track_caller]
fn let_it_have(connections: usize) {
    // The gateway keeps 1024 back, other tests run beside this one.
    let wanted = connections as u64 + 4096;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let most = hard.max(wanted);
    // Above the hard limit root alone may go.
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, most, most) {
        panic!(
            "{connections} connections take {wanted} file descriptors, and this process may have {hard} ({error}): \
             run `ulimit -Hn {wanted}` as root before the tests, or set LimitNOFILE= / DefaultLimitNOFILE="
        );
    }
}
