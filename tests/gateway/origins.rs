//! Who is calling: the origin names the tenant, and strangers never reach the backend.

use serde_json::json;

use crate::{BARBA, HOST, NAVAJA, STRANGER, TestGateway};

fn shops() -> TestGateway {
    TestGateway::builder().shops().worker("echo.mjs").start()
}

/// Request lines that reached the worker, the question itself left out.
fn seen(gateway: &TestGateway) -> Vec<String> {
    let seen = gateway.get("/seen").origin(NAVAJA).send().is(200).json()["seen"].clone();
    serde_json::from_value(seen).unwrap()
}

#[test]
fn each_origin_reaches_the_backend_as_its_own_tenant() {
    let gateway = shops();
    for (origin, tenant) in [(NAVAJA, "navaja"), (BARBA, "barba")] {
        for request in [gateway.get("/x").origin(origin), gateway.get("/x").origin(origin).secure()] {
            let answer = request.send().is(200).readable_from(origin);
            assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some(tenant));
            let url = answer.seen_header("x-gateway-database-url").unwrap();
            assert!(
                url.starts_with("http://127.0.0.1:")
                    && url.contains(&format!("/{tenant}/?authToken={tenant}."))
            );
        }
    }
}

#[test]
fn an_origin_that_is_not_listed_gets_403_that_no_page_can_read_and_never_reaches_the_backend() {
    let gateway = shops();
    for origin in [
        STRANGER,
        "null",
        "",
        "https://navaja.example.evil.example",
        "https://evilnavaja.example",
        "http://navaja.example",
        "https://navaja.example:8443",
        "https://navaja.example/",
        "https://NAVAJA.example",
        "https://navaja.example https://barba.example",
        "https://navaja.example, https://barba.example",
        "navaja.example",
        "https://",
        "*",
        "file://",
        "https://navaja.example\u{e9}",
        "undefined",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = gateway.request(method, "/refused").origin(origin).body("").send();
            answer.problem(403).readable_by_nobody();
        }
    }
    assert_eq!(seen(&gateway), Vec::<String>::new());
    assert_eq!(gateway.log().matches("panicked").count(), 0);
}

#[test]
fn two_origin_headers_are_refused_even_when_both_are_listed() {
    let gateway = shops();
    for (first, second) in [(NAVAJA, BARBA), (NAVAJA, NAVAJA), (STRANGER, NAVAJA), (NAVAJA, "null")] {
        let answer = gateway.get("/twice").origin(first).origin(second).send();
        assert!(matches!(answer.status, 400 | 403), "{}", answer.status);
        answer.readable_by_nobody();
    }
    assert_eq!(seen(&gateway), Vec::<String>::new());
}

#[test]
fn two_host_headers_or_none_are_refused() {
    let gateway = shops();
    for head in [
        format!("GET /twice HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n"),
        format!("GET /twice HTTP/1.1\r\nhost: {HOST}\r\nhost: other.example\r\norigin: {NAVAJA}\r\n\r\n"),
        format!("GET /none HTTP/1.1\r\norigin: {NAVAJA}\r\n\r\n"),
        format!("GET /bad HTTP/1.1\r\nhost: a b\r\norigin: {NAVAJA}\r\n\r\n"),
        format!("GET http://other.example/x HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n"),
    ] {
        let mut wire = gateway.wire();
        wire.send(&head);
        let answer = wire.answer();
        assert!(matches!(answer.status, 400 | 421), "{head:?} got {}", answer.status);
    }
    assert_eq!(seen(&gateway), Vec::<String>::new());
}

#[test]
fn a_host_that_is_not_served_is_misdirected() {
    let gateway = shops();
    for host in ["unknown.example", "127.0.0.1", "localhost", "api.example.evil.example", "xapi.example"] {
        gateway.get("/lost").host(host).origin(NAVAJA).send().problem(421);
        gateway.get("/lost").host(host).send().problem(421);
    }
    // The same host in other clothes.
    for host in ["API.example", "api.example:80", "api.example."] {
        gateway.get("/found").host(host).origin(NAVAJA).send().is(200);
    }
    assert_eq!(seen(&gateway), ["GET /found"; 3]);
}

