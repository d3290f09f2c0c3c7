//! Requests that wait for a worker: none is refused, they are let go in order, and a cold worker is not overrun.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{BARBA, NAVAJA, TestGateway, Wire, eventually};

/// A gateway whose one worker is ready once the gate is opened; one edge thread, so that there is one order.
fn waiting(more: &str) -> TestGateway {
    let site = TestGateway::builder()
        .shops()
        .worker("counting.mjs")
        .config("edge.threads = 1\nedge.admit.waiting_timeout = \"1m\"")
        .config("[backend.api]\nwarmup_in_flight = 4\nready_timeout = \"2m\"")
        .config(more)
        .site();
    site.configure(&format!("backend.api.env.COUNTING_GATE = {:?}", site.path().join("gate")));
    TestGateway::start_without_workers(site)
}

fn open_gate(gateway: &TestGateway) {
    gateway.site().write("gate", "");
}

/// The number of requests that wait now.
fn line(gateway: &TestGateway) -> usize {
    let metrics = gateway.admin("GET", "/metrics").unwrap().text();
    let prefix = "gateway_requests_waiting{backend=\"api\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(prefix));
    value.unwrap_or_else(|| panic!("no {prefix}")).parse().unwrap()
}

/// Send `/ID` and see it wait.
fn line_up(gateway: &TestGateway, id: usize, origin: &str, ahead: usize) -> Wire {
    let wire = gateway.get(&format!("/{id}")).origin(origin).open();
    eventually("it waits", || (line(gateway) > ahead).then_some(()));
    wire
}

fn arrivals(gateway: &TestGateway) -> Vec<Value> {
    gateway.get("/arrivals").origin(NAVAJA).send().is(200).json().as_array().unwrap().clone()
}

#[test]
fn a_cold_worker_gets_those_that_waited_in_order_and_a_few_at_a_time() {
    const LARGE: usize = 80;
    let gateway = waiting("");
    let mut wires: Vec<Wire> = (0..LARGE).map(|id| line_up(&gateway, id, NAVAJA, id)).collect();
    wires.push(line_up(&gateway, LARGE, BARBA, LARGE));
    open_gate(&gateway);
    for wire in &mut wires {
        wire.answer().is(200);
    }
    assert_eq!(line(&gateway), 0);
    let arrivals = arrivals(&gateway);
    assert_eq!(arrivals.len(), LARGE + 1);
    for arrival in &arrivals {
        let number = |name: &str| arrival[name].as_u64().unwrap();
        assert!(number("inFlight") <= 4 + number("answered"), "more than it may have: {arrival}");
    }
    let lone = arrivals.iter().position(|arrival| arrival["tenant"] == "barba").unwrap();
    assert!(lone < 8, "one shop's crowd went before the other's one: place {lone}");
    for arrival in arrivals.iter().filter(|arrival| arrival["tenant"] == "navaja") {
        // What is let go together may overtake one another on its way through the kernel: those that have been answered, and as
        // many as it may have then. Nobody who stands behind them in the line comes.
        let (id, answered) = (arrival["id"].as_u64().unwrap(), arrival["answered"].as_u64().unwrap());
        assert!(id < 4 + 2 * answered, "number {id} came after {answered} answers");
    }
    let metrics = gateway.admin("GET", "/metrics").unwrap().text();
    let waits = format!("gateway_waited_seconds_count {}", LARGE + 1);
    assert!(metrics.contains(&waits), "{metrics}");
}

#[test]
fn those_that_wait_outlive_a_worker_that_dies_again_and_who_goes_away_leaves_the_line() {
    let gateway = waiting("backend.api.restart_delay = \"100ms\"");
    let mut wires: Vec<Wire> = (0..40).map(|id| line_up(&gateway, id, NAVAJA, id)).collect();
    for wire in wires.drain(30..) {
        wire.vanish();
    }
    eventually("ten have left the line", || (line(&gateway) <= 30).then_some(()));
    open_gate(&gateway);
    let first = eventually("the worker is ready", || gateway.worker_pids().first().copied());
    gateway.signal_worker(first, Signal::SIGKILL);
    for wire in &mut wires {
        wire.answer().is(200);
    }
    let arrivals = arrivals(&gateway);
    assert!(arrivals.iter().all(|arrival| arrival["id"].as_u64().unwrap() < 30), "{arrivals:?}");
}

#[test]
fn more_than_may_wait_are_told_to_come_back() {
    let gateway = waiting("[edge.admit]\nwaiting_max = 2\nwaiting_timeout = \"5s\"");
    let mut wires: Vec<Wire> = (0..2).map(|id| line_up(&gateway, id, NAVAJA, id)).collect();
    let answer = gateway.get("/2").origin(NAVAJA).send().problem(503).readable_from(NAVAJA);
    assert!(answer.header("retry-after").is_some());
    // Another shop has a line of its own, and nobody waits for ever.
    wires.push(line_up(&gateway, 3, BARBA, 2));
    for wire in &mut wires {
        wire.answer().problem(503);
    }
    assert_eq!(line(&gateway), 0);
}
