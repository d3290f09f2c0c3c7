use std::collections::BTreeMap;

use http::Request;

use crate::{
    edge::{Config, EdgeSettings, TlsConfig, config::OpenPath},
    tenant::{CorsPolicy, TenantKey},
};

use super::*;

fn tenant(id: &str) -> Tenant {
    let mut tenant = Tenant::new(id.parse().unwrap());
    tenant.origins = vec![
        format!("https://{id}.example").parse().unwrap(),
        format!("https://*.shops.{id}.example").parse().unwrap(),
    ];
    tenant.hosts = vec![format!("api.{id}.example").parse().unwrap()];
    let hash = KeyHash::of(&format!("key-of-{id}"));
    tenant.keys = vec![TenantKey { name: "app".into(), hash, created_unix_s: 0 }];
    tenant
}

fn open(path: &str, methods: &[&str], tenant: &str) -> OpenPath {
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    OpenPath { path: path.into(), methods, tenant: tenant.into() }
}

fn settings(no_origin: NoOrigin) -> Settings {
    let config = Config {
        hosts: vec!["shared.example".parse().unwrap()],
        no_origin,
        open: vec![
            open("/hooks/*", &["POST"], "path:1"),
            open("/by-header", &[], "header:x-shop"),
            open("/by-host", &[], "host"),
            open("/nobody", &[], "none"),
        ],
        ..Config::default()
    };
    let (tls, cors, backends) = (TlsConfig::default(), CorsPolicy::default(), BTreeMap::new());
    Settings::new(&EdgeSettings { config, tls, cors, backends }).unwrap()
}

/// `METHOD path` and headers in; `tenant` or `tenant+cors` or `-` out, or why not.
fn check_with(no_origin: NoOrigin, request: &str, headers: &[(&str, &str)], want: Result<&str, Refusal>) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let head = builder.body(()).unwrap().into_parts().0;
    let snapshot = Snapshot::build([tenant("acme"), tenant("beta")]).unwrap();
    let got = identify(&settings(no_origin), &snapshot, Scheme::Https, &head).map(|caller| {
        let id = caller.tenant.map_or_else(|| "-".to_owned(), |tenant| tenant.id.to_string());
        if caller.page.is_some() { format!("{id}+cors") } else { id }
    });
    assert_eq!(got.as_deref().map_err(Clone::clone), want, "{request} {headers:?}");
}

fn check(request: &str, headers: &[(&str, &str)], want: Result<&str, Refusal>) {
    check_with(NoOrigin::Anonymous, request, headers, want);
}

const SHARED: (&str, &str) = ("host", "shared.example");
const ACME_HOST: (&str, &str) = ("host", "api.acme.example");
const ACME: (&str, &str) = ("origin", "https://acme.example");
const BETA: (&str, &str) = ("origin", "https://beta.example");
const EVIL: (&str, &str) = ("origin", "https://evil.example");
const NULL: (&str, &str) = ("origin", "null");

#[test]
fn a_listed_origin_names_its_tenant() {
    check("GET /", &[SHARED, ACME], Ok("acme+cors"));
    check("GET /", &[ACME_HOST, ACME], Ok("acme+cors"));
    check("GET /", &[SHARED, ("origin", "https://one.shops.beta.example")], Ok("beta+cors"));
}

#[test]
fn unlisted_and_null_origins_are_refused() {
    check("GET /", &[SHARED, EVIL], Err(Refusal::OriginNotListed));
    check("GET /", &[ACME_HOST, EVIL], Err(Refusal::OriginNotListed));
    check(
        "OPTIONS /",
        &[SHARED, EVIL, ("access-control-request-method", "GET")],
        Err(Refusal::OriginNotListed),
    );
    check("GET /", &[SHARED, NULL], Err(Refusal::OriginNull));
    check("GET /", &[SHARED, ("origin", "http://acme.example")], Err(Refusal::OriginNotListed));
    check("GET /", &[SHARED, ("origin", "https://acme.example:8443")], Err(Refusal::OriginNotListed));
    check("GET /", &[SHARED, ("origin", "")], Err(Refusal::OriginNotListed));
}

#[test]
fn the_sites_own_origin_is_as_none() {
    check("GET /", &[SHARED, ("origin", "https://shared.example")], Ok("-"));
    check("GET /", &[ACME_HOST, ("origin", "https://api.acme.example")], Ok("acme"));
    check("GET /", &[SHARED, ("origin", "http://shared.example")], Err(Refusal::OriginNotListed));
}

