//! Certificates by themselves, from a real certificate authority (pebble) that comes to look at this very gateway.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
};

use nix::sys::signal::Signal;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use serde_json::Value;
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use crate::{
    Site, TestGateway,
    client::trusting,
    eventually,
    pebble::{Pebble, Settings},
};

/// The certificate that is served for a name, if the handshake succeeds.
pub(crate) fn served(gateway: &TestGateway, host: &str, config: Arc<ClientConfig>) -> io::Result<Vec<u8>> {
    let address: SocketAddr = gateway.https();
    let mut tcp = TcpStream::connect(address)?;
    let mut session = ClientConnection::new(config, ServerName::try_from(host.to_owned()).unwrap()).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(session.peer_certificates().unwrap()[0].to_vec())
}

/// The same, as soon as there is one that this root has signed.
#[track_caller]
pub(crate) fn soon_served(gateway: &TestGateway, host: &str, root: &[u8]) -> Vec<u8> {
    let config = trusting(root, &["http/1.1"]);
    eventually(&format!("{host} has a certificate"), || served(gateway, host, config.clone()).ok())
}

pub(crate) fn names(leaf: &[u8]) -> Vec<String> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(leaf).unwrap();
    let alternative = certificate.subject_alternative_name().unwrap().unwrap();
    let mut names: Vec<_> = alternative
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    names.sort_unstable();
    names
}

/// The one directory of the state directory in which the work with the authority is kept.
fn place(site: &Site) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(site.state().join("acme")).ok()?;
    let place = entries.next()?.unwrap().path();
    assert!(entries.next().is_none(), "one authority, one place");
    Some(place)
}

/// What is written down of the orders.
pub(crate) fn ledger(site: &Site) -> Option<Value> {
    let text = std::fs::read(place(site)?.join("ledger.json")).ok()?;
    Some(serde_json::from_slice(&text).expect("the ledger is whole at any moment"))
}

/// What is written down of one host, once `right` says that it is what is waited for.
#[track_caller]
pub(crate) fn host_until(site: &Site, host: &str, right: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("the ledger says of {host} what it should"), || {
        let history = ledger(site)?["hosts"][host].clone();
        right(&history).then_some(history)
    })
}

/// The metrics say so before long.
#[track_caller]
fn measured(gateway: &TestGateway, line: &str) {
    eventually(line, || gateway.admin("GET", "/metrics")?.text().contains(line).then_some(()));
}

