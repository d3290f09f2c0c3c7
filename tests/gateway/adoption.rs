//! What a reload takes over from the configuration file, for one backend or for all; and what the status says of those
//! that do not come up.

use serde_json::Value;

use crate::{BARBA, NAVAJA, TestGateway, eventually};

/// A variable of the worker that answers this origin.
fn variable(gateway: &TestGateway, origin: &str, name: &str) -> Value {
    gateway.get("/process").origin(origin).send().is(200).json()["env"][name].clone()
}

#[test]
fn a_backends_reload_takes_its_table_from_the_file_and_a_bad_file_changes_nothing() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure("backend.api.env.LABEL = \"second\"\nbackend.api.workers = 2");
    gateway.cli(&["backend", "reload"]).ok().says(&["backend api reloaded"]);
    assert_eq!(variable(&gateway, NAVAJA, "LABEL"), "second");
    assert_eq!(gateway.worker_pids().len(), 2);
    let pids = gateway.worker_pids();

    // Not this backend's fault, and still no file to take anything from.
    gateway.site().configure("backend.api.env.LABEL = \"third\"\nbackend.api.wrokers = 3");
    gateway.cli(&["backend", "reload", "api"]).fails(2).says(&["wrokers", "gateway check"]);
    assert_eq!((variable(&gateway, NAVAJA, "LABEL"), gateway.worker_pids()), ("second".into(), pids));
}

#[test]
fn a_reload_of_all_is_rolled_for_an_env_file_that_has_changed_and_for_nothing_less() {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    let file = site.write("api.env", "SECRET=a$b\n");
    site.configure(&format!("backend.api.env_file = {file:?}"));
    let gateway = site.start();
    assert_eq!(variable(&gateway, NAVAJA, "SECRET"), "a$b");
    let pids = gateway.worker_pids();
    gateway.cli(&["reload"]).ok();
    assert_eq!(gateway.worker_pids(), pids);
    gateway.site().write("api.env", "SECRET=c\n");
    gateway.cli(&["reload"]).ok();
    assert_eq!(variable(&gateway, NAVAJA, "SECRET"), "c");
}

#[test]
fn a_backend_that_fails_keeps_no_other_from_being_reloaded() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .backend("second", "echo.mjs", &["second.example"])
        .config("[[tenant]]\nid = \"late\"\norigins = [\"https://late.example\"]\nbackend = \"second\"")
        .config("[backend.api]\nready_timeout = \"1500ms\"")
        .start();
    let late = || {
        let answer = gateway.get("/process").host("second.example").origin("https://late.example").send();
        answer.is(200).json()["env"]["LABEL"].clone()
    };
    eventually("both serve", || (gateway.worker_pids().len() == 2).then_some(()));
    assert_eq!(late(), Value::Null);
    gateway.site().configure("backend.api.env.ECHO_NEVER = \"1\"\nbackend.second.env.LABEL = \"new\"");
    gateway.cli(&["reload"]).fails(5).says(&["worker api/0 is not ready"]);
    assert_eq!(late(), "new");
    assert_eq!(variable(&gateway, BARBA, "ECHO_NEVER"), Value::Null, "the old one serves on");
    // The next one sees that something is left to do.
    gateway.cli(&["reload"]).fails(5).says(&["worker api/0 is not ready"]);
}

#[test]
fn status_says_why_a_worker_does_not_come_up_with_its_last_lines() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure(
        "[backend.api]\ncommand = [\"node\", \"-e\", \"console.error('no barber'); process.exit(4)\"]",
    );
    gateway.cli(&["backend", "stop"]).ok();
    gateway.cli(&["reload"]).ok();
    gateway.cli(&["backend", "start"]).fails(5).says(&["no barber", "user: "]);
    eventually("it is in a crash loop", || {
        gateway.status()["backends"][0]["workers"][0]["state"]
            .as_str()
            .filter(|state| *state == "back-off")?;
        Some(())
    });
    gateway.cli(&["status"]).ok().says(&[
        "api/0: it ended with exit code 4 before it was ready",
        "\n  | no barber",
        "  user: ",
        "  program: ",
    ]);
}
