//! One reload beside another: whatever one of them waits for, no other order to the house does.

use std::thread;

use serde_json::Value;

use crate::{HOST, NAVAJA, TestGateway, eventually, running::workers};

fn backend(gateway: &TestGateway) -> Value {
    gateway.status()["backends"].as_array().unwrap().iter().find(|one| one["name"] == "api").unwrap().clone()
}

#[test]
fn a_reload_that_waits_for_room_holds_up_no_other_backend_and_gives_way_to_the_next_order() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .backend("staging", "echo.mjs", &["staging.example"])
        .config("[backend.api]\ndrain_timeout = \"10m\"\nstop_grace = \"200ms\"")
        .start();
    let order = |arguments: &'static [&'static str]| gateway.cli(arguments);
    let reload = &["backend", "reload", "api"];
    let mut held = Vec::new();
    thread::scope(|scope| {
        for old in 1..=2 {
            held.push(gateway.get("/hang").host(HOST).origin(NAVAJA).open());
            eventually("it is in flight", || {
                let status = gateway.status();
                workers(&status).any(|one| one["state"] == "ready" && one["in_flight"] == 1).then_some(())
            });
            scope.spawn(move || order(reload).ok());
            eventually("it is replaced and drains", || {
                (backend(&gateway)["generation"] == old + 1).then_some(())
            });
        }
        let waits = || eventually("it waits", || (!backend(&gateway)["held_up"].is_null()).then_some(()));
        let third = scope.spawn(move || order(reload));
        waits();
        order(&["backend", "reload", "staging"]).ok();
        assert!(!third.is_finished());
        let fourth = scope.spawn(move || order(reload));
        third.join().unwrap().fails(1).says(&["another order to backend api came"]);
        waits();
        // The whole file says nothing new of it, and is in force at once.
        gateway.site().configure("edge.limits.body_bytes_max = 1234567");
        order(&["reload"]).ok();
        fourth.join().unwrap().fails(1).says(&["another order to backend api came"]);
        gateway.post("/sink", "x".repeat(1_234_568)).host(HOST).origin(NAVAJA).send().is(413);
        assert_eq!(backend(&gateway)["generation"], 3);
        // A swap is a new start, which leaves no request waiting.
        let fifth = scope.spawn(move || order(reload));
        waits();
        order(&["swap"]).ok();
        drop(fifth.join());
    });
    gateway.get("/x").host(HOST).origin(NAVAJA).send().is(200);
}
