//! Orders under way outlive the process that made them: after a kill, a swap and a reload the same order goes on, with
//! the key that was kept for it; one that is lost to the authority costs nothing but itself.

use std::os::unix::fs::PermissionsExt;

use rcgen::{KeyPair, PublicKeyData};
use x509_parser::prelude::FromDer;

use crate::{
    Site, TestGateway,
    acme::{attempts, host_until, names, soon_served},
    builder::Builder,
    eventually,
    front::Front,
    pebble::{Pebble, Settings},
};

const HOST: &str = "a.example.com";

/// A gateway that has one host to order for. Nonces are not refused, so that each order is sent once.
fn set_up() -> (Pebble, Front, Builder) {
    let pebble = Pebble::start(Settings { nonces_refused: 0, ..Settings::default() });
    let front = Front::start(&pebble, crate::front::Manners::default());
    let builder = pebble
        .builder()
        .config(&front.config())
        .config("edge.hosts = [\"a.example.com\"]\ntls.acme.request_timeout = \"20s\"");
    (pebble, front, builder)
}

#[track_caller]
fn held(front: &Front) {
    eventually("a request is held back", || front.holds().then_some(()));
}

/// The keys that are kept for orders under way.
fn keys(site: &Site) -> Vec<std::path::PathBuf> {
    let Ok(authorities) = std::fs::read_dir(site.state().join("acme")) else { return Vec::new() };
    let orders = authorities.flatten().map(|place| place.path().join("orders"));
    let files = orders.filter_map(|orders| std::fs::read_dir(orders).ok()).flatten();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "key"))
        .collect()
}

/// It ends well: one certificate, so many orders, none of them a failure, and nothing is left of it.
#[track_caller]
fn ends_well(gateway: &TestGateway, (pebble, front): (&Pebble, &Front), orders: usize) -> Vec<u8> {
    let leaf = soon_served(gateway, HOST, &pebble.root());
    assert_eq!(names(&leaf), [HOST]);
    let history = host_until(gateway.site(), HOST, |history| history["ordering"] == false);
    assert_eq!((attempts(&history), front.orders_of(HOST)), (orders, orders), "{history}");
    assert_eq!(history["failures"], 0, "{history}");
    eventually("its key is gone", || keys(gateway.site()).is_empty().then_some(()));
    leaf
}

#[test]
fn a_kill_after_the_challenge_is_told_costs_no_second_order() {
    let (pebble, front, builder) = set_up();
    front.hold(Some("/chalZ/"));
    let gateway = builder.start();
    held(&front);
    // The authority has come and seen while there was somebody to see.
    eventually("the challenge is fulfilled", || pebble.log().contains("set VALID").then_some(()));
    let site = gateway.kill();
    front.hold(None);
    ends_well(&site.start(), (&pebble, &front), 1);
}

#[test]
fn what_the_challenge_shows_is_made_again_after_a_kill() {
    for at in ["/authZ/", "/chalZ/"] {
        let (pebble, front, builder) = set_up();
        // The authority does not even hear of it: it comes to look at the next process.
        front.stop(Some(at));
        let gateway = builder.start();
        held(&front);
        let site = gateway.kill();
        front.stop(None);
        let gateway = site.start();
        ends_well(&gateway, (&pebble, &front), 1);
        gateway.has_logged("an order is taken up again");
    }
}

#[test]
fn a_kill_between_finalize_and_download_brings_the_certificate_of_the_key_that_was_kept() {
    for at in ["/finalize-order/", "/certZ/"] {
        let (pebble, front, builder) = set_up();
        front.hold(Some(at));
        let gateway = builder.start();
        held(&front);
        let site = gateway.kill();
        let [path] = &keys(&site)[..] else { panic!("one key: {:?}", keys(&site)) };
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let key = KeyPair::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap();
        front.hold(None);
        let leaf = ends_well(&site.start(), (&pebble, &front), 1);
        let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&leaf).unwrap();
        assert_eq!(leaf.public_key().raw, key.subject_public_key_info(), "{at}");
        assert_eq!(front.requests("/finalize-order/"), 1, "{at}");
    }
}

#[test]
fn a_reload_of_other_settings_loses_no_order_under_way() {
    for at in ["/order-plz", "/authZ/", "/chalZ/", "/finalize-order/", "/certZ/"] {
        for change in ["edge.public_addresses = [\"192.0.2.7\"]", "tls.acme.retry_longest = \"3h\""] {
            let (pebble, front, builder) = set_up();
            front.hold(Some(at));
            let gateway = builder.start();
            held(&front);
            gateway.site().configure(change);
            gateway.cli(&["reload"]).ok();
            front.hold(None);
            ends_well(&gateway, (&pebble, &front), 1);
        }
    }
}

#[test]
fn a_swap_loses_no_order_under_way() {
    for at in ["/order-plz", "/authZ/", "/chalZ/", "/finalize-order/", "/certZ/"] {
        let (pebble, front, builder) = set_up();
        front.hold(Some(at));
        let gateway = builder.start();
        held(&front);
        if at == "/chalZ/" {
            eventually("the challenge is fulfilled", || pebble.log().contains("set VALID").then_some(()));
        }
        // Nobody knows the URL of an order whose answer has not come: the old program waits for that one.
        std::thread::scope(|scope| {
            let swap = scope.spawn(|| gateway.cli(&["swap"]).ok());
            if at == "/order-plz" {
                let begun = || gateway.log().contains("swapping: draining").then_some(());
                eventually("the old program drains", begun);
                front.hold(None);
            }
            swap.join().unwrap();
        });
        front.hold(None);
        ends_well(&gateway, (&pebble, &front), 1);
    }
}

#[test]
fn an_order_that_the_authority_has_forgotten_costs_nothing_but_itself() {
    let (mut pebble, front, builder) = set_up();
    front.stop(Some("/finalize-order/"));
    let gateway = builder.start();
    held(&front);
    let site = gateway.kill();
    // It comes back without its memory.
    pebble.down();
    pebble.up();
    front.stop(None);
    ends_well(&site.start(), (&pebble, &front), 2);
}

#[test]
fn an_order_that_became_invalid_while_nobody_was_there_costs_nothing_but_itself() {
    let (pebble, front, builder) = set_up();
    // Nobody listens there: the authority's look fails.
    pebble.lead(HOST, "127.0.0.9");
    front.hold(Some("/chalZ/"));
    let gateway = builder.start();
    held(&front);
    eventually("the challenge has failed", || pebble.log().contains("set INVALID").then_some(()));
    let site = gateway.kill();
    pebble.lead(HOST, "127.0.0.1");
    front.hold(None);
    ends_well(&site.start(), (&pebble, &front), 2);
}

#[test]
fn an_order_whose_hosts_are_gone_is_not_taken_up_again() {
    let (pebble, front, builder) = set_up();
    front.stop(Some("/finalize-order/"));
    let gateway = builder.start();
    held(&front);
    let site = gateway.kill();
    front.stop(None);
    site.configure("edge.hosts = [\"b.example.com\"]");
    let gateway = site.start();
    assert_eq!(names(&soon_served(&gateway, "b.example.com", &pebble.root())), ["b.example.com"]);
    assert_eq!((front.orders_of(HOST), front.requests("/finalize-order/")), (1, 2));
    eventually("its key is gone", || keys(gateway.site()).is_empty().then_some(()));
}
