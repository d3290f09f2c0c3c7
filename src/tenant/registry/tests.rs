use super::*;

fn tenant(id: &str, origins: &[&str], hosts: &[&str]) -> Tenant {
    let mut tenant = Tenant::new(id.parse().unwrap());
    tenant.origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    tenant.hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    tenant
}

fn owner(snapshot: &Snapshot, origin: &str) -> Option<String> {
    snapshot.by_origin(origin).map(|tenant| tenant.id.to_string())
}

#[test]
fn exact_beats_wildcard_and_the_longer_base_beats_the_shorter() {
    let snapshot = Snapshot::build([tenant(
        "acme",
        &["https://*.acme.example", "https://*.shops.acme.example", "https://one.acme.example"],
        &[],
    )])
    .unwrap();
    for listed in ["https://one.acme.example", "https://two.acme.example", "https://a.b.shops.acme.example"] {
        assert_eq!(owner(&snapshot, listed).as_deref(), Some("acme"), "{listed}");
    }
    let bases: Vec<_> = wildcards_over("https://x.shops.acme.example:1").collect();
    assert_eq!(bases[0], "https://*.shops.acme.example:1");
}

#[test]
fn what_no_browser_sends_matches_nothing() {
    let snapshot =
        Snapshot::build([tenant("acme", &["https://*.acme.example", "https://acme.example"], &[])]).unwrap();
    for unlisted in [
        "",
        "null",
        "https://ACME.example",
        "https://acme.example/",
        "https://acme.example:443",
        "http://acme.example",
        "https://evil.example/.acme.example",
        "https://evil.example#.acme.example",
        "https://a@b.acme.example",
        "https://.acme.example",
        "https://a..acme.example",
        "https://a b.acme.example",
        "https://evilacme.example",
        "https://x.acme.example.evil.example",
    ] {
        assert_eq!(owner(&snapshot, unlisted), None, "{unlisted:?}");
    }
}

#[test]
fn no_two_tenants_hold_the_same_origin_host_or_database() {
    let conflicts = |a: Tenant, b: Tenant| Snapshot::build([a, b]).unwrap_err().len();
    assert_eq!(
        conflicts(tenant("a", &["https://x.example"], &[]), tenant("b", &["https://x.example"], &[])),
        1
    );
    assert_eq!(conflicts(tenant("a", &[], &["x.example"]), tenant("b", &[], &["x.example"])), 1);
    assert_eq!(
        conflicts(tenant("a", &["https://*.x.example"], &[]), tenant("b", &["https://y.x.example"], &[])),
        1
    );
    assert_eq!(
        conflicts(tenant("a", &["https://*.x.example"], &[]), tenant("b", &["https://*.y.x.example"], &[])),
        1
    );
    assert_eq!(conflicts(tenant("a", &[], &[]), tenant("a", &[], &[])), 1);
    let with_database = |id: &str| {
        let mut tenant = tenant(id, &[], &[]);
        tenant.database = Some("sqlite://same.db".parse().unwrap());
        tenant
    };
    assert_eq!(conflicts(with_database("a"), with_database("b")), 1);
}

#[test]
fn a_replaced_snapshot_is_seen_at_once_and_announced() {
    let registry = Registry::new(Snapshot::default());
    let mut watch = registry.watch();
    assert!(!watch.has_changed().unwrap());
    registry.replace(
        Snapshot::build([tenant("acme", &["https://acme.example"], &["api.acme.example"])]).unwrap(),
    );
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.len(), 1);
    assert!(snapshot.by_host("api.acme.example").is_some());
    assert!(snapshot.by_id("acme").is_some());
    assert!(snapshot.by_id("ACME").is_none());
}