#[test]
fn a_wildcard_covers_names_below_its_base_and_nothing_else() {
    let gateway = TestGateway::builder()
        .tenant("wide", &["https://*.shops.example", "https://one.shops.example"])
        .tenant("other", &["https://shops.example"])
        .worker("echo.mjs")
        .start();
    for (origin, tenant) in [
        ("https://a.shops.example", Some("wide")),
        ("https://a.b.shops.example", Some("wide")),
        ("https://one.shops.example", Some("wide")),
        ("https://shops.example", Some("other")),
        ("https://evilshops.example", None),
        ("http://a.shops.example", None),
        ("https://a.shops.example:8443", None),
        ("https://.shops.example", None),
        ("https://*.shops.example", None),
        ("https://a.shops.example.evil.example", None),
    ] {
        let answer = gateway.get("/x").origin(origin).send();
        match tenant {
            Some(tenant) => {
                let answer = answer.is(200).readable_from(origin);
                assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some(tenant), "{origin}");
            }
            None => drop(answer.problem(403).readable_by_nobody()),
        }
    }
    // Over another tenant's origin it is refused, in both directions.
    for origin in ["https://*.example", "https://x.shops.example", "https://*.vip.shops.example"] {
        let output = gateway.cli(&["tenant", "add", "x", "--origin", origin]);
        assert!(matches!(output.code, 1 | 2), "{origin} was taken: {}", output.all());
    }
}

#[test]
fn an_origin_equal_to_the_requests_own_address_is_as_if_there_were_none() {
    let gateway = shops();
    let answer = gateway.get("/own").origin(&format!("http://{HOST}")).send().is(200).readable_by_nobody();
    assert_eq!(answer.seen_header("x-gateway-tenant"), None);
    // Another scheme is another origin.
    gateway.get("/own").origin(&format!("https://{HOST}")).send().problem(403);
    gateway.get("/own").origin(&format!("https://{HOST}")).secure().send().is(200);
}

#[test]
fn without_origin_a_tenants_own_host_names_the_tenant_and_a_shared_host_names_nobody() {
    let gateway = TestGateway::builder()
        .shops()
        .config("[[tenant]]\nid = \"owner\"\nhosts = [\"api.owner.example\"]\norigins = [\"https://owner.example\"]\ndatabase = \"sqlite://owner.db\"")
        .worker("echo.mjs")
        .start();
    let answer = gateway.get("/x").host("api.owner.example").send().is(200);
    assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some("owner"));
    let anonymous = gateway.get("/x").send().is(200).varies_by_origin();
    assert_eq!(anonymous.seen_header("x-gateway-tenant"), None);
    assert_eq!(anonymous.seen_header("x-gateway-database-url"), None);
    // Origin and host that name two tenants contradict each other.
    gateway.get("/x").host("api.owner.example").origin(NAVAJA).send().problem(403);
    gateway.get("/x").host("api.owner.example").origin("https://owner.example").send().is(200);
}

#[test]
fn where_no_origin_is_refused_only_a_key_or_a_host_of_ones_own_helps() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("edge.no_origin = \"refuse\"").start();
    gateway.get("/x").send().problem(403).readable_by_nobody();
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn a_tenants_key_names_it_without_origin_and_is_never_passed_on() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    let key = gateway.cli(&["tenant", "key", "add", "navaja", "app"]).ok().stdout.trim().to_owned();
    let answer = gateway.get("/x").header("x-gateway-key", &key).send().is(200);
    assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some("navaja"));
    assert_eq!(answer.seen_header("x-gateway-key"), None);
    assert!(!answer.text().contains(&key), "the key reached the worker");
    for wrong in ["", "x", &format!("{key}x"), &key[1..]] {
        gateway.get("/x").header("x-gateway-key", wrong).send().problem(401);
    }
    // A key does not open a door for a page that is not listed.
    gateway.get("/x").header("x-gateway-key", &key).origin(STRANGER).send().problem(403);
    // Nor does it make one tenant's page another tenant.
    gateway.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    gateway.get("/x").header("x-gateway-key", &key).origin(BARBA).send().problem(403);
    gateway.cli(&["tenant", "key", "remove", "navaja", "app"]).ok();
    gateway.get("/x").header("x-gateway-key", &key).send().problem(401);
    assert!(!gateway.log().contains(&key) && !format!("{:?}", gateway.access_log()).contains(&key));
}

#[test]
fn on_open_paths_origin_is_not_judged_and_the_caller_names_the_tenant() {
    let open = r#"
        [[edge.open]]
        path = "/webhooks/*"
        methods = ["POST"]
        tenant = "path:1"
        [[edge.open]]
        path = "/callback"
        tenant = "header:x-shop"
        [[edge.open]]
        path = "/ping"
    "#;
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(open).start();
    for origin in ["null", STRANGER, "https://bank.example"] {
        let answer = gateway.post("/webhooks/navaja/paid", "{}").origin(origin).send().is(200);
        assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some("navaja"));
        assert_eq!(answer.all("access-control-allow-origin"), Vec::<&str>::new());
    }
    let answer = gateway.get("/callback").header("x-shop", "barba").origin("null").send().is(200);
    assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some("barba"));
    let answer = gateway.get("/ping").origin(STRANGER).send().is(200);
    assert_eq!(answer.seen_header("x-gateway-tenant"), None);
    // Other methods, other paths, unknown tenants.
    gateway.get("/webhooks/navaja/paid").origin(STRANGER).send().problem(403);
    gateway.post("/webhooksx/navaja", "{}").origin(STRANGER).send().problem(403);
    gateway.post("/callback/x", "{}").origin(STRANGER).send().problem(403);
    let unknown = gateway.post("/webhooks/nobody/paid", "{}").send();
    assert!(matches!(unknown.status, 403 | 404), "{}", unknown.status);
    // Tricks with the path do not open more of it.
    for path in
        ["/webhooks/../private", "/webhooks/%2e%2e/private", "/webhooks//private", "/webhooks/..%2fprivate"]
    {
        let answer = gateway.post(path, "{}").origin(STRANGER).send();
        let passed = answer.status == 200;
        assert!(!passed || answer.json()["url"].as_str().unwrap().starts_with("/webhooks/"), "{path}");
        assert!(!passed || answer.seen_header("x-gateway-tenant").is_none(), "{path} named a tenant");
    }
}

