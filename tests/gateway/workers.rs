//! Workers: supervised, replaced, waited for.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{NAVAJA, TestGateway, eventually, memory::metric, running::workers};

#[test]
fn a_worker_killed_under_load_costs_no_get_whose_answer_had_not_begun() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").workers(2).start();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..8 {
            let (gateway, stop, answered) = (&gateway, &stop, &answered);
            scope.spawn(move || {
                // Half of them on kept connections, half on fresh ones; every third is slow enough to be hit.
                let mut wire = gateway.wire();
                while !stop.load(Ordering::Relaxed) {
                    let number = answered.fetch_add(1, Ordering::Relaxed);
                    let path = if number.is_multiple_of(3) { "/slow?ms=30" } else { "/x" };
                    let request = gateway.get(path).origin(NAVAJA);
                    let answer = if client % 2 == 0 {
                        wire.send(request.bytes());
                        wire.answer()
                    } else {
                        request.send()
                    };
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        for _ in 0..6 {
            thread::sleep(Duration::from_millis(300));
            let pid = eventually("a worker is ready", || gateway.worker_pids().first().copied());
            gateway.signal_worker(pid, Signal::SIGKILL);
            eventually("the kill is noticed", || (!gateway.worker_pids().contains(&pid)).then_some(()));
        }
        eventually("there was load", || (answered.load(Ordering::Relaxed) > 200).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    eventually("each was started again", || {
        let status = gateway.status();
        let restarts: u64 = workers(&status).map(|worker| worker["restarts"].as_u64().unwrap()).sum();
        (restarts >= 6).then_some(())
    });
}

#[test]
fn a_post_that_a_worker_had_begun_is_never_sent_twice() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").workers(2).start();
    gateway.post("/crash", "order").origin(NAVAJA).send().problem(502);
    let restarts =
        || workers(&gateway.status()).map(|worker| worker["restarts"].as_u64().unwrap()).sum::<u64>();
    eventually("the crash is noticed", || (restarts() > 0).then_some(()));
    eventually("both workers are ready", || (gateway.worker_pids().len() == 2).then_some(()));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(restarts(), 1, "the order reached a second worker: {}", gateway.status());
}

#[test]
fn load_is_spread_over_the_workers() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").workers(2).start();
    let held: Vec<_> = (0..6).map(|_| gateway.get("/slow?ms=3000").origin(NAVAJA).open()).collect();
    let pids: Vec<i64> =
        held.into_iter().map(|mut wire| wire.answer().is(200).json()["pid"].as_i64().unwrap()).collect();
    let different: BTreeSet<i64> = pids.iter().copied().collect();
    assert_eq!(different.len(), 2, "{pids:?}");
    for pid in different {
        assert_eq!(pids.iter().filter(|other| **other == pid).count(), 3, "not least in flight: {pids:?}");
    }
}

#[test]
fn requests_wait_while_no_worker_is_ready_and_then_are_answered() {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    let gate = site.path().join("gate");
    site.configure(&format!("backend.api.env.ECHO_READY_WITH = {gate:?}"));
    let gateway = TestGateway::start_without_workers(site);
    let mut early = gateway.get("/x").origin(NAVAJA).open();
    let waiting = "gateway_requests_waiting{backend=\"api\"}";
    eventually("it waits", || (metric(&gateway, waiting) == 1).then_some(()));
    std::fs::write(gate, "").unwrap();
    assert_eq!(early.answer().is(200).json()["url"], "/x");
    // After a crash it is the same, for requests of every kind.
    let pid = gateway.worker_pids()[0];
    gateway.signal_worker(pid, Signal::SIGKILL);
    eventually("the crash is noticed", || (gateway.worker_pids() != [pid]).then_some(()));
    gateway.post("/sink", "x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_worker_that_is_never_ready_gets_503_that_can_be_read_and_status_says_why() {
    let waiting = "[edge.admit]\nwaiting_timeout = \"3s\"\nwaiting_max = 2";
    let site = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("backend.api.env.ECHO_FAIL = \"cannot find the barber\"")
        .config(waiting)
        .site();
    let gateway = TestGateway::start_without_workers(site);
    let answer = gateway.get("/x").origin(NAVAJA).send().problem(503).readable_from(NAVAJA);
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    gateway.preflight("/x", NAVAJA, "POST", "").send().is(204);
    // More than may wait are refused at once; those two are refused later.
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..6).map(|_| gateway.get("/x").origin(NAVAJA).open()).collect();
    let mut waited: Vec<Duration> = thread::scope(|scope| {
        let told = clients.iter_mut().map(|client| {
            scope.spawn(|| {
                client.answer().is(503);
                begun.elapsed()
            })
        });
        let told: Vec<_> = told.collect();
        told.into_iter().map(|one| one.join().unwrap()).collect()
    });
    waited.sort();
    assert!(waited[3] < Duration::from_secs(3), "more than two waited: {waited:?}");
    assert!(waited[4] >= Duration::from_secs(3), "fewer than two waited: {waited:?}");
    let status = gateway.status();
    let worker = workers(&status).next().unwrap().clone();
    assert_ne!(worker["state"], "ready");
    assert!(worker.to_string().contains("cannot find the barber"), "{worker}");
    gateway.cli(&["status"]).ok().says(&["api/0", "exit code 7"]);
    gateway.cli(&["logs"]).ok().says(&["cannot find the barber"]);
}

#[test]
fn a_worker_that_never_listens_is_stopped_and_tried_again() {
    let site = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("[backend.api]\nready_timeout = \"500ms\"\nrestart_delay = \"100ms\"\nenv.ECHO_NEVER = \"1\"")
        .site();
    let gateway = TestGateway::start_without_workers(site);
    eventually("it was tried again", || {
        let status = gateway.status();
        let restarts = workers(&status).next()?["restarts"].as_u64()?;
        (restarts >= 2).then_some(())
    });
    gateway.has_logged("ready");
}

#[test]
fn a_worker_that_ignores_sigterm_is_killed_when_its_grace_ends() {
    let gateway = TestGateway::builder()
        .shops()
        .backend("api", "unwilling.mjs", &[crate::HOST])
        .config("[backend.api]\nstop_grace = \"500ms\"\nenv.STUBBORN_CHILD = \"1\"")
        .start();
    gateway.get("/x").origin(NAVAJA).send().is(200);
    let begun = Instant::now();
    gateway.stop();
    assert!(begun.elapsed() < Duration::from_secs(6), "it took {:?}", begun.elapsed());
}

#[test]
fn no_worker_outlives_a_gateway_that_is_killed() {
    let gateway =
        TestGateway::builder().shops().backend("api", "unwilling.mjs", &[crate::HOST]).workers(2).start();
    let site = gateway.kill();
    // And the next one starts in what it left.
    let gateway = site.start();
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn stopping_waits_for_requests_in_flight() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let mut slow = gateway.get("/slow?ms=1000").origin(NAVAJA).open();
    eventually("it is in flight", || {
        let seen = gateway.get("/seen").origin(NAVAJA).send().json();
        seen["seen"].to_string().contains("/slow").then_some(())
    });
    gateway.signal(Signal::SIGTERM);
    slow.answer().is(200);
    gateway.stop();
}

#[test]
fn workers_get_a_clean_environment_with_what_they_need() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("backend.api.env.SHOP = \"yes\"").start();
    let process = gateway.get("/process").origin(NAVAJA).send().is(200).json();
    let env = process["env"].as_object().unwrap();
    assert_eq!(env["SHOP"], "yes");
    assert!(env["PORT"].as_str().unwrap().starts_with(gateway.site().runtime().to_str().unwrap()));
    assert!(env.contains_key("PATH") && env.contains_key("HOME"));
    let foreign: Vec<&String> =
        env.keys().filter(|name| name.starts_with("CARGO") || name.starts_with("RUST")).collect();
    assert!(foreign.is_empty(), "{foreign:?} came from the gateway's own environment");
    // A process group of its own: a Ctrl-C in the gateway's terminal is not its business.
    let pid = process["pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group = stat.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap();
    assert_eq!(group, pid.to_string());
}

#[test]
fn a_worker_may_listen_on_a_port_instead() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("backend.api.listen = \"port\"").start();
    let process = gateway.get("/process").origin(NAVAJA).send().is(200).json();
    assert!(process["port"].as_str().unwrap().parse::<u16>().is_ok(), "{process}");
}

