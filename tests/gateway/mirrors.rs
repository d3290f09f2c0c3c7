//! Where Node's versions come from: mirrors with an authority of their own, that lead elsewhere, and that never end.

use std::fs;

use crate::{
    Site, TestGateway,
    certificates::TestCa,
    node_mirror::{Fault, NodeMirror},
};

/// With this mirror and nothing that would be started.
fn site(mirror: &NodeMirror, fragment: &str) -> Site {
    let from = format!("[node]\nmirror = {:?}\nidle_timeout = \"20s\"", mirror.url());
    TestGateway::builder().config(&from).config(fragment).site()
}

/// Nothing is left of an installation.
#[track_caller]
fn refused(site: &Site, version: &str, words: &[&str]) {
    site.cli(&["node", "install", version]).fails(1).says(words);
    let entries = fs::read_dir(site.state().join("node")).into_iter().flatten().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).filter(|name| name != ".lock").collect();
    assert!(names.is_empty(), "something is left: {names:?}");
}

#[test]
fn a_mirror_of_ones_own_authority_is_trusted_when_told_and_not_before() {
    let ca = TestCa::new();
    let mirror = NodeMirror::start_secure(&ca);
    mirror.add_fake("v90.1.0");
    let site = site(&mirror, "");
    refused(&site, "90", &["cannot reach the mirror localhost:", "UnknownIssuer"]);
    let (own, other) = (site.write("own.pem", ca.pem()), site.write("other.pem", TestCa::new().pem()));
    site.configure(&format!("node.ca_file = {other:?}"));
    refused(&site, "90", &["cannot reach the mirror"]);
    site.configure(&format!("node.ca_file = {own:?}"));
    mirror.checksum("v90.1.0", &"a".repeat(64));
    refused(&site, "90", &["is not what SHASUMS256.txt says"]);
    mirror.add_fake("v90.1.0");
    site.cli(&["node", "list", "--remote"]).ok().says(&["v90.1.0"]);
    let said = site.cli(&["node", "install", "90", "--json"]).ok().json();
    assert_eq!((&said[0]["version"], &said[0]["fresh"]), (&"v90.1.0".into(), &true.into()));
}

#[test]
fn a_mirror_may_lead_elsewhere_but_not_out_of_https_nor_round_and_round() {
    let ca = TestCa::new();
    let (first, second) = (NodeMirror::start_secure(&ca), NodeMirror::start_secure(&ca));
    second.add_fake("v90.1.0");
    let site = site(&first, "");
    let own = site.write("own.pem", ca.pem());
    site.configure(&format!("node.ca_file = {own:?}"));
    first.fault(Fault::Elsewhere("http://mirror.example/dist".to_owned()));
    refused(&site, "90", &["it leads to http://mirror.example/dist/index.json, which is not HTTPS"]);
    first.fault(Fault::Elsewhere(first.url()));
    refused(&site, "90", &["leads on more than 5 times"]);
    first.fault(Fault::Elsewhere(second.url()));
    site.cli(&["node", "install", "90"]).ok().says(&["the checksum is right", "Node v90.1.0 installed"]);
    assert_eq!((first.asked(".tar.gz"), second.asked(".tar.gz")), (1, 1));
}

#[test]
fn a_mirror_that_never_ends_is_left_at_the_bound() {
    let mirror = NodeMirror::start();
    mirror.add_fake("v90.1.0");
    let site = site(&mirror, "node.archive_bytes_max = 1000000");
    for (ending, words) in [
        ("index.json", "bytes, which is no list of Node's"),
        ("SHASUMS256.txt", "bytes, which is no list of Node's"),
        (".tar.gz", "raise `node.archive_bytes_max`"),
    ] {
        mirror.fault(Fault::Endless { ending, drips: false });
        refused(&site, "90", &[ending, words]);
    }
    site.configure("node.download_timeout = \"1s\"\nnode.idle_timeout = \"1s\"");
    for ending in ["index.json", "SHASUMS256.txt", ".tar.gz"] {
        mirror.fault(Fault::Endless { ending, drips: true });
        refused(&site, "90", &[ending, "it took longer than 1s (node.download_timeout)"]);
    }
}

#[test]
fn what_was_chosen_and_removed_is_told_to_scripts() {
    let mirror = NodeMirror::start();
    for version in ["v90.1.0", "v90.2.0"] {
        mirror.add_fake(version);
    }
    let site = site(&mirror, "");
    for version in ["90.1.0", "90.2.0"] {
        site.cli(&["node", "install", version]).ok();
    }
    let chosen = site.cli(&["node", "use", "90.1.0", "--json"]).ok().json();
    assert_eq!(
        (&chosen["version"], &chosen["source"], &chosen["backend"]),
        (&"v90.1.0".into(), &"gateway".into(), &serde_json::Value::Null)
    );
    let directory = site.state().join("node/v90.1.0").canonicalize().unwrap();
    assert_eq!(fs::canonicalize(chosen["directory"].as_str().unwrap()).unwrap(), directory);
    site.cli(&["node", "remove", "90", "--json"]).fails(2).says(&["2 of them fit 90"]);
    let removed = site.cli(&["node", "remove", "90.1.0", "--json"]).ok().json();
    assert_eq!(removed, serde_json::json!({"version": "v90.1.0", "chosen_by": ["default"]}));
}
