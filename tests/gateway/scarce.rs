//! What happens when something runs out that everybody shares: descriptors, places for one client, patience with slow
//! ones. Load is shed with a reason, and everybody else is served.

use std::{
    fs,
    net::{IpAddr, TcpStream},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    HOST, NAVAJA, TestGateway, Wire, eventually,
    memory::{anonymous_bytes, metric},
};

/// Somebody else than 127.0.0.1, to the gateway.
const SOMEBODY_ELSE: [u8; 4] = [127, 0, 0, 2];

/// A gateway that the system grants this many descriptors.
fn with_descriptors(count: u32, config: &str) -> TestGateway {
    let limits = "[edge.limits]\nconnections_per_client_max = 100000\n[edge.admit]\nclient_in_flight_max = 4096\n\
                  tenant_in_flight_max = 4096";
    let site = TestGateway::builder().shops().worker("echo.mjs").config(limits).config(config).site();
    TestGateway::start_through(site, &["prlimit", &format!("--nofile={count}:{count}")])
}

/// The process's time on the CPU in clock ticks of 10 ms (proc(5), `stat`, fields 14 and 15).
fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n")
}

#[test]
fn without_descriptors_new_connections_are_closed_and_open_ones_served() {
    let gateway = with_descriptors(256, "");
    let mut open: Vec<Wire> = (0..10).map(|_| gateway.wire()).collect();
    for wire in &mut open {
        wire.send(get("/early"));
        wire.answer().is(200);
    }
    let held: Vec<Wire> = (0..400).map(|_| gateway.wire()).collect();
    eventually("some are closed, and counted", || {
        (metric(&gateway, "gateway_cuts_total{code=\"no-descriptor\"}") > 100).then_some(())
    });
    for wire in &mut open {
        wire.send(get("/during"));
        wire.answer().is(200);
    }
    // With the flood at its height and nobody asking for anything, there is nothing to do.
    let before = cpu_ticks(gateway.pid());
    std::thread::sleep(Duration::from_secs(1));
    let ticks = cpu_ticks(gateway.pid()) - before;
    assert!(ticks < 40, "the gateway span: {ticks} ticks of 10 ms in a second");
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains("no-descriptor")).count();
    assert!((1..=3).contains(&lines), "{lines} lines about it in:\n{log}");
    drop(held);
    eventually("new connections are served again", || {
        let mut wire = gateway.wire();
        wire.try_send(get("/after")).ok()?;
        (wire.try_head().ok()?.status == 200).then_some(())
    });
}

#[test]
fn a_request_for_whose_worker_no_descriptor_is_left_is_told_to_come_back() {
    let gateway = with_descriptors(160, "");
    // Every connection that is let in asks for something that takes a while, and so wants one to a worker as well.
    let mut asking: Vec<Wire> = (0..140).map(|_| gateway.wire()).collect();
    asking.retain_mut(|wire| wire.try_send(get("/slow?ms=1500")).is_ok());
    let (mut served, mut told) = (0, 0);
    for wire in &mut asking {
        // Those above the mark were closed.
        let Ok(mut answer) = wire.try_head() else { continue };
        wire.read_body(&mut answer);
        match answer.status {
            200 => served += 1,
            503 => {
                assert_eq!(answer.json()["code"], "no-descriptor");
                assert_eq!(answer.header("retry-after"), Some("1"));
                assert_eq!(answer.header("access-control-allow-origin"), Some(NAVAJA));
                told += 1;
            }
            status => panic!("{status}"),
        }
    }
    assert!(served > 0 && told > 0, "{served} served, {told} told to come back");
    drop(asking);
    eventually("all is well again", || {
        let mut wire = gateway.wire();
        wire.try_send(get("/after")).ok()?;
        (wire.try_head().ok()?.status == 200).then_some(())
    });
}