#[test]
fn an_upstream_that_somebody_else_started_is_served_too() {
    let mut upstream = std::process::Command::new("node")
        .arg(crate::builder::worker_program("echo.mjs"))
        .env("PORT", "0")
        .env("ECHO_ANNOUNCE", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(upstream.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    let config =
        format!("[backend.api]\nupstream = \"http://127.0.0.1:{}\"\nhosts = [\"api.example\"]", line.trim());
    let gateway = TestGateway::builder().shops().config(&config).start();
    let answer = gateway.get("/x").origin(NAVAJA).send().is(200);
    assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some("navaja"));
    upstream.kill().unwrap();
    upstream.wait().unwrap();
    let answer = gateway.get("/x").origin(NAVAJA).send();
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    answer.readable_from(NAVAJA);
}

#[test]
fn two_backends_stand_side_by_side_by_host_and_by_tenant() {
    let gateway = TestGateway::builder()
        .backend("api", "echo.mjs", &["api.example"])
        .backend("staging", "echo.mjs", &["staging.example"])
        .tenant("navaja", &[NAVAJA])
        .config("[[tenant]]\nid = \"test\"\norigins = [\"https://test.example\"]\nbackend = \"staging\"")
        .start();
    let pid = |host: &str, origin: &str| {
        gateway.get("/x").host(host).origin(origin).send().is(200).json()["pid"].as_i64().unwrap()
    };
    let (api, staging) = (pid("api.example", NAVAJA), pid("staging.example", NAVAJA));
    assert_ne!(api, staging);
    assert_eq!(pid("staging.example", "https://test.example"), staging);
}

#[test]
fn output_of_workers_is_logged_with_its_worker_and_kept() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.get("/print?line=a-word&error=another-word").origin(NAVAJA).send().is(200);
    eventually("both lines are kept", || {
        let output = gateway.cli(&["logs"]).ok().stdout;
        (output.contains("a-word") && output.contains("another-word") && output.contains("api/0"))
            .then_some(())
    });
}

#[test]
fn a_rolling_reload_of_a_backend_drops_nothing_and_a_broken_one_changes_nothing() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").workers(2).start();
    let before: BTreeSet<i32> = gateway.worker_pids().into_iter().collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                gateway.get("/slow?ms=5").origin(NAVAJA).send().is(200);
                gateway.post("/sink", "x").origin(NAVAJA).send().is(200);
            }
        });
        gateway.cli(&["backend", "reload", "api"]).ok();
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    let after: BTreeSet<i32> = gateway.worker_pids().into_iter().collect();
    assert!(after.is_disjoint(&before) && after.len() == 2, "{before:?} {after:?}");
}
