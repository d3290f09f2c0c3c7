//! How orders of certificates end that do not go the usual way: refused, replaced, cut off at any moment, asked for by
//! hand, or not needed.

use serde_json::Value;

use crate::{
    TestGateway, Wire,
    acme::{account, attempts, host_until, ledger, names, served, soon_served},
    certificates::TestCa,
    client::trusting,
    eventually,
    front::{Front, Manners},
    pebble::{Pebble, Settings},
};

#[test]
fn a_host_that_the_authority_refuses_is_shown_with_its_words_and_the_others_get_theirs() {
    let pebble = Pebble::start(Settings { blocked: &["bad.example.com"], ..Settings::default() });
    let hosts = "edge.hosts = [\"bad.example.com\", \"good.example.com\", \"fine.example.com\"]";
    let gateway = pebble.builder().config(hosts).start();
    let root = pebble.root();
    for host in ["good.example.com", "fine.example.com"] {
        assert!(!names(&soon_served(&gateway, host, &root)).contains(&"bad.example.com".to_owned()));
    }
    let history = host_until(gateway.site(), "bad.example.com", |history| {
        history["failures"].as_u64() >= Some(1) && history["next_try"].is_string()
    });
    assert!(attempts(&history) <= 4, "{history}");
    let why = history["last_error"].as_str().unwrap();
    assert!(why.contains("rejectedIdentifier"), "{why}");
    let listed = gateway.cli(&["cert", "list", "--json"]).ok().json();
    let bad = listed.as_array().unwrap().iter().find(|one| one["host"] == "bad.example.com").unwrap();
    assert_eq!((&bad["order"]["state"], &bad["state"]), (&Value::from("failing"), &Value::from("missing")));
    assert!(bad["order"]["last_error"].as_str().unwrap().contains("rejectedIdentifier"), "{bad}");
    assert!(bad["order"]["next_try"].is_string(), "{bad}");
    gateway.cli(&["cert", "list"]).ok().says(&["bad.example.com", "failing"]);
    gateway.cli(&["cert", "show", "bad.example.com"]).ok().says(&["rejectedIdentifier", "next  "]);
    gateway.cli(&["status"]).ok().says(&["warning: no certificate for `bad.example.com`", "next try"]);
}

#[test]
fn a_host_that_leads_elsewhere_is_listed_with_where_and_when_it_is_looked_at_again() {
    let pebble = Pebble::start(Settings::default());
    pebble.lead("away.example.com", "192.0.2.1");
    // Long enough that the next look is still to come whenever this one is read.
    let config = "edge.hosts = [\"away.example.com\"]\ntls.acme.retry_first = \"60s\"";
    let gateway = pebble.builder().config(config).start();
    host_until(gateway.site(), "away.example.com", |history| history["strays"].as_u64() >= Some(1));
    let order = gateway.cli(&["cert", "list", "--json"]).ok().json()[0]["order"].clone();
    assert_eq!(order["state"], "elsewhere", "{order}");
    assert!(order["next_try"].is_string(), "{order}");
    gateway.cli(&["cert", "list"]).ok().says(&["away.example.com", "elsewhere"]);
    gateway.cli(&["cert", "show", "away.example.com"]).ok().says(&["resolves to 192.0.2.1", "next  "]);
}

#[test]
fn a_host_that_leads_here_and_elsewhere_is_ordered_and_the_other_address_is_told() {
    let pebble = Pebble::start(Settings::default());
    pebble.lead("a.example.com", "127.0.0.1");
    pebble.lead_also("a.example.com", "2001:db8::7");
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    host_until(gateway.site(), "a.example.com", |history| attempts(history) >= 1);
    let order = gateway.cli(&["cert", "list", "--json"]).ok().json()[0]["order"].clone();
    assert!(order["warning"].as_str().unwrap().contains("2001:db8::7"), "{order}");
    assert_eq!(ledger(gateway.site()).unwrap()["hosts"]["a.example.com"]["strays"], 0);
    gateway.cli(&["cert", "list"]).ok().says(&["warning: also resolves to 2001:db8::7"]);
    gateway.cli(&["cert", "show", "a.example.com"]).ok().says(&["warning   also resolves to 2001:db8::7"]);
}

#[test]
fn a_renewal_that_may_not_replace_is_made_without_it() {
    let pebble = Pebble::start(Settings { nonces_refused: 0, ..Settings::default() });
    let front = Front::start(&pebble, Manners { says_when: true, refuses_replacing: true });
    let gateway = pebble.builder().config(&front.config()).config("edge.hosts = [\"a.example.com\"]").start();
    let root = pebble.root();
    let first = soon_served(&gateway, "a.example.com", &root);
    eventually("it is renewed", || (soon_served(&gateway, "a.example.com", &root) != first).then_some(()));
    let orders = front.orders();
    let replacing: Vec<bool> = orders.iter().map(|order| order["replaces"].is_string()).collect();
    assert_eq!(replacing, [false, true, false], "{orders:?}");
    let history = host_until(gateway.site(), "a.example.com", |history| history["ordering"] == false);
    assert_eq!(history["failures"], 0, "{history}");
}

