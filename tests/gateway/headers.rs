//! What the backend gets is set by the gateway: nothing that a stranger sends passes for it.

use crate::{HOST, NAVAJA, TestGateway};

#[test]
fn forged_gateway_headers_never_reach_the_backend() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let answer = gateway
        .get("/x")
        .origin(NAVAJA)
        .header("x-gateway-tenant", "barba")
        .header("X-Gateway-Tenant", "barba")
        .header("x-gateway-database-url", "http://evil.example/")
        .header("x-gateway-anything", "1")
        .send()
        .is(200);
    let json = answer.json();
    assert_eq!(json["headers"]["x-gateway-tenant"], "navaja");
    assert!(!answer.text().contains("evil.example") && json["headers"]["x-gateway-anything"].is_null());
    let raw: Vec<String> = serde_json::from_value(json["raw"].clone()).unwrap();
    assert_eq!(raw.iter().filter(|name| name.eq_ignore_ascii_case("x-gateway-tenant")).count(), 1);
    // Nobody in particular is nobody in particular.
    let answer = gateway.get("/x").header("x-gateway-tenant", "barba").send().is(200);
    assert_eq!(answer.seen_header("x-gateway-tenant"), None);
}

#[test]
fn connection_cannot_name_our_headers_away() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    for connection in [
        "x-gateway-tenant",
        "close, x-gateway-tenant, x-gateway-database-url",
        "keep-alive, X-Forwarded-For, x-request-id",
    ] {
        let answer = gateway.get("/x").origin(NAVAJA).header("connection", connection).send().is(200);
        assert_eq!(answer.seen_header("x-gateway-tenant").as_deref(), Some("navaja"), "{connection}");
        assert!(answer.seen_header("x-gateway-database-url").is_some(), "{connection}");
        assert_eq!(answer.seen_header("x-forwarded-for").as_deref(), Some("127.0.0.1"), "{connection}");
        assert!(answer.seen_header("x-request-id").is_some(), "{connection}");
    }
}

#[test]
fn hop_by_hop_headers_and_those_that_connection_lists_end_here() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let answer = gateway
        .get("/x")
        .origin(NAVAJA)
        .header("connection", "keep-alive, x-private")
        .header("x-private", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic eA==")
        .header("te", "trailers, deflate")
        .header("x-kept", "1")
        .send()
        .is(200);
    let headers = answer.json()["headers"].clone();
    for gone in ["x-private", "keep-alive", "proxy-connection", "proxy-authorization"] {
        assert!(headers[gone].is_null(), "{gone} reached the backend");
    }
    assert_eq!(headers["x-kept"], "1");
    let path = "/headers?set=connection:x-inner&set=x-inner:1&set=keep-alive:timeout=5&set=x-kept:1";
    let answer = gateway.get(path).origin(NAVAJA).send().is(200);
    assert_eq!((answer.header("x-inner"), answer.header("x-kept")), (None, Some("1")));
}

#[test]
fn answers_carry_none_of_our_headers_out_and_none_of_the_backends_that_look_like_ours() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let path = "/headers?set=x-gateway-tenant:navaja&set=X-Gateway-Database-Url:secret&set=x-mine:1";
    let answer = gateway.get(path).origin(NAVAJA).send().is(200);
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("x-gateway-")), "{:?}", answer.headers);
    assert_eq!(answer.header("x-mine"), Some("1"));
    let answer = gateway.get("/chunked").origin(NAVAJA).header("te", "trailers").send().is(200);
    assert!(!answer.trailers.iter().any(|(name, _)| name.starts_with("x-gateway-")), "{:?}", answer.trailers);
}