#[test]
fn two_tenants_never_hold_the_same_origin_host_or_database() {
    let gateway = shops();
    for (arguments, words) in [
        (["--origin", NAVAJA, "--database", "sqlite://x.db"], ["navaja"]),
        (["--origin", "HTTPS://Navaja.Example:443", "--database", "sqlite://x.db"], ["navaja"]),
        (["--origin", "https://x.example", "--database", "sqlite://navaja.db"], ["navaja"]),
        (["--origin", "https://*.example", "--database", "sqlite://x.db"], ["example"]),
    ] {
        let arguments: Vec<&str> = ["tenant", "add", "x"].into_iter().chain(arguments).collect();
        let output = gateway.cli(&arguments).says(&words);
        assert!(matches!(output.code, 1 | 2), "{arguments:?} ended with {}", output.code);
    }
    let tenants = gateway.cli(&["tenant", "list", "--json"]).ok().json();
    assert_eq!(tenants.as_array().map(Vec::len), Some(2), "{tenants}");
}

#[test]
fn a_wildcard_over_a_public_suffix_is_refused_with_the_reason() {
    let gateway = shops();
    for origin in ["https://*.vercel.app", "https://*.github.io", "https://*.com", "https://*.co.uk"] {
        let output = gateway.cli(&["tenant", "add", "x", "--origin", origin]);
        assert_ne!(output.code, 0, "{origin} was taken");
        assert!(output.stderr.contains("public suffix"), "{}", output.stderr);
    }
    gateway.cli(&["tenant", "add", "mine", "--origin", "https://*.mine.vercel.app"]).ok();
    gateway.get("/x").origin("https://preview-1.mine.vercel.app").send().is(200);
    gateway.get("/x").origin("https://theirs.vercel.app").send().problem(403);
}

#[test]
fn refused_origins_are_told_with_the_command_that_would_let_them_in() {
    // Tenants that may be edited from the command line: declared ones get a hint instead.
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    gateway.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    let near = "https://www.navaja.example";
    for _ in 0..3 {
        gateway.get("/api/shop?x=1").origin(near).send().problem(403);
    }
    gateway.get("/x").origin("null").send().problem(403);
    let refused = gateway.cli(&["tenant", "refused", "--json"]).ok().json();
    let entry = refused.as_array().unwrap().iter().find(|entry| entry["origin"] == near);
    let entry = entry.unwrap_or_else(|| panic!("{near} is not in {refused}")).clone();
    assert_eq!((&entry["count"], &entry["nearest"]), (&json!(3), &json!("navaja")), "{entry}");
    assert!(entry["path"].as_str().unwrap().starts_with("/api/shop"), "{entry}");
    let command = entry["command"].as_str().unwrap();
    assert!(command.contains("tenant set navaja --add-origin https://www.navaja.example"), "{command}");
    gateway.cli(&["tenant", "refused"]).ok().says(&[near, "navaja"]);
    // Neither a flood of strangers nor a hostile path may grow or break the table.
    let mut wire = gateway.wire();
    for stranger in 0..2000 {
        let origin = format!("https://s{stranger}.example");
        wire.send(gateway.get("/flood").origin(&origin).bytes());
        assert_eq!(wire.answer().status, 403);
    }
    let refused = gateway.cli(&["tenant", "refused", "--json"]).ok().json();
    assert!(
        refused.as_array().unwrap().len() <= 1024,
        "the table grew to {}",
        refused.as_array().unwrap().len()
    );
}

#[test]
fn a_preflight_that_the_browser_will_refuse_shows_among_the_refused() {
    let gateway = shops();
    gateway.preflight("/x", NAVAJA, "DELETE", "x-secret-header").send().is(204);
    let refused = gateway.cli(&["tenant", "refused", "--json"]).ok();
    assert!(refused.stdout.contains("x-secret-header"), "{}", refused.stdout);
}
