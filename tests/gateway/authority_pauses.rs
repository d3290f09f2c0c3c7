//! An authority in trouble: what it may have heard counts, what it asks for is kept to, and what fails with one host
//! stops no other.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    TestGateway,
    acme::{attempts, host_until, ledger, names, soon_served},
    eventually,
    front::{Front, Manners, Refusal},
    pebble::{Pebble, Settings},
};

fn set_up() -> (Pebble, Front) {
    let pebble = Pebble::start(Settings { nonces_refused: 0, ..Settings::default() });
    let front = Front::start(&pebble, Manners::default());
    (pebble, front)
}

/// No newOrder succeeds.
const BUSY: Refusal = Refusal {
    path: "/order-plz",
    about: "",
    status: 503,
    retry_after: Some("3600"),
    kind: Some("serverInternal"),
};

/// How a host's order stands.
fn order(gateway: &TestGateway, host: &str) -> Value {
    let listed = gateway.cli(&["cert", "list", "--json"]).ok().json();
    listed.as_array().unwrap().iter().find(|one| one["host"] == host).unwrap()["order"].clone()
}

/// In so many minutes its turn comes, once that is known.
#[track_caller]
fn minutes_to_wait(gateway: &TestGateway, host: &str) -> i64 {
    eventually("something has failed, and the next try is known", || {
        let order = order(gateway, host);
        order["last_error"].as_str()?;
        let next: Timestamp = order["next_try"].as_str()?.parse().unwrap();
        Some((next.duration_since(Timestamp::now()) + SignedDuration::from_secs(30)).as_mins())
    })
}

#[test]
fn orders_whose_answers_are_lost_count_and_are_four_an_hour_at_most() {
    let (pebble, front) = set_up();
    front.hold(Some("/order-plz"));
    let pace = "tls.acme.request_timeout = \"1s\"\ntls.acme.retry_first = \"200ms\"";
    let config = format!("{}\nedge.hosts = [\"a.example.com\"]\n{pace}", front.config());
    let gateway = pebble.builder().config(&config).start();
    let history = host_until(gateway.site(), "a.example.com", |history| {
        attempts(history) == 4 && history["ordering"] == false
    });
    assert!(history["last_error"].as_str().unwrap().contains("did not answer"), "{history}");
    assert!((50..=60).contains(&minutes_to_wait(&gateway, "a.example.com")), "the hour is full");
    // Neither a new process nor the operator goes around it.
    let gateway = gateway.stop().start();
    gateway.cli(&["cert", "renew", "a.example.com"]).ok().says(&["not before", "four orders an hour"]);
    let renewal = gateway.cli(&["cert", "renew", "a.example.com", "--json"]).ok().json();
    assert_eq!(renewal["hosts"][0], "a.example.com");
    assert!(renewal["wait"]["why"].as_str().unwrap().contains("four orders an hour"), "{renewal}");
    assert!((50..=60).contains(&minutes_to_wait(&gateway, "a.example.com")), "the hour is still full");
    assert_eq!(front.orders_of("a.example.com"), 4);
}