#[test]
fn forwarding_headers_are_believed_from_trusted_proxies_alone() {
    let forged = |gateway: &TestGateway| {
        gateway
            .get("/x")
            .origin(NAVAJA)
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-port", "1")
            .header("forwarded", "for=203.0.113.9;proto=https;host=evil.example")
            .send()
            .is(200)
    };
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let answer = forged(&gateway);
    assert!(!answer.text().contains("203.0.113.9") && !answer.text().contains("evil.example"));
    assert_eq!(answer.seen_header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(answer.seen_header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(answer.seen_header("x-forwarded-host").as_deref(), Some(HOST));
    assert!(answer.seen_header("forwarded").unwrap().contains("127.0.0.1"));
    let secure = gateway.get("/x").origin(NAVAJA).secure().send().is(200);
    assert_eq!(secure.seen_header("x-forwarded-proto").as_deref(), Some("https"));
    drop(gateway);

    let trusting =
        TestGateway::builder().shops().worker("echo.mjs").config("edge.trusted_proxies = [\"127.0.0.0/8\"]");
    let gateway = trusting.start();
    let answer = forged(&gateway);
    assert!(answer.seen_header("x-forwarded-for").unwrap().contains("203.0.113.9"), "{}", answer.text());
    assert_eq!(answer.seen_header("x-forwarded-proto").as_deref(), Some("https"));
    // The right-most address that is not a trusted proxy is the client: what stands left of it, anybody wrote.
    let id = gateway
        .get("/x")
        .origin(NAVAJA)
        .header("x-forwarded-for", "198.51.100.1, 203.0.113.9, 127.0.0.5")
        .send()
        .is(200)
        .header("x-request-id")
        .unwrap()
        .to_owned();
    let line = gateway.access_line(&id);
    let text = line.to_string();
    assert!(text.contains("203.0.113.9") && !text.contains("\"198.51.100.1\""), "{text}");
}

#[test]
fn the_header_that_the_proxies_write_is_believed_and_no_caller_chooses_who_it_is() {
    let trusting = "[edge]\ntrusted_proxies = [\"127.0.0.0/8\"]\nforwarding_header = \"forwarded\"";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(trusting).start();
    let ask = |headers: &[(&str, &str)]| {
        let mut request = gateway.get("/x").origin(NAVAJA);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().is(200);
        let client = gateway.access_line(answer.header("x-request-id").unwrap())["client"].clone();
        let seen = |name: &str| answer.seen_header(name).unwrap();
        (
            client.as_str().unwrap().to_owned(),
            seen("x-forwarded-for"),
            seen("x-forwarded-proto"),
            seen("forwarded"),
        )
    };
    let ours = format!("for=127.0.0.1;proto=http;host={HOST}");
    let alone = [("forwarded", "for=198.51.100.1, for=203.0.113.9;proto=https")];
    let (client, chain, scheme, forwarded) = ask(&alone);
    assert_eq!((client.as_str(), scheme.as_str()), ("203.0.113.9", "https"));
    assert_eq!(chain, "198.51.100.1, 203.0.113.9, 127.0.0.1");
    assert_eq!(forwarded, format!("{}, {}", alone[0].1, ours.replace("http;", "https;")));
    let nobody = ("127.0.0.1".to_owned(), "127.0.0.1".to_owned(), "http".to_owned(), ours);
    assert_eq!(ask(&[("forwarded", "for=\"198.51.100.1, for=203.0.113.9")]), nobody);
    // One of the two was written by the caller, and says nothing to us.
    let both = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.1")];
    assert_eq!(ask(&both).0, "198.51.100.1");
    gateway.site().configure("edge.forwarding_header = \"x-forwarded-for\"");
    gateway.cli(&["reload"]).ok();
    assert_eq!(ask(&both).0, "203.0.113.9");
    assert_eq!(ask(&both[1..]), nobody);
    // Host says what is asked for, whoever says otherwise.
    let host = [("x-forwarded-host", "evil.example"), ("x-forwarded-port", "1")];
    let mut request = gateway.get("/x").origin(NAVAJA);
    for (name, value) in host {
        request = request.header(name, value);
    }
    let answer = request.send().is(200);
    assert_eq!(answer.seen_header("x-forwarded-host").as_deref(), Some(HOST));
    assert_eq!(answer.seen_header("x-forwarded-port").as_deref(), Some("80"));
}

#[test]
fn a_request_keeps_one_id_from_the_worker_to_the_access_log() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let answer = gateway.get("/path?secret=1").origin(NAVAJA).send().is(200).readable_from(NAVAJA);
    let id = answer.header("x-request-id").unwrap().to_owned();
    assert_eq!(answer.seen_header("x-request-id").as_deref(), Some(&*id));
    assert!(answer.seen_header("traceparent").unwrap().starts_with("00-"));
    let line = gateway.access_line(&id);
    for (key, value) in
        [("tenant", "navaja"), ("origin", NAVAJA), ("host", HOST), ("method", "GET"), ("worker", "api/0")]
    {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["status"], 200, "{line}");
    assert!(line["path"].as_str().unwrap().starts_with("/path"), "{line}");
    // An id chosen by a stranger could collide with another's or break a log line.
    let forged = gateway.get("/x").origin(NAVAJA).header("x-request-id", "x\u{1}\"}forged").send();
    assert_ne!(forged.header("x-request-id"), Some("x\u{1}\"}forged"));
}

#[test]
fn the_target_reaches_the_backend_as_it_was_sent() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    for target in ["/a%2Fb/../c;d=1?q=%20+&x=[]", "/%E2%82%AC?a=b&a=c", "/a//b/./c", "/?", "/x?%"] {
        let answer = gateway.get(target).origin(NAVAJA).send().is(200);
        assert_eq!(answer.json()["url"], target);
    }
}

#[test]
fn two_set_cookie_headers_stay_two() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let answer = gateway.get("/headers?set=set-cookie:a=1&set=set-cookie:b=2").origin(NAVAJA).send().is(200);
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    let answer = gateway.get("/x").origin(NAVAJA).header("cookie", "a=1; b=2").send().is(200);
    assert_eq!(answer.seen_header("cookie").as_deref(), Some("a=1; b=2"));
}