#[test]
fn a_certificate_is_ordered_anew_when_the_operator_says_so() {
    let pebble = Pebble::start(Settings::default());
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    let root = pebble.root();
    let first = soon_served(&gateway, "a.example.com", &root);
    gateway.cli(&["cert", "renew", "a.example.com"]).ok().says(&["a.example.com"]);
    let second = eventually("another one is served", || {
        let now = served(&gateway, "a.example.com", trusting(&root, &["http/1.1"])).unwrap();
        (now != first).then_some(now)
    });
    assert_eq!(names(&second), ["a.example.com"]);
    let issued = ledger(gateway.site()).unwrap()["issued"].clone();
    // An operator's wish is no renewal of its time: it counts like a new one under `per_domain_weekly`.
    assert_eq!((issued.as_array().unwrap().len(), &issued[1]["renewal"]), (2, &Value::Bool(false)));
    gateway.cli(&["cert", "renew", "nobody.example.com"]).fails(1).says(&["no host of this gateway"]);
}

#[test]
fn an_imported_certificate_wins_until_it_nears_its_end_and_then_one_is_ordered() {
    let (pebble, ca) = (Pebble::start(Settings::default()), TestCa::new());
    let site = pebble.builder().config("edge.hosts = [\"a.example.com\", \"b.example.com\"]").site();
    // Of a year's life, two months are left.
    let (certificate, key) = ca.certify_between("a.example.com", -305, 60);
    let (cert, key) = (site.write("own.crt", certificate), site.write("own.key", key));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    site.cli(&["cert", "import", "a.example.com", "--cert", cert, "--key", key]).ok();
    let gateway = site.start();
    let root = pebble.root();
    soon_served(&gateway, "b.example.com", &root);
    Wire::tls(gateway.https(), "a.example.com", ca.trusted());
    let of = |gateway: &TestGateway, host: &str| {
        let listed = gateway.cli(&["cert", "list", "--json"]).ok().json();
        listed.as_array().unwrap().iter().find(|one| one["host"] == host).unwrap().clone()
    };
    let imported = of(&gateway, "a.example.com");
    assert_eq!(
        (&imported["certificate"]["source"], &imported["state"]),
        (&"imported".into(), &"served".into())
    );
    let hosts = &ledger(gateway.site()).unwrap()["hosts"];
    assert_eq!(attempts(&hosts["a.example.com"]), 0, "nothing is ordered for it");
    gateway.site().configure("tls.expiry_warning = \"80d\"");
    gateway.cli(&["reload"]).ok();
    assert!(names(&soon_served(&gateway, "a.example.com", &root)).contains(&"a.example.com".to_owned()));
    assert_eq!(of(&gateway, "a.example.com")["certificate"]["source"], "acme");
}

#[test]
fn a_kill_at_any_moment_of_an_order_loses_neither_account_nor_count_and_the_certificate_comes() {
    let pebble = Pebble::start(Settings { nonces_refused: 0, ..Settings::default() });
    let front = Front::start(&pebble, Manners::default());
    let mut gateway =
        pebble.builder().config(&front.config()).config("edge.hosts = [\"first.example\"]").start();
    let root = pebble.root();
    let first = soon_served(&gateway, "first.example", &root);
    let registered = account(gateway.site());
    // As pebble calls them: the order is made, is looked at, a challenge is taken up, the order is finalized, the
    // certificate fetched. Each time the authority has done its part, and nobody hears of it.
    for (number, moment) in
        ["/order-plz", "/authZ/", "/chalZ/", "/finalize-order/", "/certZ/"].into_iter().enumerate()
    {
        front.hold(Some(moment));
        let host = format!("n.killed{number}.example");
        gateway.cli(&["tenant", "add", &format!("t{number}"), "--host", &host]).ok();
        eventually(&format!("{moment} is held back"), || front.holds().then_some(()));
        let site = gateway.kill();
        front.hold(None);
        gateway = site.start();
        assert_eq!(soon_served(&gateway, "first.example", &root), first);
        assert_eq!(names(&soon_served(&gateway, &host, &root)), [host.as_str()]);
        assert_eq!(account(gateway.site()), registered, "{moment}");
        let history = host_until(gateway.site(), &host, |history| history["ordering"] == false);
        let made = attempts(&history);
        assert_eq!(made, front.orders_of(&host), "{moment}: what may have been made counts: {history}");
        match moment {
            // Nobody knows the URL of an order whose answer is lost.
            "/order-plz" => assert_eq!(made, 2, "{moment}"),
            // The authority may have come while nobody was there.
            "/chalZ/" => assert!((1..=2).contains(&made), "{moment}: {made} orders"),
            _ => assert_eq!(made, 1, "{moment}: it is taken up again"),
        }
    }
    let kept = std::fs::read_dir(gateway.site().state().join("certificates/acme")).unwrap();
    let hidden = kept.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count();
    assert_eq!(hidden, 0, "half a certificate was left behind");
}