#[test]
fn retry_after_is_kept_to_whatever_it_comes_with_and_the_operator_cannot_go_before_it() {
    for (refusal, minutes) in [
        (BUSY, 60),
        (Refusal { status: 500, kind: None, ..BUSY }, 60),
        (Refusal { status: 403, kind: Some("unauthorized"), ..BUSY }, 60),
        (Refusal { status: 429, kind: Some("rateLimited"), ..BUSY }, 60),
        (Refusal { path: "/sign-me-up", status: 429, kind: Some("rateLimited"), ..BUSY }, 60),
        (Refusal { path: "/sign-me-up", ..BUSY }, 60),
        (Refusal { path: "/nonce-plz", ..BUSY }, 60),
        (Refusal { path: "/dir", kind: None, ..BUSY }, 60),
        (Refusal { path: "/authZ/", ..BUSY }, 60),
        // A day at most.
        (Refusal { retry_after: Some("999999999"), ..BUSY }, 24 * 60),
    ] {
        let (pebble, front) = set_up();
        front.refuse(Some(refusal));
        let config = format!("{}\nedge.hosts = [\"a.example.com\"]", front.config());
        let gateway = pebble.builder().config(&config).start();
        let is_kept = |gateway: &TestGateway, when: &str| {
            let wait = minutes_to_wait(gateway, "a.example.com");
            assert!((minutes - 5..=minutes + 1).contains(&wait), "{when} {refusal:?}: {wait} minutes");
        };
        is_kept(&gateway, "at first");
        let requests = front.requests("/");
        let says = ["not before", "the certificate authority asked for this pause"];
        gateway.cli(&["cert", "renew", "a.example.com"]).ok().says(&says);
        is_kept(&gateway, "after the operator");
        let gateway = gateway.stop().start();
        is_kept(&gateway, "after a restart");
        assert_eq!(front.requests("/"), requests, "{refusal:?}: it is left alone");
    }
}

#[test]
fn a_host_whose_orders_the_authority_fails_at_holds_up_no_other() {
    for kind in [Some("serverInternal"), None] {
        let (pebble, front) = set_up();
        front.refuse(Some(Refusal { about: "bad.", status: 500, retry_after: None, kind, ..BUSY }));
        let config = "edge.hosts = [\"bad.example.com\"]\ntls.acme.retry_first = \"300s\"";
        let gateway = pebble.builder().config(&front.config()).config(config).start();
        let bad = |history: &Value| history["failures"] == 1 && history["ordering"] == false;
        let history = host_until(gateway.site(), "bad.example.com", bad);
        assert_eq!(attempts(&history), 1, "it may have been made: {history}");
        for number in 0..8 {
            let host = format!("n.shop{number}.example");
            gateway.cli(&["tenant", "add", &format!("t{number}"), "--host", &host]).ok();
            assert_eq!(names(&soon_served(&gateway, &host, &pebble.root())), [host.as_str()]);
        }
        assert_eq!(ledger(gateway.site()).unwrap()["authority"]["next_try"], Value::Null);
        assert!(bad(&host_until(gateway.site(), "bad.example.com", |history| !history.is_null())));
    }
}

#[test]
fn an_order_at_which_the_authority_fails_on_the_way_goes_on_later_and_is_not_made_again() {
    for path in ["/authZ/", "/chalZ/", "/finalize-order/", "/certZ/"] {
        let (pebble, front) = set_up();
        front.refuse(Some(Refusal { path, status: 502, retry_after: None, kind: None, ..BUSY }));
        let config = format!("{}\nedge.hosts = [\"a.example.com\"]", front.config());
        let gateway = pebble.builder().config(&config).start();
        host_until(gateway.site(), "a.example.com", |history| history["failures"].as_u64() >= Some(1));
        front.refuse(None);
        soon_served(&gateway, "a.example.com", &pebble.root());
        let history = host_until(gateway.site(), "a.example.com", |history| history["failures"] == 0);
        assert_eq!((attempts(&history), front.orders_of("a.example.com")), (1, 1), "{path}: {history}");
    }
}

#[test]
fn an_authority_that_fails_at_three_different_orders_in_a_row_is_left_alone_for_a_while() {
    let (pebble, front) = set_up();
    front.refuse(Some(Refusal { status: 500, retry_after: None, ..BUSY }));
    let hosts = "edge.hosts = [\"a.example.com\", \"b.example.org\", \"c.example.net\", \"d.example.edu\"]";
    let gateway = pebble.builder().config(&front.config()).config(hosts).start();
    eventually("it counts as down", || {
        let authority = ledger(gateway.site())?["authority"].clone();
        (authority["failures"].as_u64() >= Some(1) && authority["next_try"].is_string()).then_some(())
    });
    front.refuse(None);
    for host in ["a.example.com", "b.example.org", "c.example.net", "d.example.edu"] {
        soon_served(&gateway, host, &pebble.root());
    }
}
