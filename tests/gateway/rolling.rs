//! The rolling life under load: a hundred reloads, a hundred kills. No request that could be served is lost, and
//! nothing is left: no process, descriptor, socket file or memory.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    NAVAJA, TestGateway, eventually, left_behind,
    load::{Load, PAUSE, Target},
    memory::anonymous_bytes,
    running::workers,
};

/// How often each.
const TIMES: usize = 100;

/// Rounds after which whatever is kept on purpose is there.
const WARM: usize = 20;

/// What a process may hold more in the middle of the second half of all rounds than in that of the first, forty rounds
/// before: 13 KiB a round. Its pages in use differ by some 100 KiB from one moment to another.
const GROWTH_BYTES_MAX: u64 = 512 * 1024;

/// By how much it has grown from the first half of these to the second. The median, since a burst of requests is no growth.
fn grown(bytes: &[u64]) -> u64 {
    let median = |half: &[u64]| {
        let mut half = half.to_vec();
        half.sort_unstable();
        half[half.len() / 2]
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    median(second).saturating_sub(median(first))
}

#[test]
fn a_leak_of_some_kilobytes_each_time_is_growth_and_bursts_are_none() {
    let rounds = |leak: u64| -> Vec<u64> {
        let burst = |number: u64| if number.is_multiple_of(7) { 3 << 20 } else { number * 37 % 100 * 1024 };
        (0..(TIMES - WARM) as u64).map(|number| (7 << 20) + number * leak + burst(number)).collect()
    };
    assert!(grown(&rounds(0)) < GROWTH_BYTES_MAX / 4);
    assert!(grown(&rounds(16 * 1024)) > GROWTH_BYTES_MAX);
}

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

/// Do it under load of requests to these paths, and compare before and after.
fn check(gateway: &TestGateway, count: usize, paths: &[&str], work: impl Fn(usize)) {
    let (load, target) = (Load::default(), Target::plain(gateway));
    let (mut descriptors, mut bytes) = (0, Vec::new());
    thread::scope(|scope| {
        let _ending = load.ending();
        for path in paths {
            let (load, target) = (&load, &target);
            scope.spawn(move || load.keep_asking(gateway, target, path));
        }
        scope.spawn(|| load.keep_connecting(gateway, &target));
        for number in 0..TIMES {
            if number == WARM {
                descriptors = holding(gateway).descriptors;
            }
            work(number);
            if number >= WARM {
                bytes.push(anonymous_bytes(gateway.pid()));
            }
        }
    });
    assert!(load.answered() > 200, "there was no load");
    let grown = grown(&bytes);
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
    // What is posted may not be sent twice: it is lost if it meets a worker that ends.
    check(&gateway, 1, &["/x", "/slow?ms=10", "POST /sink"], |_| {
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
    check(&gateway, 2, &["/x", "/slow?ms=10"], |number| kill_one(&gateway, number));
    let status = gateway.status();
    let restarts: u64 = workers(&status).map(|worker| worker["restarts"].as_u64().unwrap()).sum();
    assert!(restarts >= TIMES as u64 - 1, "{status}");
}

/// Kill one of two workers, and the other one the next time.
fn kill_one(gateway: &TestGateway, number: usize) {
    let pids = eventually("both are ready", || {
        let pids = gateway.worker_pids();
        (pids.len() == 2).then_some(pids)
    });
    gateway.signal_worker(pids[number % 2], Signal::SIGKILL);
    eventually("the kill is noticed", || (!gateway.worker_pids().contains(&pids[number % 2])).then_some(()));
}

#[test]
fn under_a_hundred_kills_each_post_is_answered_and_none_is_done_twice_or_lost_unsaid() {
    let place = tempfile::tempdir().unwrap();
    let ledger = place.path().join("ledger");
    let config = format!(
        "[backend.api]\nrestart_delay = \"10ms\"\nrestart_delay_max = \"20ms\"\nenv.LEDGER = {ledger:?}"
    );
    let gateway = TestGateway::builder().shops().worker("ledger.mjs").workers(2).config(&config).start();
    let (load, next, told) = (Load::default(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let _ending = load.ending();
        for _ in 0..4 {
            scope.spawn(|| {
                while load.goes_on() {
                    let id = next.fetch_add(1, Relaxed);
                    // No answer fails the test.
                    let answer = gateway.post(&format!("/orders/{id}"), "once").origin(NAVAJA).send();
                    told.lock().unwrap().push((id, answer.status));
                    thread::sleep(PAUSE);
                }
            });
        }
        (0..TIMES).for_each(|number| kill_one(&gateway, number));
    });
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), next.into_inner());
    let mut booked = BTreeMap::<usize, usize>::new();
    for line in fs::read_to_string(&ledger).unwrap().lines() {
        *booked.entry(line.parse().unwrap()).or_default() += 1;
    }
    let twice: Vec<_> = booked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "done twice: {twice:?}");
    for (id, status) in &told {
        assert!(matches!(status, 201 | 502), "order {id}: {status}");
        assert!(*status != 201 || booked.contains_key(id), "order {id} was said to be booked");
    }
    let cut = told.iter().filter(|(_, status)| *status == 502).count();
    eprintln!("{} orders, {cut} cut", told.len());
    assert!(cut > 0 && told.len() > 10 * cut, "{cut} of {}", told.len());
}

