//! What reaches the worker and what comes back.

use std::{io::Read, sync::atomic::Ordering::SeqCst, time::Duration};

use crate::{backend::Address, edge::config::ForwardingHeader};

use super::{
    ACME, OK,
    kit::{House, Wire, header},
};

#[test]
fn the_worker_gets_the_tenant_and_its_ticket_and_no_word_of_ours_from_a_caller() {
    let house = House::new();
    let worker = house.answering(OK);
    let answer = house.get(&format!(
        "{ACME}connection: keep-alive, x-gateway-tenant, x-gateway-database-url, x-private\r\nx-private: 1\r\n\
         x-gateway-tenant: beta\r\nx-gateway-database-url: http://evil/\r\nx-gateway-other: 1\r\n\
         x-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n\
         x-request-id: mine\r\nkeep-alive: timeout=5\r\nte: gzip\r\ncookie: a=1\r\ncookie: b=2\r\nx-app: kept\r\n"
    ));
    assert_eq!(answer.status(), 200);
    let head = worker.head();
    let get = |name| header(&head, name);
    assert!(head.starts_with("GET /x?secret=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(get("x-gateway-tenant"), Some("acme"));
    let url = get("x-gateway-database-url").unwrap();
    assert!(url.starts_with("http://127.0.0.1:4000/") && url.contains("authToken=acme."), "{url}");
    assert_eq!(get("x-gateway-other"), None);
    assert_eq!(get("x-private"), None);
    assert_eq!(get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(get("x-forwarded-proto"), Some("http"));
    assert_eq!(get("x-forwarded-host"), Some("shared.example"));
    assert_eq!(get("x-forwarded-port"), Some("80"));
    assert_eq!(get("forwarded"), Some("for=127.0.0.1;proto=http;host=shared.example"));
    assert_eq!(get("x-request-id"), answer.header("x-request-id"));
    assert_ne!(get("x-request-id"), Some("mine"));
    assert_eq!(get("traceparent").map(str::len), Some(55));
    assert_eq!((get("x-real-ip"), get("keep-alive"), get("te"), get("connection")), (None, None, None, None));
    assert_eq!(get("cookie"), Some("a=1; b=2"));
    assert_eq!((get("x-app"), get("host")), (Some("kept"), Some("shared.example")));
}

#[test]
fn anonymous_requests_get_no_ticket() {
    let house = House::new();
    let worker = house.answering(OK);
    house.get("x-gateway-tenant: acme\r\n");
    let head = worker.head();
    assert_eq!((header(&head, "x-gateway-tenant"), header(&head, "x-gateway-database-url")), (None, None));
}

#[test]
fn a_trusted_proxys_chain_is_continued() {
    let house = House::with(|settings| {
        settings.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.config.forwarding_header = ForwardingHeader::XForwardedFor;
    });
    let worker = house.answering(OK);
    let answer = house.get(
        "origin: https://shared.example\r\nx-forwarded-for: junk, 2001:db8::1,203.0.113.9\r\n\
         x-forwarded-proto: https\r\nforwarded: for=6.6.6.6\r\nx-request-id: from-proxy\r\n",
    );
    assert_eq!(answer.status(), 200, "https is what makes that origin the site's own");
    let head = worker.head();
    assert_eq!(header(&head, "x-forwarded-for"), Some("junk, 2001:db8::1,203.0.113.9, 127.0.0.1"));
    assert_eq!(header(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(&head, "x-forwarded-port"), Some("443"));
    // The same chain in the other words; what the proxy let pass of anybody's own is not in it.
    let chain =
        "for=unknown, for=\"[2001:db8::1]\", for=203.0.113.9, for=127.0.0.1;proto=https;host=shared.example";
    assert_eq!(header(&head, "forwarded"), Some(chain));
    assert_eq!(answer.header("x-request-id"), Some("from-proxy"));
}

#[test]
fn the_answer_speaks_in_the_policys_name_and_not_in_the_workers() {
    let house = House::new();
    house.answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\n\
         access-control-allow-origin: *\r\naccess-control-allow-methods: GET\r\nx-gateway-tenant: acme\r\n\
         x-request-id: forged\r\nvary: accept\r\ncache-control: public, s-maxage=60, max-age=5\r\nx-app: kept\r\n\r\nhi",
    );
    let answer = house.get(ACME);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://acme.example"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-request-id"));
    for gone in ["access-control-allow-methods", "x-gateway-tenant", "keep-alive", "x-hop", "connection"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_ne!(answer.header("x-request-id"), Some("forged"));
    assert_eq!(answer.header("cache-control"), Some("private, max-age=5"));
    assert_eq!(answer.header("x-app"), Some("kept"));
    assert!(answer.head.contains("vary: accept\r\n") && answer.head.contains("vary: Origin\r\n"));
    let plain = house.get("");
    assert_eq!(plain.header("access-control-allow-origin"), None);
    assert_eq!(plain.header("cache-control"), Some("public, s-maxage=60, max-age=5"));
    assert!(plain.head.contains("vary: Origin\r\n"));
}

fn dies(mut wire: Wire) {
    wire.request();
}

#[test]
fn a_get_whose_worker_dies_before_answering_is_given_to_another_and_a_post_is_not() {
    let house = House::new();
    let dying = house.worker(dies);
    assert_eq!(house.get(ACME).status(), 502, "it lives, hangs up on this request, and is the only one");
    let well = house.answering(OK);
    for _ in 0..4 {
        assert_eq!(house.get(ACME).status(), 200);
    }
    assert!(!dying.heads().is_empty() && !well.heads().is_empty());
    let before = well.heads().len();
    let post = "POST / HTTP/1.1\r\nhost: shared.example\r\ncontent-length: 1\r\n\r\nx";
    let statuses: Vec<_> = (0..4).map(|_| house.ask(post).status()).collect();
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
    assert_eq!(well.heads().len() - before, statuses.iter().filter(|status| **status == 200).count());
}

#[test]
fn a_get_is_not_given_to_a_dying_worker_twice_but_waits_for_the_next_one() {
    let house = House::new();
    // Still listed and still accepting, as a killed process is for a moment.
    let dying = house.worker(dies);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| house.get(ACME));
        while dying.heads().is_empty() {
            std::thread::yield_now();
        }
        house.answering(OK);
        assert_eq!(waiting.join().unwrap().status(), 200);
    });
    assert_eq!(dying.heads().len(), 1);
}

#[test]
fn an_answer_that_broke_off_is_never_asked_for_again() {
    let house = House::new();
    let worker = house.worker(|mut wire| {
        wire.request();
        wire.write("HTTP/1.1 200");
    });
    let answer = house.get(ACME);
    assert_eq!((answer.status(), answer.code().as_str()), (502, "worker-failed"));
    assert_eq!(worker.heads().len(), 1);
}

#[test]
fn a_stale_idle_connection_never_reaches_the_client() {
    let house = House::new();
    // Each connection takes a second request and hangs up on it: Node's keep-alive race.
    let worker = house.worker(|mut wire| {
        wire.request();
        wire.write(OK);
        wire.request();
    });
    let mut client = house.connect();
    for _ in 0..4 {
        client.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
        assert_eq!(client.answer().body, "hi");
    }
    assert!(worker.connections.load(SeqCst) >= 4);
}

#[test]
fn requests_wait_for_a_worker_and_pass_when_one_is_ready() {
    let house = House::new();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| house.get(ACME));
        std::thread::sleep(Duration::from_millis(200));
        house.answering(OK);
        assert_eq!(waiting.join().unwrap().status(), 200);
    });
}

