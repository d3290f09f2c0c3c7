//! The program is replaced under load: requests wait, none is refused, and the process stays the same one.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    NAVAJA, Site, TestGateway, Wire, eventually,
    load::{Load, Target},
    memory::metric,
    websocket::connect_as,
};

/// A gateway that runs from a link to one of two copies of the binary.
fn linked(more: &str) -> TestGateway {
    let site = TestGateway::builder().shops().worker("echo.mjs").config(more).site();
    for release in ["one", "two"] {
        let path = site.write(&format!("{release}/gateway"), std::fs::read(binary()).unwrap());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    point_to(&site, "one/gateway");
    let link = link(&site);
    TestGateway::start_program(site, &link)
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_gateway")
}

fn link(site: &Site) -> PathBuf {
    site.path().join("gateway")
}

/// The way a release is put in place: at once, never half.
fn point_to(site: &Site, target: &str) {
    let fresh = site.path().join("gateway.new");
    std::os::unix::fs::symlink(target, &fresh).unwrap();
    std::fs::rename(fresh, link(site)).unwrap();
}

fn swaps(gateway: &TestGateway) -> Option<u64> {
    gateway.admin("GET", "/status").map(|answer| answer.json()["swaps"].as_u64().unwrap())
}

#[test]
fn ten_swaps_under_load_fail_no_request() {
    const SWAPS: u64 = 10;
    // With the limits as shipped.
    let gateway = linked("");
    let (pid, addresses) = (gateway.pid(), gateway.status()["listeners"].clone());
    let load = Load::default();
    let (plain, secure) = (Target::plain(&gateway), Target::secure(&gateway));
    thread::scope(|scope| {
        let ending = load.ending();
        for target in [&plain, &secure] {
            for path in ["/slow?ms=2", "/x", "POST /sink"] {
                scope.spawn(|| load.keep_asking(&gateway, target, path));
            }
            scope.spawn(|| load.keep_connecting(&gateway, target));
        }
        let http2 = scope.spawn(|| load.over_http2(&gateway));
        for swap in 1..=SWAPS {
            let before = load.answered();
            point_to(gateway.site(), if swap % 2 == 1 { "two/gateway" } else { "one/gateway" });
            gateway.cli(&["swap"]).ok().says(&["swapped"]);
            assert_eq!(swaps(&gateway), Some(swap));
            eventually("requests are answered again", || (load.answered() > before + 20).then_some(()));
        }
        drop(ending);
        assert!(http2.join().unwrap() > 100, "there was no load over HTTP/2");
    });
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(exe, gateway.site().path().canonicalize().unwrap().join("one/gateway"));
    assert_eq!(gateway.status()["listeners"], addresses);
    assert!(
        gateway.status()["pid"] == pid && gateway.cli(&["status"]).ok().stdout.contains("swapped 10 times")
    );
    assert!(load.answered() > 300, "there was no load");
}

#[test]
fn websockets_are_told_to_come_again_and_their_number_outlives_the_swap() {
    let gateway = linked("");
    for swap in 1..=2 {
        let mut sockets: Vec<_> = (0..6).map(|turn| connect_as(&gateway, NAVAJA, turn % 2 == 0)).collect();
        gateway.cli(&["swap"]).ok();
        for socket in &mut sockets {
            match socket.read() {
                Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 1001),
                other => panic!("no close frame: {other:?}"),
            }
        }
        assert_eq!(swaps(&gateway), Some(swap));
        assert_eq!(gateway.status()["swap_websockets"], 6 * swap);
        let counted = metric(&gateway, "gateway_websockets_closed_total{reason=\"draining\"}");
        assert_eq!(counted, 6 * swap);
        eventually("the log tells of each", || {
            (gateway.log().matches("drained for the swap").count() as u64 == swap).then_some(())
        });
    }
    gateway.cli(&["status"]).ok().says(&["swapped 2 times (12 WebSockets were told to come again)"]);
    connect_as(&gateway, NAVAJA, false).close(None).unwrap();
}