pub(crate) fn account(site: &Site) -> Value {
    let text = std::fs::read(place(site).unwrap().join("account.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

pub(crate) fn attempts(history: &Value) -> usize {
    history["attempts"].as_array().map_or(0, Vec::len)
}

#[test]
fn every_host_has_a_certificate_soon_after_the_start_and_no_other_name_has_one() {
    let mut pebble = Pebble::start(Settings::default());
    let gateway = pebble
        .builder()
        .config("edge.hosts = [\"b.example.com\", \"a.example.com\", \"localhost\"]")
        .config("[[tenant]]\nid = \"navaja\"\norigins = [\"https://navaja.example\"]\nhosts = [\"api.navaja.example\"]")
        .start();
    let root = pebble.root();
    let shared = soon_served(&gateway, "a.example.com", &root);
    assert_eq!(names(&shared), ["a.example.com", "b.example.com"]);
    assert_eq!(soon_served(&gateway, "b.example.com", &root), shared, "one certificate a domain");
    assert_eq!(names(&soon_served(&gateway, "api.navaja.example", &root)), ["api.navaja.example"]);
    for stranger in ["c.example.com", "navaja.example", "localhost"] {
        let refused = served(&gateway, stranger, trusting(&root, &["http/1.1"])).unwrap_err();
        assert!(refused.to_string().contains("UnrecognisedName"), "a clean refusal, not {refused}");
    }
    // Who comes with the challenge's protocol while nothing is pending gets nothing.
    served(&gateway, "a.example.com", trusting(&root, &["acme-tls/1"])).unwrap_err();
    measured(&gateway, "gateway_certificates{state=\"valid\"} 3");
    measured(&gateway, "gateway_certificate_orders_total{outcome=\"issued\"} 2");
    let site = gateway.stop();
    let place = place(&site).unwrap();
    for (file, mode) in [("", 0o700), ("account.key", 0o600), ("account.json", 0o600), ("ledger.json", 0o600)]
    {
        let found = std::fs::metadata(place.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
    // From the disk, without the authority.
    pebble.down();
    let again = site.start();
    assert_eq!(soon_served(&again, "a.example.com", &root), shared);
}

#[test]
fn a_host_added_while_running_gets_its_certificate() {
    let pebble = Pebble::start(Settings::default());
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    let root = pebble.root();
    let first = soon_served(&gateway, "a.example.com", &root);
    let add = ["tenant", "add", "navaja", "--origin", "https://navaja.example", "--host", "n.example.com"];
    gateway.cli(&add).ok();
    assert_eq!(names(&soon_served(&gateway, "n.example.com", &root)), ["n.example.com"]);
    assert_eq!(
        soon_served(&gateway, "a.example.com", &root),
        first,
        "nothing is ordered anew for a new host"
    );
    // By a reload, too.
    gateway.site().configure("edge.hosts = [\"a.example.com\", \"b.example.com\"]");
    gateway.cli(&["reload"]).ok();
    assert_eq!(names(&soon_served(&gateway, "b.example.com", &root)), ["b.example.com"]);
}

#[test]
fn a_host_that_is_removed_is_ordered_no_more() {
    let pebble = Pebble::start(Settings { validity_s: 12, ..Settings::default() });
    let hosts = "edge.hosts = [\"a.example.com\", \"b.example.org\"]";
    let gateway = pebble.builder().config(hosts).start();
    let root = pebble.root();
    let add = ["tenant", "add", "navaja", "--origin", "https://navaja.example", "--host", "n.example.net"];
    gateway.cli(&add).ok();
    for host in ["a.example.com", "b.example.org", "n.example.net"] {
        soon_served(&gateway, host, &root);
    }
    // One by the command line, one by a reload.
    gateway.cli(&["tenant", "remove", "navaja"]).ok();
    gateway.site().configure("edge.hosts = [\"a.example.com\"]");
    gateway.cli(&["reload"]).ok();
    let orders = |host: &str| {
        let ledger = ledger(gateway.site()).unwrap();
        let names = ledger["issued"].as_array().unwrap().iter().map(|one| one["names"].to_string());
        names.filter(|names| names.contains(host)).count()
    };
    let before = ["a.example.com", "b.example.org", "n.example.net"].map(orders);
    // All three would have been renewed when the one that stayed has been, twice.
    eventually("the one that stayed is renewed twice", || {
        (orders("a.example.com") >= before[0] + 2).then_some(())
    });
    assert_eq!(["b.example.org", "n.example.net"].map(orders), before[1..]);
    // What was got for them is kept until it ends, and serves nobody.
    let listed: Value = serde_json::from_str(&gateway.cli(&["cert", "list", "--json"]).ok().stdout).unwrap();
    for host in listed.as_array().unwrap() {
        let stays = host["host"] == "a.example.com";
        assert_eq!((host["state"] == "unused", host["order"].is_null()), (!stays, !stays), "{listed:#}");
    }
}

#[test]
fn a_certificate_is_renewed_in_its_time_and_the_old_one_goes() {
    let pebble = Pebble::start(Settings { validity_s: 12, ..Settings::default() });
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    let root = pebble.root();
    let first = soon_served(&gateway, "a.example.com", &root);
    let config = trusting(&root, &["http/1.1"]);
    eventually("it is renewed", || {
        // At no moment there is none, and none that has ended is served.
        let now = served(&gateway, "a.example.com", config.clone()).unwrap();
        (now != first).then_some(())
    });
    let kept = gateway.site().state().join("certificates/acme");
    eventually("the old one is gone", || (std::fs::read_dir(&kept).unwrap().count() == 1).then_some(()));
    let ledger = ledger(gateway.site()).unwrap();
    let renewals: Vec<_> = ledger["issued"].as_array().unwrap().iter().map(|one| &one["renewal"]).collect();
    assert_eq!((renewals[0], renewals[1]), (&Value::Bool(false), &Value::Bool(true)));
}

#[test]
fn an_authority_that_is_down_stops_no_certificate_and_is_asked_again_when_it_is_up() {
    let mut pebble = Pebble::start(Settings::default());
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    let old_root = pebble.root();
    let first = soon_served(&gateway, "a.example.com", &old_root);
    let registered = account(gateway.site());
    pebble.down();
    let add = ["tenant", "add", "navaja", "--origin", "https://navaja.example", "--host", "n.example.com"];
    gateway.cli(&add).ok();
    eventually("the failure is written down", || {
        let ledger = ledger(gateway.site())?;
        ledger["authority"]["failures"].as_u64().filter(|failures| *failures >= 2)
    });
    let ledger = ledger(gateway.site()).unwrap();
    assert!(ledger["authority"]["next_try"].is_string() && ledger["authority"]["last_error"].is_string());
    assert_eq!(ledger["hosts"]["n.example.com"]["failures"], 0, "it is no host's fault");
    assert_eq!(attempts(&ledger["hosts"]["n.example.com"]), 0, "what never reached it counts for nobody");
    assert_eq!(soon_served(&gateway, "a.example.com", &old_root), first);
    // It comes back without its memory: the account is made again, with the same key.
    pebble.up();
    soon_served(&gateway, "n.example.com", &pebble.root());
    assert_eq!(soon_served(&gateway, "a.example.com", &old_root), first);
    gateway.has_logged("has forgotten our account");
    assert_ne!(account(gateway.site()), registered);
}

#[test]
fn an_authority_that_hangs_or_is_slow_is_waited_for_in_bounds() {
    let pebble = Pebble::start(Settings { slow_s: Some(5), ..Settings::default() });
    pebble.signal(Signal::SIGSTOP);
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    eventually("a request is given up", || gateway.log().contains("did not answer within 2 s").then_some(()));
    gateway.get("/x").host("a.example.com").send();
    pebble.signal(Signal::SIGCONT);
    soon_served(&gateway, "a.example.com", &pebble.root());
}

#[test]
fn nine_of_ten_nonces_refused_keep_nobody_from_a_certificate() {
    let pebble = Pebble::start(Settings { nonces_refused: 90, ..Settings::default() });
    let gateway =
        pebble.builder().config("edge.hosts = [\"a.example.com\"]\ntls.acme.order_timeout = \"60s\"").start();
    soon_served(&gateway, "a.example.com", &pebble.root());
    gateway.has_logged("refused a nonce");
    assert_eq!(attempts(&ledger(gateway.site()).unwrap()["hosts"]["a.example.com"]), 1);
}

#[test]
fn a_host_that_fails_is_ordered_four_times_an_hour_at_most_and_holds_up_no_other() {
    let pebble = Pebble::start(Settings::default());
    // Nobody listens on this address of the machine: it leads here, as far as we can see, and the authority fails.
    pebble.lead("bad.example.com", "127.0.0.9");
    let gateway = pebble.builder().config("edge.hosts = [\"bad.example.com\", \"good.example.com\"]").start();
    assert_eq!(names(&soon_served(&gateway, "good.example.com", &pebble.root())), ["good.example.com"]);
    let history = host_until(gateway.site(), "bad.example.com", |history| attempts(history) == 4);
    assert!(history["last_error"].as_str().is_some_and(|why| why.contains("-01 on port")), "{history}");
    let full = host_until(gateway.site(), "bad.example.com", |history| history["ordering"] == false);
    assert!(full["next_try"].is_string(), "{full}");
    // A restart is no way around it, nor is an operator who reloads.
    let gateway = gateway.stop().start();
    gateway.cli(&["reload"]).ok();
    soon_served(&gateway, "good.example.com", &pebble.root());
    let again = host_until(gateway.site(), "bad.example.com", |history| !history.is_null());
    assert_eq!((&again["attempts"], &again["failures"]), (&full["attempts"], &full["failures"]));
    measured(&gateway, "gateway_certificates{state=\"failing\"} 1");
}

#[test]
fn a_host_that_leads_elsewhere_is_not_ordered_until_it_leads_here() {
    let pebble = Pebble::start(Settings::default());
    pebble.lead("away.example.com", "192.0.2.1");
    let gateway = pebble.builder().config("edge.hosts = [\"away.example.com\"]").start();
    let history =
        host_until(gateway.site(), "away.example.com", |history| history["strays"].as_u64() >= Some(1));
    let why = history["last_error"].as_str().unwrap();
    assert!(why.contains("does not lead here: resolves to 192.0.2.1"), "{why}");
    assert_eq!(attempts(&history), 0);
    let refused = served(&gateway, "away.example.com", trusting(&pebble.root(), &["http/1.1"])).unwrap_err();
    assert!(refused.to_string().contains("alert"), "{refused}");
    pebble.lead("away.example.com", "127.0.0.1");
    soon_served(&gateway, "away.example.com", &pebble.root());
}

#[test]
fn where_the_first_challenge_fails_the_next_try_takes_the_other_one_in_both_modes_of_plain_http() {
    for mode in ["serve", "redirect"] {
        let pebble = Pebble::start(Settings { https: Some(Pebble::nowhere()), ..Settings::default() });
        let gateway = pebble
            .builder()
            .config(&format!("edge.hosts = [\"a.example.com\"]\nedge.http_mode = {mode:?}"))
            .start();
        soon_served(&gateway, "a.example.com", &pebble.root());
        let history = host_until(gateway.site(), "a.example.com", |history| attempts(history) == 2);
        assert_eq!(history["over_http"], true, "what worked is tried first from now on");
        gateway.has_logged("TLS-ALPN-01 on port 443 failed");
    }
}

#[test]
fn a_kill_in_the_middle_of_an_order_loses_neither_account_nor_count() {
    let pebble = Pebble::start(Settings::default());
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    let first = soon_served(&gateway, "a.example.com", &pebble.root());
    let registered = account(gateway.site());
    let key = std::fs::read(place(gateway.site()).unwrap().join("account.key")).unwrap();
    pebble.signal(Signal::SIGSTOP);
    let add = ["tenant", "add", "navaja", "--origin", "https://navaja.example", "--host", "n.example.com"];
    gateway.cli(&add).ok();
    host_until(gateway.site(), "n.example.com", |history| {
        attempts(history) == 1 && history["ordering"] == true
    });
    let site = gateway.kill();
    pebble.signal(Signal::SIGCONT);
    let gateway = site.start();
    let root = pebble.root();
    assert_eq!(soon_served(&gateway, "a.example.com", &root), first);
    soon_served(&gateway, "n.example.com", &root);
    assert_eq!(account(gateway.site()), registered);
    assert_eq!(std::fs::read(place(gateway.site()).unwrap().join("account.key")).unwrap(), key);
    let history = host_until(gateway.site(), "n.example.com", |history| history["ordering"] == false);
    assert_eq!(attempts(&history), 2, "the one cut off has counted");
    gateway.has_logged("it counts as made");
}
