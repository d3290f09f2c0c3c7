//! Sticky backends: what belongs together reaches one worker, and another one when that leaves.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::{BARBA, NAVAJA, TestGateway, eventually};

fn gateway(sticky: &str) -> TestGateway {
    let more = format!("backend.api.sticky = {sticky:?}");
    TestGateway::builder().shops().worker("echo.mjs").workers(3).config(&more).start()
}

/// The workers that answer eight requests with this cookie.
fn answering(gateway: &TestGateway, origin: &str, cookie: &str) -> BTreeSet<i64> {
    let one = |_| {
        let request = gateway.get("/slow?ms=1").origin(origin).header("cookie", cookie);
        request.send().is(200).json()["pid"].as_i64().unwrap()
    };
    (0..8).map(one).collect()
}

#[test]
fn a_tenant_and_a_client_stay_with_one_worker() {
    for sticky in ["tenant", "client"] {
        let gateway = gateway(sticky);
        for origin in [NAVAJA, BARBA] {
            assert_eq!(answering(&gateway, origin, "a=b").len(), 1, "{sticky} {origin}");
        }
    }
}

#[test]
fn a_cookie_leads_to_one_worker_and_to_another_when_that_leaves() {
    let gateway = gateway("cookie");
    let first = gateway.get("/x").origin(NAVAJA).send().is(200);
    let set = first.header("set-cookie").expect("a cookie is set").to_owned();
    assert!(set.starts_with("gateway-worker=") && set.contains("HttpOnly"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let home = answering(&gateway, NAVAJA, cookie);
    assert_eq!(home.len(), 1, "one worker");
    let again = gateway.get("/x").origin(NAVAJA).header("cookie", cookie).send().is(200);
    assert_eq!(again.header("set-cookie"), None, "it has one");
    // Without cookies requests spread.
    let all: BTreeSet<String> = (0..24)
        .map(|_| gateway.get("/slow?ms=1").origin(NAVAJA).send().is(200).json()["pid"].to_string())
        .collect();
    assert!(all.len() > 1, "{all:?}");

    let pid = i32::try_from(*home.first().unwrap()).unwrap();
    gateway.signal_worker(pid, Signal::SIGKILL);
    let moved = answering(&gateway, NAVAJA, cookie);
    assert!(!moved.contains(&i64::from(pid)), "{moved:?}");
    eventually("all are ready", || (gateway.worker_pids().len() == 3).then_some(()));
    assert_eq!(answering(&gateway, NAVAJA, cookie).len(), 1, "its successor is home again");
}