#[test]
fn without_origin_the_host_names_the_tenant() {
    check("GET /", &[ACME_HOST], Ok("acme"));
    check("GET /", &[("host", "API.acme.EXAMPLE.:443")], Ok("acme"));
    check("GET /", &[SHARED], Ok("-"));
    check_with(NoOrigin::Refuse, "GET /", &[SHARED], Err(Refusal::OriginRequired));
    check_with(NoOrigin::Refuse, "GET /", &[ACME_HOST], Ok("acme"));
    check_with(NoOrigin::Refuse, "GET /", &[SHARED, ("x-gateway-key", "key-of-acme")], Ok("acme"));
}

#[test]
fn two_tenants_in_one_request_are_refused() {
    check("GET /", &[ACME_HOST, BETA], Err(Refusal::TenantsDiffer));
    check("GET /", &[ACME_HOST, ("x-gateway-key", "key-of-beta")], Err(Refusal::TenantsDiffer));
    check("GET /", &[SHARED, ACME, ("x-gateway-key", "key-of-beta")], Err(Refusal::TenantsDiffer));
    check("POST /hooks/beta", &[ACME_HOST], Err(Refusal::TenantsDiffer));
}

#[test]
fn hosts_that_are_not_ours_and_hosts_that_are_none_are_refused_first() {
    check("GET /", &[("host", "evil.example"), ACME], Err(Refusal::HostNotServed));
    check("POST /hooks/acme", &[("host", "localhost")], Err(Refusal::HostNotServed));
    check("GET /", &[], Err(Refusal::HostInvalid));
    check("GET /", &[("host", "shared.example/x")], Err(Refusal::HostInvalid));
}

#[test]
fn a_header_that_decides_may_stand_once() {
    check("GET /", &[SHARED, SHARED], Err(Refusal::HeaderTwice("host")));
    check("GET /", &[SHARED, ACME, ACME], Err(Refusal::HeaderTwice("origin")));
    check("GET /", &[SHARED, ACME, BETA], Err(Refusal::HeaderTwice("origin")));
    let key = ("x-gateway-key", "key-of-acme");
    check("GET /", &[SHARED, key, key], Err(Refusal::HeaderTwice("x-gateway-key")));
}

#[test]
fn a_key_names_its_tenant_and_does_not_excuse_a_foreign_page() {
    check("GET /", &[SHARED, ("x-gateway-key", "key-of-acme")], Ok("acme"));
    check("GET /", &[SHARED, ACME, ("x-gateway-key", "key-of-acme")], Ok("acme+cors"));
    check("GET /", &[SHARED, ("x-gateway-key", "guess")], Err(Refusal::KeyInvalid));
    check("GET /", &[SHARED, EVIL, ("x-gateway-key", "key-of-acme")], Err(Refusal::OriginNotListed));
}

#[test]
fn on_open_paths_origin_is_neither_required_nor_judged() {
    check("POST /hooks/acme/paid", &[SHARED, NULL], Ok("acme"));
    check("POST /hooks/acme", &[SHARED, BETA], Ok("acme"));
    check("POST /hooks/nobody", &[SHARED], Err(Refusal::TenantUnknown));
    check("POST /hooks", &[SHARED], Err(Refusal::TenantUnknown));
    check("GET /hooks/acme", &[SHARED, NULL], Err(Refusal::OriginNull));
    check("GET /by-header", &[SHARED, ("x-shop", "beta"), EVIL], Ok("beta"));
    check("GET /by-header", &[SHARED], Err(Refusal::TenantUnknown));
    check("GET /by-host", &[ACME_HOST, EVIL], Ok("acme"));
    check("GET /by-host", &[SHARED, EVIL], Ok("-"));
    check("GET /nobody", &[ACME_HOST, NULL], Ok("-"));
    check_with(NoOrigin::Refuse, "GET /nobody", &[SHARED], Ok("-"));
}

#[test]
fn refused_origins_teach_the_operator_only_what_a_browser_could_have_sent() {
    let lesson_of = |origin: &str| {
        let head = Request::builder().header("origin", origin).body(()).unwrap().into_parts().0;
        lesson(&Refusal::OriginNotListed, &head)
    };
    assert_eq!(lesson_of("https://new-shop.example"), Some(RefusalReason::Unlisted));
    for odd in ["https://A.example", "https://a.example/", "x; rm -rf /", ""] {
        assert_eq!(lesson_of(odd), Some(RefusalReason::Malformed), "{odd:?}");
    }
}
