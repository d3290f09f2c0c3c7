//! The table of refusals through its public face: rows, bounds, and that nothing a stranger sends gets out of it.

use super::{super::Tenant, *};

fn snapshot(tenants: &[(&str, &[&str], &[&str])]) -> Snapshot {
    Snapshot::build(tenants.iter().map(|(id, origins, hosts)| {
        let mut tenant = Tenant::new(id.parse().unwrap());
        tenant.origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        tenant.hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        tenant
    }))
    .unwrap()
}

fn refuse(refusals: &Refusals, origin: &str, host: &str, reason: RefusalReason) {
    refusals.record(Refusal { origin, host, path: "/api/slots?token=hunter2", reason });
}

/// One refused origin: its row.
fn row(snapshot: &Snapshot, origin: &str, host: &str, reason: RefusalReason) -> RefusedView {
    let refusals = Refusals::new(8);
    refuse(&refusals, origin, host, reason);
    refusals.list(snapshot).pop().unwrap()
}

#[test]
fn an_unlisted_origin_shows_with_the_nearest_tenant_and_the_command_that_lets_it_in() {
    let shops = snapshot(&[
        ("acme", &["https://acme.example", "https://*.acme.example:8443"], &["api.acme.example"]),
        ("barba", &["https://barba.shops.example"], &[]),
        ("navaja", &["https://navaja.shops.example", "http://localhost:5173"], &[]),
    ]);
    for (origin, host, nearest) in [
        ("https://new.acme.example", "shared.example", Some("acme")),
        ("http://acme.example", "shared.example", Some("acme")),
        ("https://acne.example", "shared.example", Some("acme")),
        ("https://barbas.shops.example", "shared.example", Some("barba")),
        ("http://localhost:5175", "shared.example", Some("navaja")),
        ("https://elsewhere.test", "API.acme.example", Some("acme")),
        // Two tenants share the domain and neither name is like it.
        ("https://tijeras.shops.example", "shared.example", None),
        ("https://elsewhere.test", "shared.example", None),
    ] {
        let row = row(&shops, origin, host, RefusalReason::Unlisted);
        assert_eq!(row.nearest.as_ref().map(TenantId::as_str), nearest, "{origin}");
        let command = nearest.map(|id| format!("gateway tenant set {id} --add-origin {origin}"));
        assert_eq!(row.command, command, "{origin}");
        assert_eq!((row.path.as_str(), row.count), ("/api/slots", 1));
    }
}

#[test]
fn an_origin_that_has_been_listed_since_is_shown_no_more() {
    let refusals = Refusals::new(8);
    refuse(&refusals, "https://new.acme.example", "h", RefusalReason::Unlisted);
    assert_eq!(refusals.list(&snapshot(&[])).len(), 1);
    assert!(refusals.list(&snapshot(&[("acme", &["https://new.acme.example"], &[])])).is_empty());
}

#[test]
fn preflights_that_the_browser_refuses_show_the_method_or_header_to_allow() {
    let shops = snapshot(&[("acme", &["https://acme.example"], &[])]);
    let tenant: TenantId = "acme".parse().unwrap();
    let header = RefusalReason::PreflightHeader { tenant: tenant.clone(), header: "X-Shop".into() };
    let command = row(&shops, "https://acme.example", "h", header).command;
    assert_eq!(command.as_deref(), Some("gateway tenant set acme --add-header x-shop"));
    let method = RefusalReason::PreflightMethod { tenant, method: "PURGE".into() };
    let command = row(&shops, "https://acme.example", "h", method).command;
    assert_eq!(command.as_deref(), Some("gateway tenant set acme --add-method PURGE"));
}

#[test]
fn nothing_a_stranger_sends_reaches_a_shell_or_a_terminal() {
    let shops = snapshot(&[("acme", &["https://acme.example"], &[])]);
    let tenant: TenantId = "acme".parse().unwrap();
    let header = |text: &str| RefusalReason::PreflightHeader { tenant: tenant.clone(), header: text.into() };
    for (origin, reason) in [
        ("https://$(reboot).acme.example", RefusalReason::Unlisted),
        ("https://a;reboot.acme.example", RefusalReason::Unlisted),
        ("https://*.acme.example", RefusalReason::Unlisted),
        ("https://acme.example/;reboot", RefusalReason::Unlisted),
        ("null", RefusalReason::Null),
        ("\u{1b}[2J", RefusalReason::Malformed),
        ("https://acme.example", header("`reboot`")),
        ("https://acme.example", header("x&reboot")),
        ("https://acme.example", header("")),
    ] {
        let row = row(&shops, origin, "h\u{7}", reason);
        assert_eq!(row.command, None, "{origin}");
        assert!(row.hint.is_some_and(|hint| !hint.contains("reboot")));
        assert!(!row.origin.contains('\u{1b}') && !row.host.contains('\u{7}'));
    }
    let long = row(&shops, &"x".repeat(100_000), "h", RefusalReason::Malformed);
    assert_eq!(long.origin.len(), TEXT_CHARS_MAX);
}

#[test]
fn a_declared_tenant_gets_the_line_of_the_file_and_no_command() {
    let mut acme = Tenant::new("acme".parse().unwrap());
    acme.declared = true;
    acme.origins = vec!["https://acme.example".parse().unwrap()];
    let row =
        row(&Snapshot::build([acme]).unwrap(), "https://new.acme.example", "h", RefusalReason::Unlisted);
    assert_eq!(row.command, None);
    assert!(row.hint.unwrap().contains("`origins` of `[[tenant]]` acme"));
}

#[test]
fn the_table_is_bounded_and_a_flood_of_invented_origins_keeps_what_knocks_again() {
    let refusals = Refusals::new(10);
    for _ in 0..3 {
        refuse(&refusals, "https://real.example", "h", RefusalReason::Unlisted);
    }
    for number in 0..1000 {
        refuse(&refusals, &format!("https://x{number}.example"), "h", RefusalReason::Unlisted);
    }
    let rows = refusals.list(&snapshot(&[]));
    assert_eq!(rows.len(), 10);
    assert_eq!((rows[0].origin.as_str(), rows[0].count), ("https://real.example", 3));
    let none = Refusals::new(0);
    refuse(&none, "https://real.example", "h", RefusalReason::Unlisted);
    assert!(none.list(&snapshot(&[])).is_empty());
}

#[test]
fn what_was_not_seen_for_a_day_makes_room_however_frequent_it_was() {
    let refusals = Refusals::new(2);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let at = |origin: &str, now| {
        let refusal = Refusal { origin, host: "h", path: "/", reason: RefusalReason::Unlisted };
        refusals.record_at(refusal, now);
    };
    at("https://old.example", now);
    at("https://old.example", now);
    let later = now.checked_add(25.hours()).unwrap();
    at("https://a.example", later);
    at("https://b.example", later);
    let rows = refusals.list(&snapshot(&[]));
    assert_eq!(
        rows.iter().map(|row| row.origin.as_str()).collect::<Vec<_>>(),
        ["https://a.example", "https://b.example"]
    );
}

#[test]
fn a_third_shop_on_localhost_is_not_taken_for_one_of_the_other_two() {
    let shops =
        snapshot(&[("navaja", &["http://localhost:5173"], &[]), ("barba", &["http://localhost:5174"], &[])]);
    let row = row(&shops, "http://localhost:5175", "localhost", RefusalReason::Unlisted);
    assert_eq!((row.nearest, row.command), (None, None));
    let hint = row.hint.unwrap();
    assert!(hint.contains("`gateway tenant set ID --add-origin http://localhost:5175`"), "{hint}");
}
