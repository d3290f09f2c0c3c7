//! A system that grants few file descriptors: what there are none for is turned away with a reason, everybody else is
//! served, and the gateway neither spins nor ends.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    NAVAJA, TestGateway, Wire, eventually,
    memory::{cpu_time, metric},
};

/// What the system grants in these tests; 32 of them are kept back.
const GRANTED: usize = 160;

fn gateway() -> TestGateway {
    let limits =
        "[edge]\nthreads = 1\n[edge.admit]\nclient_in_flight_max = 1000\ntenant_in_flight_max = 1000";
    let watched = "[backend.api.health]\nwatch_interval = \"200ms\"\nunhealthy_after = 2";
    let site = TestGateway::builder().shops().worker("echo.mjs").config(limits).config(watched).site();
    TestGateway::start_through(site, &["prlimit", &format!("--nofile={GRANTED}:{GRANTED}")])
}

/// Connections until so many were turned away; those that were served.
fn connect(gateway: &TestGateway, turned_away_min: usize) -> Vec<Wire> {
    let (mut served, mut turned_away) = (Vec::new(), 0);
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    while turned_away < turned_away_min {
        assert!(served.len() < GRANTED, "more connections than descriptors");
        let mut wire = gateway.wire();
        match wire.try_send(&request).and_then(|()| wire.try_head()) {
            Ok(mut answer) => {
                wire.read_body(&mut answer);
                answer.is(200);
                served.push(wire);
            }
            Err(_) => turned_away += 1,
        }
    }
    served
}

/// One more who comes: turned away, or answered if something has just ended; never left waiting.
fn knock(gateway: &TestGateway) {
    let mut wire = gateway.wire();
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    let _turned_away = wire.try_send(request).and_then(|()| wire.try_head());
}

/// What a gateway does while nobody can be accepted is nothing: a loop would take its thread's whole time.
#[track_caller]
fn does_not_spin(gateway: &TestGateway, mut meanwhile: impl FnMut()) {
    let (begun, before) = (Instant::now(), cpu_time(gateway.pid()));
    for _ in 0..40 {
        meanwhile();
        thread::sleep(Duration::from_millis(50));
    }
    let (wall, cpu) = (begun.elapsed(), cpu_time(gateway.pid()).saturating_sub(before));
    assert!(cpu < wall / 2, "{cpu:?} of processor time in {wall:?}");
}

#[test]
fn connections_that_would_take_the_last_descriptors_are_closed_and_the_others_live_on() {
    let gateway = gateway();
    let mut served = connect(&gateway, 20);
    assert!(served.len() > 30, "only {} connections were served", served.len());
    assert!(metric(&gateway, "gateway_cuts_total{code=\"no-descriptor\"}") >= 20);
    gateway.has_logged("no-descriptor");
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    does_not_spin(&gateway, || knock(&gateway));
    for wire in &mut served {
        wire.send(&request);
        wire.answer().is(200);
    }
    drop(served);
    eventually("there is room again", || {
        let mut wire = gateway.wire();
        wire.try_send(&request).ok()?;
        wire.try_head().ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn a_request_for_whose_worker_there_is_no_descriptor_is_told_to_come_back() {
    let gateway = gateway();
    let workers = gateway.worker_pids();
    let mut asking = connect(&gateway, 1);
    let hanging = gateway.get("/hang").origin(NAVAJA).bytes();
    asking.iter_mut().for_each(|wire| wire.send(&hanging));
    // Those for which there was one are at the worker and get no answer at all.
    let (mut refused, mut at_worker) = (Vec::new(), Vec::new());
    for mut wire in asking {
        if !wire.comes_within(Duration::from_millis(100)) {
            at_worker.push(wire);
            continue;
        }
        let answer = wire.answer().is(503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.json()["code"], "no-descriptor");
        refused.push(wire);
    }
    assert!(refused.len() > 5 && at_worker.len() > 5, "{} and {}", refused.len(), at_worker.len());
    gateway.has_logged("request failed: out of file descriptors (raise LimitNOFILE)");
    // Not one is left, so nobody can be accepted: whoever comes is closed with the spare one.
    does_not_spin(&gateway, || knock(&gateway));
    // Who was refused keeps its connection, and is served on it as soon as others have ended.
    drop(at_worker);
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    eventually("there is room again", || {
        refused[0].send(&request);
        (refused[0].answer().status == 200).then_some(())
    });
    drop(refused);
    // That the worker could not be asked how it is was not its fault.
    gateway.has_logged("the worker cannot be asked");
    eventually("the operator is heard again", || gateway.admin("GET", "/status").map(drop));
    assert_eq!(gateway.worker_pids(), workers, "the worker was replaced");
}