#[test]
fn scaling_to_eight_and_back_again_and_again_leaves_nothing() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let (load, target) = (Load::default(), Target::plain(&gateway));
    let scale = |wanted: usize| {
        gateway.cli(&["backend", "scale", &wanted.to_string()]).ok();
    };
    thread::scope(|scope| {
        let _ending = load.ending();
        scope.spawn(|| load.keep_asking(&gateway, &target, "POST /sink"));
        scope.spawn(|| load.keep_connecting(&gateway, &target));
        let mut bytes = Vec::new();
        let mut there_and_back = || {
            scale(8);
            scale(1);
            bytes.push(anonymous_bytes(gateway.pid()));
        };
        // By then whatever is kept on purpose is there.
        (0..2).for_each(|_| there_and_back());
        let before = holding(&gateway).descriptors;
        (0..3).for_each(|_| there_and_back());
        eventually("nothing is left", || {
            let now = holding(&gateway);
            (now.processes == 2 && now.sockets == 1 && now.descriptors <= before + 2).then_some(())
        });
        // Seven workers more and less each time.
        eprintln!("after each time: {bytes:?}");
        let grown = bytes[4].saturating_sub(bytes[1]);
        assert!(grown < 2 * GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    });
    assert!(load.answered() > 100, "there was no load");
}

#[test]
fn a_program_that_leaks_is_replaced_over_and_over_and_no_request_is_lost() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("leaks.mjs")
        .config("[backend.api]\nmemory_max_mb = 160\nrestart_delay = \"10ms\"")
        .start();
    let (load, target) = (Load::default(), Target::plain(&gateway));
    thread::scope(|scope| {
        let _ending = load.ending();
        for path in ["/x", "POST /x"] {
            let (load, gateway, target) = (&load, &gateway, &target);
            scope.spawn(move || load.keep_asking(gateway, target, path));
        }
        let mut seen = std::collections::BTreeSet::new();
        eventually("it has been replaced twice", || {
            seen.extend(gateway.worker_pids());
            (seen.len() >= 3).then_some(())
        });
    });
    let status = gateway.status();
    assert!(workers(&status).all(|worker| worker["restarts"] == 0), "none crashed: {status}");
}

/// What all threads of a process have used of a processor, those that have ended among them (clock_getcpuclockid(3)).
fn run_time(pid: i32) -> Duration {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).unwrap();
    clock.now().unwrap().into()
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
    let (begun, before) = (Instant::now(), run_time(gateway.pid()));
    thread::sleep(Duration::from_secs(20));
    let spent = (run_time(gateway.pid()) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    eprintln!("idle with 8 workers: {:.3} % of a core", spent * 100.0);
    // Far above what is meant (0.1 %), since this build is a slow one; `docs/performance.md` has the release's figure.
    assert!(spent < 0.03, "{spent} of a core");
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
