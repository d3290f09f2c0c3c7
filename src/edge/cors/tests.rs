use std::collections::BTreeMap;

use http::Request;

use crate::edge::{Config, EdgeSettings, TlsConfig, authority::Scheme, config::OpenPath, identify};

use super::*;

fn settings() -> Settings {
    let open = OpenPath { path: "/open".into(), methods: Vec::new(), tenant: "none".into() };
    let config =
        Config { hosts: vec!["shared.example".parse().unwrap()], open: vec![open], ..Config::default() };
    let (tls, cors, backends) = (TlsConfig::default(), CorsPolicy::default(), BTreeMap::new());
    Settings::new(&EdgeSettings { config, tls, cors, backends }).unwrap()
}

fn snapshot() -> Snapshot {
    let mut plain = Tenant::new("plain".parse().unwrap());
    plain.origins = vec!["https://plain.example".parse().unwrap()];
    let mut own = Tenant::new("own".parse().unwrap());
    own.origins = vec!["https://own.example".parse().unwrap()];
    own.cors = Some(CorsPolicy {
        methods: vec!["GET".into()],
        headers: vec!["x-own".into()],
        exposed_headers: vec!["x-shown".into()],
        credentials: true,
        max_age: std::time::Duration::from_secs(7),
    });
    Snapshot::build([plain, own]).unwrap()
}

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(path).header("host", "shared.example");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn caller(head: &Parts) -> Caller {
    identify::identify(&settings(), &snapshot(), Scheme::Https, head).unwrap()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    values.join("|")
}

#[test]
fn a_listed_pages_preflight_is_204_with_its_tenants_policy() {
    for (origin, methods, names, credentials, max_age) in [
        ("https://own.example", "GET", "x-own", "true", "7"),
        (
            "https://plain.example",
            "GET, HEAD, POST, PUT, PATCH, DELETE",
            "authorization, content-type, x-requested-with",
            "",
            "600",
        ),
    ] {
        let head = head("OPTIONS", "/x", &[("origin", origin), ("access-control-request-method", "BREW")]);
        let answer = preflight(&settings(), &caller(&head), &head).unwrap();
        assert_eq!(answer.status(), 204);
        let headers = answer.headers();
        assert_eq!(text(headers, "access-control-allow-origin"), origin);
        assert_eq!(text(headers, "access-control-allow-methods"), methods);
        assert_eq!(text(headers, "access-control-allow-headers"), names);
        assert_eq!(text(headers, "access-control-allow-credentials"), credentials);
        assert_eq!(text(headers, "access-control-max-age"), max_age);
        assert_eq!(text(headers, "vary"), "Origin");
    }
}

#[test]
fn any_other_options_is_an_ordinary_request() {
    let asks = ("access-control-request-method", "GET");
    for (method, headers) in [
        ("OPTIONS", &[("origin", "https://plain.example")][..]),
        ("OPTIONS", &[asks]),
        ("OPTIONS", &[asks, ("origin", "https://shared.example")]),
        ("GET", &[asks, ("origin", "https://plain.example")]),
    ] {
        let head = head(method, "/x", headers);
        assert!(preflight(&settings(), &caller(&head), &head).is_none(), "{method} {headers:?}");
    }
}

#[test]
fn what_the_browser_will_refuse_after_our_204_is_known() {
    let lesson = |method: &str, names: &str| {
        let asked = [
            ("origin", "https://own.example"),
            ("access-control-request-method", method),
            ("access-control-request-headers", names),
        ];
        let head = head("OPTIONS", "/x", &asked);
        doomed(&settings(), &caller(&head), &head)
    };
    let own = || "own".parse().unwrap();
    assert_eq!(lesson("GET", "x-own"), None);
    assert_eq!(lesson("POST", ""), None, "simple methods need no listing");
    let method = "PUT".to_owned();
    assert_eq!(lesson("PUT", "x-own"), Some(RefusalReason::PreflightMethod { tenant: own(), method }));
    let header = "x-other".to_owned();
    assert_eq!(
        lesson("GET", "X-Own, x-other"),
        Some(RefusalReason::PreflightHeader { tenant: own(), header })
    );
}

#[test]
fn answers_carry_the_pages_policy_and_always_vary() {
    let snapshot = snapshot();
    let page = Page::of(&snapshot, &HeaderValue::from_static("https://own.example")).unwrap();
    let mut headers = HeaderMap::new();
    announce(&settings(), Some(&page), &mut headers);
    assert_eq!(text(&headers, "access-control-allow-origin"), "https://own.example");
    assert_eq!(text(&headers, "access-control-allow-credentials"), "true");
    assert_eq!(text(&headers, "access-control-expose-headers"), "x-shown");
    assert_eq!(text(&headers, "vary"), "Origin");
    for (before, after) in [
        (None, "Origin"),
        (Some("Accept-Encoding"), "Accept-Encoding|Origin"),
        (Some("accept, ORIGIN"), "accept, ORIGIN"),
        (Some("*"), "*"),
    ] {
        let mut headers = HeaderMap::new();
        headers.extend(before.map(|value| (header::VARY, HeaderValue::from_static(value))));
        announce(&settings(), None, &mut headers);
        assert_eq!(text(&headers, "vary"), after);
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn a_refusal_is_readable_by_listed_pages_only_and_never_on_open_paths() {
    let page = |path: &str, origins: &[(&str, &str)]| {
        Page::of_refused(&settings(), &snapshot(), &head("GET", path, origins)).is_some()
    };
    let listed = ("origin", "https://plain.example");
    assert!(page("/x", &[listed]));
    assert!(!page("/open", &[listed]));
    assert!(!page("/x", &[("origin", "https://evil.example")]));
    assert!(!page("/x", &[listed, listed]));
    assert!(!page("/x", &[]));
}
