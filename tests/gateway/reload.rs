//! A reload swaps what changed and drops nothing.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{BARBA, NAVAJA, TestGateway, eventually};

#[test]
fn reloads_under_load_drop_no_request_and_no_connection() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let pids = gateway.worker_pids();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for secure in [false, true] {
            let (gateway, stop) = (&gateway, &stop);
            scope.spawn(move || {
                // One connection for all of it: a closed one fails the test.
                let mut wire = if secure { gateway.tls_wire() } else { gateway.wire() };
                while !stop.load(Ordering::Relaxed) {
                    wire.send(gateway.get("/x").origin(NAVAJA).bytes());
                    wire.answer().is(200);
                }
            });
        }
        for number in 1..=10 {
            gateway.site().configure(&format!("[cors]\nmax_age = \"{number}m\""));
            gateway.cli(&["reload"]).ok();
            let answer = gateway.preflight("/x", NAVAJA, "PUT", "").send().is(204);
            assert_eq!(answer.header("access-control-max-age"), Some(&*(number * 60).to_string()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(gateway.worker_pids(), pids, "workers that did not change were started anew");
}

#[test]
fn a_tenant_that_is_declared_no_longer_is_gone_and_its_file_stays() {
    let gateway = TestGateway::builder().shops().worker("notes.mjs").start();
    let body = serde_json::json!({ "sql": "CREATE TABLE kept (x)" });
    gateway.request("POST", "/sql").origin(BARBA).json(&body).send().is(200);
    let path = gateway.site().config_path();
    let both = std::fs::read_to_string(&path).unwrap();
    let mut config: toml::Table = both.parse().unwrap();
    let tenants = config["tenant"].as_array_mut().unwrap();
    tenants.retain(|tenant| tenant["id"].as_str() != Some("barba"));
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("it is gone", || (gateway.get("/ticket").origin(BARBA).send().status == 403).then_some(()));
    gateway.get("/ticket").origin(NAVAJA).send().is(200);
    assert!(gateway.site().state().join("tenants/barba.db").exists());
    std::fs::write(&path, both).unwrap();
    gateway.cli(&["reload"]).ok();
    let body = serde_json::json!({ "sql": "SELECT count(*) FROM kept" });
    gateway.request("POST", "/sql").origin(BARBA).json(&body).send().is(200);
}

#[test]
fn limits_and_hosts_change_without_a_restart() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.get("/x").host("new.example").origin(NAVAJA).send().is(421);
    gateway.site().configure("[edge]\nhosts = [\"new.example\"]\n[edge.limits]\nbody_bytes_max = 10");
    gateway.cli(&["reload"]).ok();
    gateway.get("/x").host("new.example").origin(NAVAJA).send().is(200);
    gateway.post("/sink", "more than ten bytes").origin(NAVAJA).send().problem(413);
}

#[test]
fn what_cannot_change_while_running_is_said() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure(&format!("state_dir = {:?}", gateway.site().path().join("elsewhere")));
    let output = gateway.cli(&["reload"]);
    assert!(output.all().contains("state_dir"), "{}", output.all());
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_tenant_of_the_command_line_that_the_file_takes_over_is_told() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    gateway.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    let declare = |id: &str, origin: &str| {
        gateway.site().configure(&format!("[[tenant]]\nid = {id:?}\norigins = [{origin:?}]"));
    };
    declare("navaja", NAVAJA);
    gateway
        .cli(&["reload"])
        .ok()
        .says(&["warning: tenant `navaja`, added on the command line, is declared now"]);
    assert!(!gateway.cli(&["reload"]).ok().all().contains("warning"), "it is told once");
    // A signal has nobody to answer, and a start has nobody to ask: the log is told.
    declare("barba", BARBA);
    let told = |gateway: &TestGateway| {
        gateway
            .log()
            .lines()
            .any(|line| line.contains("WARN") && line.contains("tenant `barba`, added on"))
            .then_some(())
    };
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the log tells of it", || told(&gateway));

    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    site.configure(&format!("[[tenant]]\nid = \"barba\"\norigins = [{BARBA:?}]"));
    assert!(told(&site.start()).is_some());
}
