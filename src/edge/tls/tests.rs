//! Certificates from the local CA and from files.

use std::os::unix::fs::PermissionsExt;

use rustls::sign::CertifiedKey;

use crate::edge::config::CertificateFiles;

use super::*;

fn names(key: &CertifiedKey) -> Vec<String> {
    pair::Leaf::read(key.end_entity_cert().unwrap()).unwrap().names
}

#[test]
fn the_local_ca_is_made_once_with_a_key_nobody_else_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("local-ca");
    let ca = LocalCa::open(&directory).unwrap();
    let before = std::fs::read(ca.certificate_path()).unwrap();
    let mode = |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.key"), mode("ca.pem")), (0o600, 0o644));
    let again = LocalCa::open(&directory).unwrap();
    assert_eq!(std::fs::read(again.certificate_path()).unwrap(), before);
}

#[test]
fn a_leaf_is_signed_once_per_name_and_bears_that_name_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ca = LocalCa::open(dir.path()).unwrap();
    let first = ca.certificate(Some("api.acme.example")).unwrap().certified;
    assert_eq!(names(&first), ["api.acme.example"]);
    assert!(Arc::ptr_eq(&first, &ca.certificate(Some("api.acme.example")).unwrap().certified));
    assert_eq!(names(&ca.certificate(None).unwrap().certified), ["localhost", "127.0.0.1", "::1"]);
}

struct Pair {
    files: CertificateFiles,
}

impl Pair {
    fn new(dir: &Path) -> Self {
        Self { files: CertificateFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") } }
    }

    fn write(&self, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(&self.files.cert, made.cert.pem()).unwrap();
        std::fs::write(&self.files.key, made.signing_key.serialize_pem()).unwrap();
        made.signing_key.serialize_pem()
    }
}

#[test]
fn certificates_from_files_are_served_by_their_names_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::new(dir.path());
    pair.write(&["a.example", "*.b.example"]);
    let files = Files::load(&[pair.files]).unwrap();
    for (name, served) in [
        (Some("a.example"), true),
        (Some("x.b.example"), true),
        (Some("b.example"), false),
        (Some("x.y.b.example"), false),
        (Some("c.example"), false),
        (None, true),
    ] {
        assert_eq!(files.certificate(name).is_some(), served, "{name:?}");
    }
}

fn of_files(dir: &Path, pairs: &[&Pair]) -> Arc<Certificates> {
    let certificate = pairs.iter().map(|pair| pair.files.clone()).collect();
    let config = TlsConfig { mode: TlsMode::Files, certificate, ..TlsConfig::default() };
    Certificates::new(&config, dir.into()).unwrap()
}

fn serves(certificates: &Certificates, name: &str) -> bool {
    certificates.choose(Some(name), || true, Timestamp::now()).is_some()
}

/// What was written is taken at the second look that finds it so.
fn look_twice(certificates: &Certificates) {
    certificates.refresh();
    certificates.refresh();
}

#[test]
fn changed_files_are_loaded_once_they_are_whole_and_broken_ones_leave_the_old_serving() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::new(dir.path());
    pair.write(&["a.example"]);
    let certificates = of_files(dir.path(), &[&pair]);
    look_twice(&certificates);
    assert!(serves(&certificates, "a.example"));
    let junk = ["", "no certificate, and longer", "-----BEGIN CERTIFICATE-----\nAAAA"];
    for text in junk {
        std::fs::write(&pair.files.cert, text).unwrap();
        look_twice(&certificates);
        look_twice(&certificates);
        assert!(serves(&certificates, "a.example"), "{text:?}");
    }
    std::fs::remove_file(&pair.files.key).unwrap();
    look_twice(&certificates);
    assert!(serves(&certificates, "a.example"), "without its key");
    pair.write(&["new-name.example"]);
    certificates.refresh();
    assert!(serves(&certificates, "a.example"), "they may still be in writing");
    certificates.refresh();
    assert!(serves(&certificates, "new-name.example") && !serves(&certificates, "a.example"));
}

#[test]
fn a_broken_pair_holds_up_no_other() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (bad, good) = (Pair::new(dir.path()), Pair::new(other.path()));
    bad.write(&["bad.example"]);
    good.write(&["good.example"]);
    let certificates = of_files(dir.path(), &[&bad, &good]);
    std::fs::write(&bad.files.cert, "junk").unwrap();
    good.write(&["better.example"]);
    look_twice(&certificates);
    for (name, served) in [("bad.example", true), ("better.example", true), ("good.example", false)] {
        assert_eq!(serves(&certificates, name), served, "{name}");
    }
}

#[test]
fn a_renewal_by_certbot_is_seen_through_its_symbolic_links() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, live) = (dir.path().join("archive"), dir.path().join("live"));
    std::fs::create_dir(&live).unwrap();
    let link = |number: u32, name: &str| {
        let directory = archive.join(number.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        Pair::new(&directory).write(&[name]);
        for file in ["cert.pem", "key.pem"] {
            // As certbot does: a new link beside, renamed over the old one.
            std::os::unix::fs::symlink(directory.join(file), live.join("fresh")).unwrap();
            std::fs::rename(live.join("fresh"), live.join(file)).unwrap();
        }
    };
    link(1, "first.example");
    let certificates = of_files(dir.path(), &[&Pair::new(&live)]);
    link(2, "later.example");
    look_twice(&certificates);
    assert!(serves(&certificates, "later.example") && !serves(&certificates, "first.example"));
}

#[test]
fn an_imported_certificate_comes_before_files_and_the_local_ca_until_its_end_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::new(dir.path());
    pair.write(&["a.example"]);
    let source = |config: &TlsConfig, now: Timestamp| {
        let certificates = Certificates::new(config, dir.path().into()).unwrap();
        let own = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 12, 31));
        let chain = params.self_signed(&own).unwrap().pem();
        let order = ImportOrder { chain, key: own.serialize_pem() };
        let begin = "2026-02-01T00:00:00Z".parse().unwrap();
        certificates.import("a.example", &order, begin).unwrap();
        certificates.choose(Some("a.example"), || true, now).unwrap().source()
    };
    let certificate = vec![pair.files.clone()];
    let files = TlsConfig { mode: TlsMode::Files, certificate, ..TlsConfig::default() };
    for (config, day, want) in [
        (&files, "2026-06-01", "imported"),
        (&files, "2026-12-16", "imported"),
        (&files, "2026-12-18", "file"),
        (&TlsConfig::default(), "2026-12-18", "imported"),
    ] {
        assert_eq!(source(config, format!("{day}T00:00:00Z").parse().unwrap()), want, "{day}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::new(dir.path());
    let other = pair.write(&["a.example"]);
    pair.write(&["a.example"]);
    std::fs::write(&pair.files.key, other).unwrap();
    assert!(matches!(Files::load(&[pair.files]), Err(EdgeError::Certificate { .. })));
}
