//! CORS: answered here, enforced here, and readable by the front end whatever goes wrong.

use crate::{BARBA, NAVAJA, STRANGER, TestGateway};

fn shops() -> TestGateway {
    TestGateway::builder().shops().worker("echo.mjs").start()
}

#[test]
fn a_preflight_is_answered_with_the_policy_and_never_reaches_the_backend() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("[cors]\nmethods = [\"GET\", \"PUT\"]\nheaders = [\"content-type\", \"x-shop\"]\nmax_age = \"5m\"")
        .start();
    for secure in [false, true] {
        let request = gateway.preflight("/x", NAVAJA, "PUT", "content-type,x-shop");
        let answer = if secure { request.secure() } else { request }.send().is(204).readable_from(NAVAJA);
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, PUT"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("content-type, x-shop"));
        assert_eq!(answer.header("access-control-max-age"), Some("300"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(answer.header("x-request-id").is_some());
    }
    // What the policy lacks is the browser's to refuse: it gets the policy, not an error.
    let answer = gateway.preflight("/x", NAVAJA, "DELETE", "x-else").send().is(204).readable_from(NAVAJA);
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, PUT"));
    gateway.preflight("/x", STRANGER, "GET", "").send().problem(403).readable_by_nobody();
    let seen = gateway.get("/seen").origin(NAVAJA).send().json();
    assert_eq!(seen["seen"].as_array().map(Vec::len), Some(0), "{seen}");
}

#[test]
fn any_other_options_request_is_an_ordinary_one() {
    let gateway = shops();
    let answer = gateway.request("OPTIONS", "/x").origin(NAVAJA).send().is(200).readable_from(NAVAJA);
    assert_eq!(answer.json()["method"], "OPTIONS");
    let answer =
        gateway.request("OPTIONS", "/x").header("access-control-request-method", "PUT").send().is(200);
    assert_eq!(answer.json()["method"], "OPTIONS");
}

#[test]
fn the_backends_own_cors_headers_are_replaced_by_the_policys() {
    let gateway = shops();
    let path = "/headers?set=access-control-allow-origin:*&set=access-control-allow-credentials:true\
                &set=Access-Control-Expose-Headers:x-secret&set=access-control-max-age:99999\
                &set=access-control-allow-private-network:true&set=vary:accept";
    let answer = gateway.get(path).origin(NAVAJA).send().is(200).readable_from(NAVAJA);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-request-id"));
    assert_eq!(answer.header("access-control-max-age"), None);
    assert_eq!(answer.header("access-control-allow-private-network"), None);
    assert!(answer.all("vary").join(",").contains("accept"), "the backend's own Vary was lost");
    gateway.get(path).send().is(200).readable_by_nobody();
}

#[test]
fn vary_names_origin_on_every_answer() {
    let gateway = shops();
    for request in [
        gateway.get("/x"),
        gateway.get("/x").origin(NAVAJA),
        gateway.get("/x").origin(STRANGER),
        gateway.get("/headers?set=vary:origin").origin(NAVAJA),
        gateway.get("/headers?status=304").origin(NAVAJA),
        gateway.get("/headers?status=204"),
        gateway.get("/x").host("unknown.example"),
        gateway.preflight("/x", NAVAJA, "PUT", ""),
        gateway.preflight("/x", STRANGER, "PUT", ""),
        gateway.request("HEAD", "/x"),
        gateway.get("/chunked"),
    ] {
        let answer = request.send().varies_by_origin();
        let vary = answer.all("vary").join(",").to_lowercase();
        assert_eq!(vary.matches("origin").count(), 1, "{vary}");
    }
}

#[test]
fn credentials_are_allowed_by_policy_alone_and_never_with_a_star() {
    let gateway = TestGateway::builder()
        .config("[[tenant]]\nid = \"navaja\"\norigins = [\"https://navaja.example\"]\n[tenant.cors]\ncredentials = true\nexposed_headers = [\"x-total\"]")
        .tenant("barba", &[BARBA])
        .worker("echo.mjs")
        .start();
    let answer =
        gateway.get("/x").origin(NAVAJA).header("cookie", "a=b").send().is(200).readable_from(NAVAJA);
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-total"));
    assert_eq!(answer.seen_header("cookie").as_deref(), Some("a=b"));
    let answer = gateway.get("/x").origin(BARBA).send().is(200).readable_from(BARBA);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    for list in ["methods", "headers", "exposed_headers"] {
        let site =
            TestGateway::builder().config(&format!("[cors]\ncredentials = true\n{list} = [\"*\"]")).site();
        site.cli(&["check"]).fails(2).says(&[list, "credentials"]);
    }
}

#[test]
fn a_suspended_tenants_front_end_reads_the_403_after_its_preflight() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    gateway.preflight("/x", NAVAJA, "POST", "content-type").send().is(204).readable_from(NAVAJA);
    let answer = gateway.post("/x", "{}").origin(NAVAJA).send().problem(403).readable_from(NAVAJA);
    assert!(answer.json()["code"].as_str().unwrap().contains("suspended"), "{}", answer.text());
    gateway.cli(&["tenant", "pause", "navaja"]).ok();
    gateway.preflight("/x", NAVAJA, "POST", "content-type").send().is(204).readable_from(NAVAJA);
    let answer = gateway.post("/x", "{}").origin(NAVAJA).send().problem(503).readable_from(NAVAJA);
    assert!(answer.json()["code"].as_str().unwrap().contains("paused"), "{}", answer.text());
    let retry: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(retry > 0);
    gateway.cli(&["tenant", "resume", "navaja"]).ok();
    gateway.post("/x", "{}").origin(NAVAJA).send().is(200);
    // Only the front end that may read it learns of it.
    gateway.cli(&["tenant", "suspend", "navaja"]).ok();
    gateway.get("/x").origin(STRANGER).send().problem(403).readable_by_nobody();
}

