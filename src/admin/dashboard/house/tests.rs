//! Statuses as gateways have them, judged and bounded.

use serde_json::json;

use super::{judgement::Weight, *};

fn status(changes: &Value) -> Status {
    let mut status = json!({
        "version": "0.1.0", "pid": 17, "started": "2026-01-01T00:00:00Z", "uptime_s": 3700, "stopping": false,
        "local_ca": null, "listeners": [], "doors": [], "backends": [], "pools": [], "certificates": [],
        "tenants": {"total": 0, "active": 0, "paused": 0, "suspended": 0}, "warnings": [],
    });
    for (key, value) in changes.as_object().unwrap() {
        status[key] = value.clone();
    }
    serde_json::from_value(status).unwrap()
}

fn worker(name: &str, state: &str, error: Option<&str>) -> Value {
    json!({"name": name, "pid": 7, "state": state, "since": "2026-01-01T00:00:05Z", "restarts": 0, "in_flight": 0,
        "last_error": error, "last_lines": []})
}

fn backend(name: &str, workers: &[Value]) -> Value {
    json!({"name": name, "kind": "command", "wanted": workers.len(), "workers": workers})
}

fn certificate(host: &str, state: &str, error: Option<&str>) -> Value {
    let order = error.map(|error| {
        json!({"host": host, "state": "failing", "certificate": null, "not_after": null, "attempts": 1,
            "last_error": error, "next_try": null})
    });
    let served = (state == "served").then(|| {
        json!({"names": [host], "source": "acme", "issuer": "CN=R11", "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2026-03-01T10:11:12Z", "sha256": "00", "id": null, "file": null})
    });
    json!({"host": host, "state": state, "certificate": served, "order": order})
}

#[track_caller]
fn judged(changes: &Value) -> Value {
    serde_json::to_value(Judgement::of(&status(changes))).unwrap()
}

#[test]
fn the_headline_says_whether_everything_serves_and_the_worst_comes_first() {
    let crashed = || worker("api/1", "back-off", Some("it ended with exit code 3"));
    let one_down = backend("api", &[worker("api/0", "ready", None), crashed()]);
    let down = backend("api", &[crashed()]);
    let starting = backend("api", &[worker("api/0", "starting", None)]);
    let was_down = backend("api", &[worker("api/0", "ready", Some("long ago"))]);
    let mut stopped = backend("api", &[]);
    stopped["stopped"] = true.into();
    for (changes, weight, headline, first) in [
        (json!({}), "well", "Everything serves", ""),
        (json!({"backends": [was_down]}), "well", "Everything serves", ""),
        (
            json!({"backends": [one_down.clone()]}),
            "care",
            "Everything serves, one thing wants care",
            "api/1 is in state back-off: it ended with exit code 3",
        ),
        (
            json!({"backends": [stopped]}),
            "care",
            "Everything serves, one thing wants care",
            "backend api is stopped by order: `gateway backend start api`",
        ),
        (json!({"warnings": ["a", "b"]}), "care", "Everything serves, 2 things want care", "a"),
        (
            json!({"stopping": true}),
            "care",
            "Everything serves, one thing wants care",
            "the gateway is draining: it takes no new connections",
        ),
        (
            json!({"backends": [down.clone()], "warnings": ["a"]}),
            "ill",
            "api does not serve",
            "backend api does not serve: api/1 is in state back-off: it ended with exit code 3",
        ),
        (
            json!({"backends": [starting]}),
            "ill",
            "api does not serve",
            "backend api does not serve: its workers are starting",
        ),
        (
            json!({"backends": [one_down, down], "certificates": [certificate("a.example", "missing", None)]}),
            "ill",
            "api and a.example do not serve",
            "backend api does not serve: api/1 is in state back-off: it ended with exit code 3",
        ),
        (
            json!({"certificates": [certificate("a.example", "missing", Some("dns")), certificate("b.example", "ended", None)]}),
            "ill",
            "the https of 2 hosts does not serve",
            "2 hosts cannot be reached over https: a.example and others have no valid certificate",
        ),
    ] {
        let judgement = judged(&changes);
        assert_eq!(
            (&judgement["weight"], &judgement["headline"]),
            (&weight.into(), &headline.into()),
            "{changes}"
        );
        assert_eq!(judgement["findings"][0]["text"].as_str().unwrap_or_default(), first, "{changes}");
    }
    assert!(Weight::Ill > Weight::Care && Weight::Care > Weight::Well);
}

#[test]
fn an_upstream_that_does_not_answer_does_not_serve() {
    let mut upstream = backend("old", &[worker("old/0", "unreachable", None)]);
    upstream["kind"] = "upstream".into();
    let judgement = judged(&json!({"backends": [upstream]}));
    assert_eq!(judgement["findings"][0]["text"], "backend old does not serve: none of its addresses answers");
}

#[test]
fn whatever_a_gateway_has_the_page_gets_a_bounded_part_with_the_trouble_in_it() {
    let pools: Vec<_> =
        (0..1000).map(|n| json!({"tenant": format!("t{n}"), "in_use": 0, "waiting": n / 999})).collect();
    let mut hosts: Vec<_> =
        (0..1000).map(|n| certificate(&format!("h{n}.example"), "served", None)).collect();
    hosts.push(certificate("dark.example", "missing", Some("no such domain")));
    let mut crashed = worker("api/0", "back-off", Some(&"e".repeat(5000)));
    crashed["last_lines"] = json!(["l".repeat(5000)]);
    let warnings: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let status =
        status(&json!({"pools": pools, "certificates": hosts, "backends": [backend("api", &[crashed])],
        "warnings": warnings}));
    let house = serde_json::to_value(House::of(status, "2026-01-02T00:00:00Z".parse().unwrap())).unwrap();
    assert_eq!(
        (&house["pools"]["total"], house["pools"]["shown"].as_array().unwrap().len()),
        (&1000.into(), ROWS_MAX)
    );
    assert_eq!(house["pools"]["shown"][0]["tenant"], "t999", "who waits comes first");
    let dark = &house["certificates"]["shown"][0];
    assert_eq!((&dark["host"], &dark["trouble"]), (&"dark.example".into(), &"no such domain".into()));
    assert_eq!(house["certificates"]["total"], 1001);
    assert!(house["judgement"]["left_out"].as_u64().unwrap() > 80);
    assert!(house.to_string().len() < 60_000, "{} bytes", house.to_string().len());
}

#[test]
fn a_job_shows_what_went_wrong_last() {
    let verdict = |tenant: &str, outcome: &str| json!({"tenant": tenant, "outcome": outcome, "exit": 1, "detail": "exit code 1", "duration_ms": 1});
    let run = json!({"number": 4, "by": "schedule", "started": "2026-01-01T00:00:00Z", "duration_ms": 5,
        "outcome": "failed", "verdicts": [verdict("barba", "done"), verdict("navaja", "failed")], "verdicts_left_out": 0});
    let job: JobView = serde_json::from_value(json!({"name": "nightly", "backend": "api", "schedule": "0 3 * * *",
        "timezone": "UTC", "each_tenant": true, "next": null, "under_way": null, "overlaps_skipped": 0, "runs": [run],
        "program": null}))
    .unwrap();
    let row = JobRow::of(&job);
    assert_eq!((row.outcome, row.good, row.state.as_str()), (Some("failed"), false, "waiting"));
    assert_eq!(row.detail.as_deref(), Some("navaja: exit code 1"));
}
