//! Sticky backends: what belongs together reaches one worker, and another one when that leaves.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::{BARBA, NAVAJA, TestGateway, eventually, node};

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
    // Over TLS pages of any origin bring it back, also where browsers keep no cookies of third parties.
    let secure = gateway.get("/x").origin(NAVAJA).secure().send().is(200);
    let set = secure.header("set-cookie").unwrap();
    assert!(set.ends_with("; Secure; SameSite=None; Partitioned"), "{set}");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap();
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

#[test]
fn a_new_worker_takes_no_session_away_and_gets_its_share_of_new_ones() {
    let gateway = gateway("cookie");
    eventually("all are ready", || (gateway.worker_pids().len() == 3).then_some(()));
    let newcomer = || {
        let answer = gateway.get("/x").origin(NAVAJA).send().is(200);
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    let homes = |cookies: &[String]| -> Vec<_> {
        cookies.iter().map(|cookie| answering(&gateway, NAVAJA, cookie)).collect()
    };
    let sessions: Vec<_> = (0..12).map(|_| newcomer()).collect();
    let before = homes(&sessions);
    gateway.cli(&["backend", "scale", "6"]).ok();
    assert_eq!(homes(&sessions), before);
    let new: BTreeSet<_> = homes(&(0..24).map(|_| newcomer()).collect::<Vec<_>>()).into_iter().collect();
    assert!(new.iter().any(|home| !before.contains(home)), "{new:?}");
    gateway.cli(&["backend", "scale", "3"]).ok();
    assert_eq!(homes(&sessions), before);
}

/// What twelve clients of socket.io's say over these transports.
fn talk(sticky: &str, transports: &str) -> serde_json::Value {
    // By this name, so that the clients' own library says the host.
    let gateway = TestGateway::builder()
        .tenant("navaja", &[NAVAJA])
        .backend("api", "socketio.mjs", &["localhost"])
        .workers(3)
        .config(sticky)
        .start();
    eventually("all are ready", || (gateway.worker_pids().len() == 3).then_some(()));
    let api = format!("http://localhost:{}", gateway.http().port());
    let env = [("API", &*api), ("ORIGIN", NAVAJA)];
    serde_json::from_str(&node::run("socketio.mjs", &[transports], &env)).unwrap()
}

#[test]
fn socket_io_keeps_its_sessions_over_several_workers_with_a_cookie_and_not_without() {
    for transports in ["polling", "polling,websocket"] {
        let said = talk("backend.api.sticky = \"cookie\"", transports);
        assert_eq!(
            (&said["failures"], &said["strayed"]),
            (&serde_json::json!([]), &0.into()),
            "{transports}"
        );
        assert!(said["workers"].as_u64().unwrap() > 1, "{transports}: {said}");
    }
    let lost = talk("", "polling");
    assert!(
        !lost["failures"].as_array().unwrap().is_empty(),
        "three workers know each other's sessions: {lost}"
    );
}

#[test]
fn an_answer_that_shared_caches_may_keep_sets_no_cookie() {
    let config = "backend.api.sticky = \"cookie\"\n[[edge.path]]\nprefix = \"/shared/\"\ncache = \"shared\"\n\
                  [[edge.path]]\nprefix = \"/menu\"\ncache = \"shared\"\n";
    let gateway = TestGateway::builder().shops().worker("socketio.mjs").config(config).start();
    let cookie = |path: &str| {
        let answer = gateway.get(path).origin(NAVAJA).send().is(200);
        answer.header("set-cookie").map(str::to_owned)
    };
    assert_eq!((cookie("/menu"), cookie("/shared/x")), (None, None));
    assert!(cookie("/x").is_some(), "a page's answers are private");
}
