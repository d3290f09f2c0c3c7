//! What the edge refuses, and how the caller reads it.

use std::time::Duration;

use crate::tenant::RefusalReason;

use super::{
    ACME, OK,
    kit::{Answer, House},
};

fn check(answer: &Answer, status: u16, code: &str, readable_by: Option<&str>) {
    assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{}", answer.head);
    assert_eq!(answer.header("access-control-allow-origin"), readable_by, "{}", answer.head);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert!(answer.body.contains(answer.header("x-request-id").unwrap()));
}

#[test]
fn the_backend_never_sees_what_is_refused_and_listed_pages_can_read_why() {
    let house = House::with(|settings| settings.config.limits.headers_max = 20);
    let worker = house.unreachable();
    let acme = Some("https://acme.example");
    let many = "x-a: 1\r\n".repeat(25);
    for (headers, status, code, readable) in [
        ("origin: https://evil.example\r\n", 403, "origin-not-listed", None),
        ("origin: null\r\n", 403, "origin-null", None),
        ("host: shared.example\r\n", 400, "header-twice", None),
        (&format!("{ACME}{ACME}"), 400, "header-twice", None),
        (&format!("{ACME}{many}"), 431, "headers-too-large", acme),
        (&format!("{ACME}content-length: 999999999\r\n"), 413, "body-too-large", acme),
        ("x-gateway-key: guess\r\n", 401, "key-invalid", None),
        ("origin: https://suspended.example\r\n", 403, "tenant-suspended", Some("https://suspended.example")),
        ("origin: https://paused.example\r\n", 503, "tenant-paused", Some("https://paused.example")),
    ] {
        check(&house.get(headers), status, code, readable);
    }
    let misdirected = house.ask("GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    check(&misdirected, 421, "host-not-served", None);
    let differ = house.ask(&format!("GET / HTTP/1.1\r\nhost: api.beta.example\r\n{ACME}\r\n"));
    check(&differ, 403, "tenants-differ", acme);
    let no_host = house.ask("GET / HTTP/1.1\r\n\r\n");
    check(&no_host, 400, "host-invalid", None);
    assert_eq!(worker.heads(), Vec::<String>::new());
}

#[test]
fn a_preflight_is_204_whatever_the_tenants_status_limits_and_workers() {
    let house = House::with(|settings| settings.config.admit.tenant_requests_per_second = 0);
    for id in ["acme", "paused", "suspended"] {
        let origin = format!("https://{id}.example");
        let answer = house.ask(&format!(
            "OPTIONS /x HTTP/1.1\r\nhost: shared.example\r\norigin: {origin}\r\n\
             access-control-request-method: PUT\r\n\r\n"
        ));
        assert_eq!(answer.status(), 204, "{id}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin.as_str()));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    check(&house.get(ACME), 429, "too-many-requests", Some("https://acme.example"));
}

#[test]
fn any_other_options_reaches_the_worker() {
    let house = House::new();
    let worker = house.answering(OK);
    let answer = house.ask(&format!("OPTIONS /x HTTP/1.1\r\nhost: shared.example\r\n{ACME}\r\n"));
    assert_eq!(answer.status(), 200);
    assert!(worker.head().starts_with("OPTIONS /x "));
}

#[test]
fn a_rate_that_is_spent_is_429_with_the_time_to_come_back() {
    let house = House::with(|settings| settings.config.admit.client_requests_per_second = 1);
    house.answering(OK);
    let answers: Vec<_> = (0..3).map(|_| house.get(ACME)).collect();
    assert_eq!(answers.iter().map(Answer::status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(answers[2].header("retry-after"), Some("1"));
    let other = house.get("origin: https://beta.example\r\n");
    assert_eq!(other.status(), 200, "another tenant has a rate of its own");
}

#[test]
fn a_place_is_held_until_the_answer_has_passed_whole() {
    let house = House::with(|settings| settings.config.admit.tenant_in_flight_max = 1);
    house.worker(|mut wire| {
        wire.request();
        wire.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhe");
        std::thread::sleep(Duration::from_millis(600));
        wire.write("re");
    });
    let mut first = house.connect();
    first.write(&format!("GET / HTTP/1.1\r\nhost: shared.example\r\n{ACME}\r\n"));
    std::thread::sleep(Duration::from_millis(200));
    check(&house.get(ACME), 429, "too-many-in-flight", Some("https://acme.example"));
    assert_eq!(first.answer().body, "here");
    assert_eq!(house.get(ACME).status(), 200);
}

#[test]
fn a_body_that_grows_too_large_on_the_way_is_413() {
    let house = House::with(|settings| settings.config.limits.body_bytes_max = 10);
    house.answering(OK);
    let chunk = "a\r\n0123456789\r\n";
    let answer = house.ask(&format!(
        "POST / HTTP/1.1\r\nhost: shared.example\r\n{ACME}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    ));
    check(&answer, 413, "body-too-large", Some("https://acme.example"));
}

#[test]
fn a_client_that_is_still_sending_can_read_why_it_was_refused() {
    let house = House::with(|settings| settings.config.limits.body_bytes_max = 4_000_000);
    let worker = house.unreachable();
    let body = "x".repeat(3_000_000);
    let answer = house.ask(&format!(
        "POST / HTTP/1.1\r\nhost: shared.example\r\norigin: https://evil.example\r\ncontent-length: 3000000\r\n\r\n{body}"
    ));
    check(&answer, 403, "origin-not-listed", None);
    assert!(worker.heads().is_empty());
}

#[test]
fn a_body_that_never_comes_is_408() {
    let house = House::with(|settings| settings.config.limits.body_idle_timeout = Duration::from_millis(200));
    house.answering(OK);
    let answer =
        house.ask(&format!("POST / HTTP/1.1\r\nhost: shared.example\r\n{ACME}content-length: 5\r\n\r\nab"));
    check(&answer, 408, "body-stalled", Some("https://acme.example"));
}

#[test]
fn refused_origins_and_doomed_preflights_are_remembered_for_the_operator() {
    let house = House::new();
    house.get("origin: https://new-shop.example\r\n");
    house.get("origin: null\r\n");
    house.ask(&format!(
        "OPTIONS /x HTTP/1.1\r\nhost: shared.example\r\n{ACME}access-control-request-method: PROPFIND\r\n\r\n"
    ));
    let rows = house.refusals.list(&house.registry.snapshot());
    let row = |origin: &str| rows.iter().find(|row| row.origin == origin).map(|row| row.reason.clone());
    assert_eq!(row("https://new-shop.example"), Some(RefusalReason::Unlisted));
    assert_eq!(row("null"), Some(RefusalReason::Null));
    let (tenant, method) = ("acme".parse().unwrap(), "PROPFIND".to_owned());
    assert_eq!(row("https://acme.example"), Some(RefusalReason::PreflightMethod { tenant, method }));
    assert!(rows.iter().all(|row| !row.path.contains("secret")));
}

#[test]
fn open_paths_take_any_origin_and_answer_without_cors() {
    let house = House::new();
    house.answering(OK);
    let hook = |headers: &str| {
        house.ask(&format!(
            "POST /hooks/acme HTTP/1.1\r\nhost: shared.example\r\n{headers}content-length: 0\r\n\r\n"
        ))
    };
    let answer = hook("origin: null\r\n");
    assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (200, None));
    assert_eq!(hook(ACME).header("access-control-allow-origin"), None);
}

#[test]
fn what_is_no_request_is_told_counted_and_logged_once() {
    let house = House::new();
    let worker = house.answering(OK);
    let get = "GET / HTTP/1.1\r\nhost: shared.example\r\n";
    let huge = format!("{get}x: {}\r\n\r\n", "x".repeat(3_000_000));
    let many = format!("{get}{}\r\n", "x: y\r\n".repeat(1000));
    let cases = [
        ("garbage\r\n\r\n", 400, "malformed"),
        (&format!("{get}bad header: x\r\n\r\n"), 400, "malformed"),
        (&format!("{get}x: a\r\n folded: b\r\n\r\n"), 400, "malformed"),
        (&format!("{get}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"), 400, "malformed"),
        (&format!("{get}transfer-encoding: identity\r\n\r\n"), 400, "malformed"),
        ("GET / HTTP/3.7\r\n\r\n", 400, "malformed"),
        (&many, 431, "headers-too-large"),
        (&huge, 431, "headers-too-large"),
        (&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(3_000_000)), 431, "headers-too-large"),
    ];
    for (request, status, code) in cases {
        let mut client = house.connect();
        client.write(request);
        check(&client.answer(), status, code, None);
        assert!(client.is_closed(), "{}", &request[..50.min(request.len())]);
    }
    // Behind a good one in the same bytes, whose answer stays whole.
    let mut client = house.connect();
    client.write(&format!("{get}\r\n{get}bad header: x\r\n\r\n"));
    assert_eq!(client.answer().body, "hi");
    check(&client.answer(), 400, "malformed", None);
    assert_eq!(worker.heads().len(), 1);
    drop(client);
    std::thread::sleep(Duration::from_millis(200));
    let metrics = house.metrics.text();
    assert!(metrics.contains("gateway_refusals_total{code=\"malformed\"} 7"), "{metrics}");
    assert!(metrics.contains("gateway_refusals_total{code=\"headers-too-large\"} 3"), "{metrics}");
    let lines = house.access_log();
    assert_eq!(lines.len(), 11);
    for line in lines.iter().filter(|line| line["status"] != 200) {
        assert_eq!((line["client"].as_str(), line["code"].is_string()), (Some("127.0.0.1"), true), "{line}");
    }
}

#[test]
fn a_request_that_says_two_lengths_is_refused_in_either_order() {
    let house = House::new();
    let worker = house.answering(OK);
    let (length, chunked) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
    let post = "POST / HTTP/1.1\r\nhost: shared.example\r\n";
    let before = format!("{post}{chunked}\r\n3;a=b\r\nabc\r\n0\r\n\r\n");
    for both in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        for before in ["", &before] {
            let mut client = house.connect();
            client.write(before);
            client.write(&format!("{post}{ACME}{both}\r\n0\r\n\r\n{post}{length}\r\nhello"));
            if !before.is_empty() {
                assert_eq!(client.answer().status(), 200);
            }
            check(&client.answer(), 400, "malformed", None);
            assert!(client.is_closed());
        }
    }
    assert_eq!(worker.heads().len(), 2);
    // Words in bodies are nobody's length.
    let inner = format!("{post}{length}{chunked}\r\n");
    let mut client = house.connect();
    for _ in 0..3 {
        client.write(&format!("{post}{chunked}\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()));
        assert_eq!(client.answer().status(), 200);
        client.write(&format!("{post}content-length: {}\r\n\r\n{inner}", inner.len()));
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn a_preflight_is_ours_on_open_paths_too() {
    let house = House::new();
    let worker = house.unreachable();
    let preflight = |path: &str, origin: &str| {
        house.ask(&format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: shared.example\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\r\n"
        ))
    };
    let answer = preflight("/hooks/acme", "https://acme.example");
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!((answer.status(), allowed), (204, Some("https://acme.example")));
    check(&preflight("/hooks/acme", "https://evil.example"), 403, "origin-not-listed", None);
    check(&preflight("/hooks/nobody", "null"), 403, "origin-null", None);
    assert!(worker.heads().is_empty());
}

#[test]
fn a_path_that_leads_elsewhere_is_not_open() {
    let house = House::new();
    let worker = house.unreachable();
    for path in
        ["/hooks/acme/../../sql", "/hooks/acme/%2e%2E/sql", "/hooks/acme//sql", "/hooks/acme/..%2f..%2fsql"]
    {
        let answer = house.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: shared.example\r\norigin: https://evil.example\r\n\r\n"
        ));
        check(&answer, 403, "origin-not-listed", None);
    }
    assert!(worker.heads().is_empty());
}

#[test]
fn the_access_log_tells_an_answer_that_broke_off_from_a_whole_one() {
    let house = House::with(|settings| settings.config.limits.body_idle_timeout = Duration::from_millis(300));
    house.worker(|mut wire| {
        let Some((head, _)) = wire.request() else { return };
        let length = if head.starts_with("GET /whole") { 2 } else { 1000 };
        wire.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nhi"));
        if head.starts_with("GET /slow") {
            std::thread::sleep(Duration::from_millis(900));
        }
    });
    for path in ["/whole", "/dies", "/slow"] {
        let mut client = house.connect();
        client.write(&format!("GET {path} HTTP/1.1\r\nhost: shared.example\r\nconnection: close\r\n\r\n"));
        let _whole_or_not = std::io::Read::read_to_end(&mut client.stream, &mut Vec::new());
    }
    let mut client = house.connect();
    client.write("GET /slow?left HTTP/1.1\r\nhost: shared.example\r\n\r\n");
    std::io::BufRead::fill_buf(&mut client.stream).unwrap();
    drop(client);
    std::thread::sleep(Duration::from_millis(100));
    let metrics = house.metrics.text();
    for code in ["worker-broke-off", "worker-stalled", "client-gone"] {
        assert!(metrics.contains(&format!("gateway_answers_broken_total{{code=\"{code}\"}} 1")), "{metrics}");
    }
    let lines = house.access_log();
    let codes: Vec<_> = lines.iter().map(|line| line["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("worker-broke-off"), Some("worker-stalled"), Some("client-gone")]);
}

#[test]
fn a_reload_takes_hold_at_once_and_drops_no_connection() {
    let house = House::new();
    house.answering(OK);
    let mut client = house.connect();
    client.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    let mut settings = house.settings.clone();
    settings.config.hosts = vec!["other.example".parse().unwrap()];
    house.edge.put_in_force(house.edge.prepare(settings.clone()).unwrap());
    client.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
    assert_eq!(client.answer().status(), 421);
    settings.config.threads += 1;
    settings.config.hosts.clear();
    assert!(house.edge.prepare(settings.clone()).is_err(), "threads need a restart");
    client.write("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n");
    assert_eq!(client.answer().status(), 200, "and nothing has changed by the attempt");
    settings = house.settings.clone();
    settings.config.hosts = vec!["other.example".parse().unwrap()];
    settings.config.http.clear();
    house.edge.put_in_force(house.edge.prepare(settings).unwrap());
    assert!(house.edge.addresses().iter().all(|(kind, _)| *kind == "https"));
    client.write("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n");
    assert_eq!(client.answer().status(), 200, "and what was open lives on, though its listener is gone");
}
