//! The look-up by the rules of the design, against a naive search among others.

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
        "https://evil:x.acme.example",
        "https://x.acme.example:",
        "https://x.acme.example:0443",
        "https://x.acme.example:99999999",
        "https://x.acme.example:1:2",
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
fn the_earlier_tenant_holds_what_a_later_one_claims_whatever_their_names() {
    let conflicts = Snapshot::build([
        tenant("zebra", &["https://x.example"], &["x.example"]),
        tenant("ant", &["https://x.example"], &["x.example"]),
    ])
    .unwrap_err();
    for conflict in conflicts {
        let text = conflict.to_string();
        assert!(text.contains("belongs to tenant `zebra` already; `ant` cannot"), "{text}");
    }
}

#[test]
fn one_file_written_in_two_ways_is_one_database() {
    let with = |id: &str, url: &str| {
        let mut tenant = tenant(id, &[], &[]);
        tenant.database = Some(url.parse().unwrap());
        tenant
    };
    let same = Snapshot::build([with("a", "sqlite://a.db"), with("b", "file:./%61.db?mode=rwc")]);
    assert!(matches!(same.unwrap_err()[..], [Conflict::Database { .. }]));
}

#[test]
fn a_wildcard_stops_where_strangers_register_below_it() {
    let snapshot = Snapshot::build([tenant("cloud", &["https://*.amazonaws.com"], &[])]).unwrap();
    assert_eq!(owner(&snapshot, "https://console.amazonaws.com").as_deref(), Some("cloud"));
    assert_eq!(owner(&snapshot, "https://stranger.s3.amazonaws.com"), None);
}

/// Who has an origin, by the rules as they are written in the design, one tenant after the other.
fn naive(tenants: &[Tenant], origin: &str) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for tenant in tenants {
        for pattern in &tenant.origins {
            let rank = match pattern.as_str().split_once("://*.") {
                None if pattern.as_str() == origin => usize::MAX,
                None => continue,
                Some((scheme, base)) => {
                    let Some((origin_scheme, host)) = origin.split_once("://") else { continue };
                    let below = host.strip_suffix(base).and_then(|head| head.strip_suffix('.'));
                    let labels = below.is_some_and(|head| head.split('.').all(|label| !label.is_empty()));
                    if origin_scheme != scheme || !labels {
                        continue;
                    }
                    base.len()
                }
            };
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, tenant.id.to_string()));
            }
        }
    }
    best.map(|(_, id)| id)
}

proptest::proptest! {
    #[test]
    fn the_lookup_agrees_with_a_naive_search_of_every_list(
        lists in proptest::collection::vec(
            proptest::collection::vec("(https|http)://(\\*\\.)?([ab]\\.){0,3}[xy]\\.example(:8443)?", 0..4), 1..5),
        asked in proptest::collection::vec("(https|http)://([ab]\\.){0,4}[xy]\\.example(:8443)?", 20),
    ) {
        let tenants: Vec<_> = lists
            .iter()
            .enumerate()
            .map(|(number, origins)| {
                let origins: Vec<_> = origins.iter().map(String::as_str).collect();
                tenant(&format!("t{number}"), &origins, &[])
            })
            .collect();
        // Conflicts are a test of their own; alone, every tenant must be found as the rules say.
        match Snapshot::build(tenants.clone()) {
            Ok(snapshot) => for origin in &asked {
                proptest::prop_assert_eq!(owner(&snapshot, origin), naive(&tenants, origin), "{}", origin);
            },
            Err(_) => for one in tenants {
                let snapshot = Snapshot::build([one.clone()]).unwrap();
                for origin in &asked {
                    proptest::prop_assert_eq!(
                        owner(&snapshot, origin), naive(std::slice::from_ref(&one), origin), "{}", origin);
                }
            },
        }
    }
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