#[test]
fn a_program_or_a_configuration_that_is_not_fit_changes_nothing_and_says_why() {
    let gateway = linked("");
    let workers = gateway.worker_pids();
    let good = std::fs::read(gateway.site().config_path()).unwrap();
    let refused = |words: &[&str]| {
        gateway.cli(&["swap"]).fails(2).says(words).says(&["nothing has changed"]);
        assert_eq!((swaps(&gateway), gateway.worker_pids()), (Some(0), workers.clone()));
        gateway.get("/x").origin(NAVAJA).send().is(200);
    };
    gateway.site().write("broken", "no program at all");
    point_to(gateway.site(), "broken");
    refused(&["cannot be run"]);
    point_to(gateway.site(), "nowhere");
    refused(&["cannot be run"]);
    point_to(gateway.site(), "/bin/true");
    refused(&["is no gateway"]);
    point_to(gateway.site(), "two/gateway");
    gateway.site().write("gateway.toml", [&good[..], b"\nno_such_key = 1\n"].concat());
    refused(&["does not take the configuration", "no_such_key"]);
    // The log tells those who sent a signal.
    gateway.signal(Signal::SIGUSR2);
    eventually("the log tells", || {
        let log = gateway.log();
        (log.matches("the swap was refused").count() == 5).then_some(())
    });
    gateway.site().write("gateway.toml", good);
    gateway.signal(Signal::SIGUSR2);
    eventually("it is swapped", || (swaps(&gateway)? == 1).then_some(()));
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_program_that_cannot_be_executed_after_all_leaves_the_old_one_serving() {
    let gateway = linked("swap_grace = \"20s\"");
    let workers = gateway.worker_pids();
    // It is fit when it is tried, and gone when it is needed: a request in flight holds the drain up between the two.
    let upload = gateway.post("/sink", "in two pieces").origin(NAVAJA).bytes();
    let (first, rest) = upload.split_at(upload.len() - 6);
    let mut slow = gateway.wire();
    slow.send(first);
    eventually("it is in flight", || {
        let seen = gateway.get("/seen").origin(NAVAJA).send().text();
        seen.contains("/sink").then_some(())
    });
    thread::scope(|scope| {
        let swap = scope.spawn(|| gateway.cli(&["swap"]));
        eventually("it drains", || {
            let status = gateway.admin("GET", "/status")?.json();
            status["swapping"].as_bool().unwrap().then_some(())
        });
        point_to(gateway.site(), "nowhere");
        let mut waiting = gateway.get("/x").origin(NAVAJA).open();
        slow.send(rest);
        slow.answer().is(200);
        waiting.answer().is(200);
        swap.join().unwrap().fails(1).says(&["could not be executed", "the old program serves again"]);
    });
    assert_eq!(swaps(&gateway), Some(0));
    eventually("new workers are ready", || {
        let now = gateway.worker_pids();
        (!now.is_empty() && now != workers).then_some(())
    });
    gateway.cli(&["status"]).ok().says(&["the last swap failed"]);
    // And the next one goes well.
    point_to(gateway.site(), "two/gateway");
    gateway.cli(&["swap"]).ok();
    assert_eq!(swaps(&gateway), Some(1));
}

#[test]
fn what_only_a_new_start_could_change_a_swap_brings_too() {
    let gateway = linked("");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = gateway.http();
    gateway.site().configure(&format!("[edge]\nthreads = 3\nhttp = [\"{free}\"]\n[pool]\nbudget = 32"));
    gateway.cli(&["reload"]).ok().says(&["edge.threads", "pool.budget", "hint: `gateway swap`"]);
    gateway.cli(&["swap"]).ok();
    assert_eq!(gateway.cli(&["reload"]).ok().stdout.trim(), "reloaded");
    assert_eq!(gateway.status()["listeners"][1]["address"], free.to_string());
    assert!(std::net::TcpStream::connect(plain).is_err(), "{plain} is still listened on");
}

#[test]
fn a_request_that_outlasts_the_grace_holds_no_swap_up() {
    let gateway = linked("swap_grace = \"500ms\"");
    let _hanging = gateway.get("/hang").origin(NAVAJA).open();
    eventually("it is in flight", || {
        gateway.get("/seen").origin(NAVAJA).send().text().contains("/hang").then_some(())
    });
    let begun = Instant::now();
    gateway.cli(&["swap"]).ok();
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_kept_connection_gets_one_last_answer_and_is_told_that_it_is_the_last() {
    for secure in [false, true] {
        let patience = "edge.limits.last_request_timeout = \"4s\"";
        let gateway = TestGateway::builder().shops().worker("echo.mjs").config(patience).start();
        let dial = || if secure { gateway.tls_wire() } else { gateway.wire() };
        let (mut kept, mut fresh, mut silent) = (dial(), dial(), dial());
        let request = gateway.get("/x").origin(NAVAJA).bytes();
        for wire in [&mut kept, &mut silent] {
            wire.send(&request);
            assert_eq!(wire.answer().is(200).header("connection"), None);
        }
        gateway.signal(Signal::SIGTERM);
        eventually("it drains", || gateway.status()["stopping"].as_bool().unwrap().then_some(()));
        for wire in [&mut kept, &mut fresh] {
            wire.send(&request);
            assert_eq!(wire.answer().is(200).header("connection"), Some("close"));
            assert!(wire.is_closed());
        }
        assert!(silent.is_closed(), "one that asks for nothing is closed in the end");
        gateway.stop();
    }
}

#[test]
fn a_connection_that_says_nothing_holds_no_drain_up() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let (mut mute, mut plain) = (Wire::tcp(gateway.https()), Wire::tcp(gateway.http()));
    let open = || {
        let metrics = gateway.admin("GET", "/metrics").unwrap().text();
        metrics.lines().find_map(|line| line.strip_prefix("gateway_connections_open ")).unwrap() == "2"
    };
    eventually("both are accepted", || open().then_some(()));
    gateway.signal(Signal::SIGTERM);
    assert!(mute.is_closed() && plain.is_closed());
    let log = std::fs::read_to_string(gateway.stop().path().join("stderr.log")).unwrap();
    assert!(!log.contains("the grace is over"), "{log}");
}

#[test]
fn server_sent_events_end_in_good_order_and_hold_no_drain_up() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let mut streams = Vec::new();
    // One that speaks all the time, and one that says nothing after its head.
    for path in ["/sse?events=1000000&every=10", "/sse?events=2&every=600000"] {
        let mut wire = gateway.get(path).origin(NAVAJA).open();
        wire.head().is(200);
        streams.push(wire);
    }
    gateway.signal(Signal::SIGTERM);
    for wire in &mut streams {
        while let Some(event) = wire.chunk() {
            assert!(event.starts_with(b"data: "));
        }
    }
    let log = std::fs::read_to_string(gateway.stop().path().join("stderr.log")).unwrap();
    assert!(!log.contains("the grace is over"), "{log}");
}