#[test]
fn a_listed_worker_that_cannot_be_reached_is_passed_over() {
    let house = House::new();
    house.roster.list("api/gone", Address::unix(house.dir.path().join("nobody.sock")));
    house.answering(OK);
    for _ in 0..4 {
        let post = "POST / HTTP/1.1\r\nhost: shared.example\r\ncontent-length: 1\r\n\r\nx";
        assert_eq!(house.ask(post).status(), 200, "nothing of it was sent, so even a POST may go elsewhere");
    }
}

#[test]
fn no_worker_in_time_is_503_and_no_answer_in_time_504() {
    let house = House::with(|settings| {
        settings.config.admit.waiting_timeout = Duration::from_millis(100);
        settings.config.limits.first_byte_timeout = Duration::from_millis(100);
    });
    let answer = house.get(ACME);
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://acme.example"));
    house.worker(|mut wire| while wire.request().is_some() {});
    let answer = house.get(ACME);
    assert_eq!((answer.status(), answer.code().as_str()), (504, "worker-slow"));
}

#[test]
fn an_answer_that_stops_in_the_middle_is_cut() {
    let house = House::with(|settings| settings.config.limits.body_idle_timeout = Duration::from_millis(200));
    house.worker(|mut wire| {
        wire.request();
        wire.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        drop(wire.stream.read(&mut [0; 1]));
    });
    let mut client = house.connect();
    client.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
    let mut all = Vec::new();
    drop(client.stream.read_to_end(&mut all));
    assert!(all.ends_with(b"abc"), "{}", String::from_utf8_lossy(&all));
}
