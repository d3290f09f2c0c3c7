//! WebSockets over HTTP/2 (RFC 8441): the same line, the same worker, another way in.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::{NAVAJA, STRANGER, TestGateway, eventually, node};

const SUSPENDED: &str = "https://suspended.example";

/// A worker that serves `navaja`, and a suspended tenant.
fn start(program: &str) -> TestGateway {
    let gateway = TestGateway::builder().worker(program).start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    gateway.cli(&["tenant", "add", "suspended", "--origin", SUSPENDED]).ok();
    gateway.cli(&["tenant", "suspend", "suspended"]).ok();
    gateway
}

fn env(gateway: &TestGateway) -> [(&'static str, String); 4] {
    [
        ("API", format!("https://127.0.0.1:{}", gateway.https().port())),
        ("ORIGIN", NAVAJA.to_owned()),
        ("STRANGER", STRANGER.to_owned()),
        ("SUSPENDED", SUSPENDED.to_owned()),
    ]
}

fn run(gateway: &TestGateway, mode: &str) {
    let env = env(gateway);
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    node::run("websocket_http2.mjs", &[mode], &env);
}

#[test]
fn messages_and_closes_pass_over_one_connection_beside_ordinary_requests() {
    let gateway = start("echo.mjs");
    run(&gateway, "library");
    let events = eventually("the worker hears of the closed tab", || {
        let events = gateway.get("/seen").origin(NAVAJA).send().json()["events"].to_string();
        events.contains("websocket: closed 1006").then_some(events)
    });
    assert!(events.contains("websocket: closed 4002"), "{events}");
    let lines = eventually("all are in the access log", || {
        let lines = gateway.access_log();
        let lines: Vec<_> =
            lines.into_iter().filter(|line| line["path"].as_str().unwrap().starts_with("/ws")).collect();
        (lines.len() == 43).then_some(lines)
    });
    for line in lines {
        assert_eq!(
            (&line["protocol"], &line["status"], &line["method"]),
            (&"HTTP/2".into(), &200.into(), &"CONNECT".into())
        );
        assert!(line["code"].as_str().unwrap().ends_with("-closed"), "{line}");
    }
}

#[test]
fn half_closes_and_back_pressure_pass_over_http2() {
    let gateway = start("sockets.mjs");
    run(&gateway, "raw");
    eventually("the worker heard everything", || {
        let events = gateway.get("/seen").origin(NAVAJA).send().json()["events"].to_string();
        let heard = events.contains("client-half: heard the end")
            && events.contains("worker-half: heard 48 bytes and the end")
            && events.contains("upgrade GET /client-half");
        heard.then_some(())
    });
}

#[test]
fn refusals_are_answers_that_the_page_can_read_and_no_other_tunnel_is_made() {
    run(&start("echo.mjs"), "refusals-of-the-gateway");
    run(&start("sockets.mjs"), "refusals-of-the-worker");
}

#[test]
fn suspension_and_drain_say_goodbye_over_http2() {
    for (order, goodbye) in [(Some("suspend"), "1008 "), (None, "1001 ")] {
        let gateway = start("echo.mjs");
        let mut command = Command::new("node");
        command.arg("websocket_http2.mjs").arg("goodbye").envs(env(&gateway)).current_dir(node::directory());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "open");
        match order {
            Some(order) => drop(gateway.cli(&["tenant", order, "navaja"]).ok()),
            None => gateway.signal(Signal::SIGTERM),
        }
        let said = lines.next().unwrap().unwrap();
        assert!(said.starts_with(goodbye), "{said}");
        assert!(child.wait().unwrap().success());
    }
}
