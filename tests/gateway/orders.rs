//! Orders to backends, by the command line: carried out when the command ends, told by its exit code, and no request
//! is lost that could be served.

use std::thread;

use serde_json::Value;

use crate::{
    NAVAJA, TestGateway, eventually,
    load::{Load, Target},
    running::workers,
};

fn described(gateway: &TestGateway) -> Value {
    gateway.cli(&["backend", "describe", "--json"]).ok().json()
}

#[test]
fn scaling_from_one_to_eight_and_back_loses_no_request() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let (load, target) = (Load::default(), Target::plain(&gateway));
    thread::scope(|scope| {
        let _ending = load.ending();
        for path in ["/x", "/slow?ms=20", "POST /sink"] {
            let (load, gateway, target) = (&load, &gateway, &target);
            scope.spawn(move || load.keep_asking(gateway, target, path));
        }
        scope.spawn(|| load.keep_connecting(&gateway, &target));
        for workers_wanted in [8, 1] {
            let wanted = workers_wanted.to_string();
            let output = gateway.cli(&["backend", "scale", "api", &wanted]).ok();
            assert!(output.stdout.contains(&format!("backend api scaled to {wanted} worker")), "{output:?}");
            let progress = if workers_wanted == 8 { "api/7 ready (pid " } else { "api/7 ended (pid " };
            assert!(output.stderr.contains(progress), "{output:?}");
            let status = gateway.status();
            let states: Vec<_> = workers(&status).map(|worker| worker["state"].clone()).collect();
            assert_eq!(states, vec![Value::from("ready"); workers_wanted], "{status}");
        }
    });
    assert!(load.answered() > 100, "there was no load");
}

#[test]
fn a_stopped_backend_answers_503_with_a_code_of_its_own_until_it_is_started() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let pid = gateway.worker_pids()[0];
    // What is in flight ends first.
    let mut held = gateway.get("/slow?ms=700").origin(NAVAJA).open();
    eventually("it is in flight", || {
        let status = gateway.status();
        workers(&status).any(|worker| worker["in_flight"] == 1).then_some(())
    });
    gateway.cli(&["backend", "stop"]).ok().says(&["backend api stopped"]);
    held.answer().is(200);
    assert_eq!(gateway.worker_pids(), [0_i32; 0]);
    let answer = gateway.get("/x").origin(NAVAJA).send().problem(503).readable_from(NAVAJA);
    assert_eq!(answer.json()["code"], "backend-stopped");
    assert_eq!(answer.header("retry-after"), Some("30"));
    gateway
        .cli(&["backend", "list"])
        .ok()
        .says(&["finished", "backend api is stopped: `gateway backend start api`"]);
    gateway.cli(&["status"]).ok().says(&["backend api is stopped: `gateway backend start api`"]);
    gateway.cli(&["backend", "start", "api"]).ok().says(&["backend api started"]);
    gateway.get("/x").origin(NAVAJA).send().is(200);
    assert_ne!(gateway.worker_pids(), [pid]);
}

#[test]
fn a_reload_that_fails_ends_with_5_and_the_new_workers_last_lines_and_a_rollback_goes_back() {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    site.write("app.env", "RELEASE=first\n");
    site.configure(&format!("backend.api.env_file = {:?}", site.path().join("app.env")));
    let gateway = site.start();
    let release = || gateway.get("/process").origin(NAVAJA).send().is(200).json()["env"]["RELEASE"].clone();
    assert_eq!(release(), "first");
    gateway.site().write("app.env", "RELEASE=second\n");
    let output = gateway.cli(&["backend", "reload"]).ok();
    assert!(output.stderr.contains("api/0 ready (pid "), "{output:?}");
    assert_eq!(release(), "second");

    gateway.site().write("app.env", "ECHO_FAIL=\"cannot find the barber\"\n");
    let failed = gateway.cli(&["backend", "reload"]).fails(5);
    failed.says(&["worker api/0 is not ready", "| cannot find the barber"]);
    assert_eq!(release(), "second");

    gateway.cli(&["backend", "rollback"]).ok().says(&["backend api rolled back to generation 1"]);
    assert_eq!(release(), "first");
    let described = described(&gateway);
    assert_eq!(
        (described["generation"].clone(), described["generations"].as_array().unwrap().len()),
        (1.into(), 2)
    );
    gateway.cli(&["backend", "describe"]).ok().says(&["1 of 1 workers ready", "in force", "GENERATION"]);
    gateway.cli(&["backend", "rollback", "9"]).fails(1).says(&["hint: kept are: 2"]);
}

#[test]
fn orders_that_make_no_sense_are_refused_with_a_remedy() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    for (words, code, hint) in [
        ("scale 0", 2, "from 1 to 1024"),
        ("scale many", 2, "`many` is no number of workers"),
        ("scale +many", 2, "`many` is no number of workers"),
        ("scale api -1", 2, "`-1` is no number of workers"),
        ("signal api WINCH", 2, "`gateway backend signal WINCH api`"),
        ("restart apj", 1, "did you mean `api`?"),
        ("signal NONSENSE", 2, "name it like USR2"),
        ("signal WINCH --worker api/9", 1, "gateway backend list"),
        ("reload nope", 1, "the backends are: `api`"),
    ] {
        let arguments: Vec<&str> = std::iter::once("backend").chain(words.split(' ')).collect();
        gateway.cli(&arguments).fails(code).says(&[hint]);
    }
    gateway.cli(&["backend", "signal", "WINCH"]).ok().says(&["WINCH sent to 1 process of backend api"]);
    // So many more, as with pm2.
    gateway.cli(&["backend", "scale", "api", "+1"]).ok().says(&["backend api scaled to 2 workers"]);
    gateway.cli(&["backend", "scale", "+1"]).ok().says(&["backend api scaled to 3 workers"]);
    assert_eq!(gateway.worker_pids().len(), 3);
}