#[test]
fn answers_that_the_gateway_makes_can_be_read_by_the_front_end() {
    let limits =
        "[edge.limits]\nbody_bytes_max = 1000\nheader_bytes_max = 8192\nfirst_byte_timeout = \"500ms\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    // Too large, by length and by surprise.
    gateway.post("/sink", [b'x'; 2000]).origin(NAVAJA).send().problem(413).readable_from(NAVAJA);
    // Too many header bytes: refused before anything is known, and still readable.
    let large = "x".repeat(20_000);
    gateway.get("/x").origin(NAVAJA).header("x-large", &large).send().problem(431).readable_from(NAVAJA);
    // The worker takes too long.
    gateway.get("/hang").origin(NAVAJA).send().problem(504).readable_from(NAVAJA);
    // The worker dies before it answers a request that cannot be sent twice.
    let answer = gateway.post("/crash", "x").origin(NAVAJA).send().problem(502).readable_from(NAVAJA);
    assert_eq!(answer.header("cache-control"), Some("no-store"), "an error must not be kept by a cache");
}

#[test]
fn rate_and_number_of_requests_are_limited_per_tenant_and_a_preflight_takes_no_token() {
    let limits = "[edge.admit]\nclient_requests_per_second = 5\ntenant_requests_per_second = 1000000";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    let refused =
        (0..40).map(|_| gateway.get("/x").origin(NAVAJA).send()).find(|answer| answer.status != 200);
    let answer =
        refused.expect("forty requests at once pass a limit of five").problem(429).readable_from(NAVAJA);
    assert!(answer.header("retry-after").is_some());
    for _ in 0..40 {
        gateway.preflight("/x", NAVAJA, "POST", "").send().is(204).readable_from(NAVAJA);
    }
    // The neighbour is not touched, though it calls from the same address.
    gateway.get("/x").origin(BARBA).send().is(200);
}

#[test]
fn one_tenants_requests_in_flight_do_not_take_its_neighbours_room() {
    let limits = "[edge.admit]\ntenant_in_flight_max = 3\nclient_in_flight_max = 3";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(limits).start();
    let held: Vec<_> = (0..3).map(|_| gateway.get("/slow?ms=1500").origin(NAVAJA).open()).collect();
    crate::eventually("all three are in flight", || {
        let seen = gateway.get("/seen").origin(BARBA).send().json();
        (seen["seen"].as_array().map(Vec::len) == Some(3)).then_some(())
    });
    gateway.get("/x").origin(NAVAJA).send().problem(429).readable_from(NAVAJA);
    gateway.get("/x").origin(BARBA).send().is(200);
    for mut wire in held {
        wire.answer().is(200);
    }
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn caches_never_mix_tenants() {
    let paths = "[[edge.path]]\nprefix = \"/assets/\"\ncache = \"shared\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(paths).start();
    let control = |path: &str, origin: Option<&str>| {
        let request = gateway.get(path);
        let request = if let Some(origin) = origin { request.origin(origin) } else { request };
        let answer = request.send().is(200);
        let control = answer.all("cache-control").join(", ");
        let mut words: Vec<String> = control.split(',').map(|word| word.trim().to_owned()).collect();
        words.sort();
        words.join(" ")
    };
    assert_eq!(control("/headers", Some(NAVAJA)), "no-cache private");
    assert_eq!(control("/headers?set=cache-control:no-store", Some(NAVAJA)), "no-store");
    for public in ["public,max-age=60", "s-maxage=60,max-age=60", "PUBLIC", "public"] {
        let control = control(&format!("/headers?set=cache-control:{public}"), Some(NAVAJA)).to_lowercase();
        assert!(
            control.contains("private") && !control.contains("public") && !control.contains("s-maxage"),
            "{control}"
        );
    }
    // Without Origin the URL says whose it is: the backend's word holds.
    assert_eq!(control("/headers?set=cache-control:public", None), "public");
    assert_eq!(control("/assets/logo?x", Some(NAVAJA)), "");
    let gateway_headers = ["cdn-cache-control", "surrogate-control"];
    let path = format!("/headers?set={}:public&set={}:max-age=60", gateway_headers[0], gateway_headers[1]);
    let answer = gateway.get(&path).origin(NAVAJA).send().is(200);
    for name in gateway_headers {
        assert!(!answer.all(name).join("").contains("public"), "{name} still tells a CDN to share");
    }
}