#[test]
fn one_client_has_so_many_connections_and_no_more_and_others_have_theirs() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("edge.limits.connections_per_client_max = 8")
        .start();
    let mut open: Vec<Wire> = (0..8).map(|_| gateway.wire()).collect();
    for wire in &mut open {
        wire.send(get("/mine"));
        wire.answer().is(200);
    }
    assert!(gateway.wire().is_closed(), "a ninth connection of the same client was let in");
    assert_eq!(metric(&gateway, "gateway_cuts_total{code=\"client-connections\"}"), 1);
    let mut other = Wire::tcp_from(IpAddr::from(SOMEBODY_ELSE), gateway.http());
    other.send(get("/theirs"));
    other.answer().is(200);
    open.pop();
    eventually("a place that is left is free", || {
        let mut wire = gateway.wire();
        wire.try_send(get("/mine")).ok()?;
        (wire.try_head().ok()?.status == 200).then_some(())
    });
}

#[test]
fn a_body_that_stops_coming_ends_with_408_and_its_connection() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("edge.limits.body_idle_timeout = \"700ms\"")
        .start();
    let slow: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = gateway.wire();
            wire.send(format!(
                "POST /sink HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\ncontent-length: 100000\r\n\r\nabc"
            ));
            wire
        })
        .collect();
    gateway.get("/bystander").origin(NAVAJA).send().is(200);
    for mut wire in slow {
        assert_eq!(wire.answer().is(408).json()["code"], "body-stalled");
        assert!(wire.is_closed());
    }
    // One that is slow, but comes, is no fault.
    let mut wire = gateway.wire();
    wire.send(format!(
        "POST /sink HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\ncontent-length: 10\r\n\r\n"
    ));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(150));
        wire.send("x");
    }
    wire.answer().is(200);
}

#[test]
fn an_answer_that_is_not_taken_ends_with_its_connection_and_holds_no_memory() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("edge.limits.body_idle_timeout = \"1s\"")
        .start();
    gateway.get("/warm").origin(NAVAJA).send().is(200);
    let before = anonymous_bytes(gateway.pid());
    let readers: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = gateway.wire();
            wire.send(get("/big?bytes=50000000"));
            wire
        })
        .collect();
    gateway.get("/bystander").origin(NAVAJA).send().is(200);
    eventually("each is cut", || {
        (metric(&gateway, "gateway_cuts_total{code=\"not-reading\"}") >= 20).then_some(())
    });
    let grown = anonymous_bytes(gateway.pid()).saturating_sub(before);
    // Of a gigabyte that was asked for.
    assert!(grown < 48 * 1024 * 1024, "20 readers that do not read took {grown} bytes");
    drop(readers);
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_keep_nobody_waiting() {
    const CONNECTIONS: usize = 10_000;
    // Both ends of each are in this machine; a machine that grants fewer descriptors is asked for fewer.
    let (_, granted) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, granted, granted).unwrap();
    let count = CONNECTIONS.min(usize::try_from(granted / 2).unwrap());
    let limits = "[edge.limits]\nconnections_per_client_max = 100000\nconnections_max = 100000\n\
                  idle_timeout = \"10m\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    gateway.get("/warm").origin(NAVAJA).secure().send().is(200);
    let before = anonymous_bytes(gateway.pid());
    // Nine of ten never say a word; the others were served before they fell silent.
    let silent: Vec<TcpStream> =
        (0..count * 9 / 10).map(|_| TcpStream::connect(gateway.http()).unwrap()).collect();
    let mut served: Vec<Wire> = (0..count / 10)
        .map(|_| {
            let mut wire = gateway.wire();
            wire.send(get("/once"));
            wire.answer().is(200);
            wire
        })
        .collect();
    eventually("all are open", || {
        let open = usize::try_from(metric(&gateway, "gateway_connections_open")).unwrap();
        (open >= silent.len() + served.len()).then_some(())
    });
    for _ in 0..50 {
        gateway.get("/bystander").origin(NAVAJA).secure().send().is(200);
    }
    let grown = anonymous_bytes(gateway.pid()).saturating_sub(before);
    let each = grown / count as u64;
    assert!(each < 32 * 1024, "{count} idle connections take {each} bytes each");
    // And each is still there.
    for wire in &mut served {
        wire.send(get("/at-last"));
        wire.answer().is(200);
    }
}
