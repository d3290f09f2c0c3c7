//! The rolling life under load: a hundred reloads, a hundred kills. No request that could be served is lost, and
//! nothing is left: no process, descriptor, socket file or memory.

use std::{fs, thread, time::Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    TestGateway, eventually, left_behind,
    load::{Load, Target},
    memory::anonymous_bytes,
    running::workers,
};

/// How often each.
const TIMES: usize = 100;

/// What a process may grow by in all of that: caches and the allocator's own, not a few kilobytes each time.
const GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// What a gateway holds.
#[derive(Debug, PartialEq, Eq)]
struct Holding {
    processes: usize,
    descriptors: usize,
    sockets: usize,
}

fn holding(gateway: &TestGateway) -> Holding {
    Holding {
        processes: left_behind::processes(gateway.site().path()).len(),
        descriptors: fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count(),
        sockets: left_behind::sockets(&gateway.site().runtime().join("workers")).len(),
    }
}

/// Do it under load, and compare before and after.
fn check(gateway: &TestGateway, count: usize, work: impl Fn(usize)) {
    let (load, target) = (Load::default(), Target::plain(gateway));
    let (mut descriptors, mut bytes) = (0, 0);
    thread::scope(|scope| {
        let _ending = load.ending();
        for path in ["/x", "/slow?ms=10"] {
            let (load, target) = (&load, &target);
            scope.spawn(move || load.keep_asking(gateway, target, path));
        }
        scope.spawn(|| load.keep_connecting(gateway, &target));
        for number in 0..TIMES {
            if number == 10 {
                // By then whatever is kept on purpose is there.
                (descriptors, bytes) = (holding(gateway).descriptors, anonymous_bytes(gateway.pid()));
            }
            work(number);
        }
    });
    assert!(load.answered() > 200, "there was no load");
    let grown = anonymous_bytes(gateway.pid()).saturating_sub(bytes);
    let after = eventually("nothing is left", || {
        let now = holding(gateway);
        let nothing = now.processes == 1 + count && now.sockets == count && now.descriptors <= descriptors;
        nothing.then_some(now)
    });
    eprintln!(
        "{} answers, {descriptors} descriptors -> {after:?}, grown by {} KiB",
        load.answered(),
        grown / 1024
    );
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
}

#[test]
fn a_hundred_reloads_under_load_lose_no_request_and_leave_nothing() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    check(&gateway, 1, |_| {
        gateway.admin("POST", "/backends/api/reload").unwrap().is(200);
    });
    assert_eq!(gateway.status()["backends"][0]["generation"], TIMES + 1);
}

#[test]
fn a_hundred_kills_under_load_lose_no_request_and_leave_nothing() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .workers(2)
        .config("[backend.api]\nrestart_delay = \"10ms\"\nrestart_delay_max = \"20ms\"")
        .start();
    check(&gateway, 2, |number| {
        let pids = eventually("both are ready", || {
            let pids = gateway.worker_pids();
            (pids.len() == 2).then_some(pids)
        });
        gateway.signal_worker(pids[number % 2], Signal::SIGKILL);
        eventually("the kill is noticed", || {
            (!gateway.worker_pids().contains(&pids[number % 2])).then_some(())
        });
    });
    let status = gateway.status();
    let restarts: u64 = workers(&status).map(|worker| worker["restarts"].as_u64().unwrap()).sum();
    assert!(restarts >= TIMES as u64 - 1, "{status}");
}

/// User and system time of a process, in ticks of ten milliseconds.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn eight_idle_workers_cost_the_supervisor_next_to_nothing() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").workers(8).start();
    // With every watch that costs something.
    gateway
        .site()
        .configure("[backend.api]\nmemory_max_mb = 4000\nmax_requests = 1000000\nmax_age = \"1day\"");
    gateway.cli(&["reload"]).ok();
    eventually("all are ready", || (gateway.worker_pids().len() == 8).then_some(()));
    let (begun, before) = (Instant::now(), ticks(gateway.pid()));
    thread::sleep(std::time::Duration::from_secs(10));
    let spent = (ticks(gateway.pid()) - before) as f64 / 100.0 / begun.elapsed().as_secs_f64();
    eprintln!("idle with 8 workers: {:.3} % of a core", spent * 100.0);
    // Far above what is meant, since this machine has other things to do and the build is a slow one.
    assert!(spent < 0.05, "{spent} of a core");
}

#[test]
fn a_worker_that_never_gets_ready_is_explained_on_one_screen() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure("[backend.api]\nready_timeout = \"1500ms\"\nenv.ECHO_NEVER = \"1\"");
    let told = gateway.cli(&["reload"]).fails(5);
    told.says(&[
        "worker api/0 is not ready: not ready after 1s 500ms",
        "user: ",
        "directory: ",
        "program: ",
        "Node v",
    ]);
    let described: Value = gateway.cli(&["backend", "describe", "--json"]).ok().json();
    assert_eq!(described["workers"][0]["state"], "ready", "the old one serves on: {described}");
}
