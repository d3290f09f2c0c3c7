//! Certificates from the local CA and from files.

use std::os::unix::fs::PermissionsExt;

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
    let first = ca.certificate(Some("api.acme.example")).unwrap();
    assert_eq!(names(&first), ["api.acme.example"]);
    assert!(Arc::ptr_eq(&first, &ca.certificate(Some("api.acme.example")).unwrap()));
    assert_eq!(names(&ca.certificate(None).unwrap()), ["localhost", "127.0.0.1", "::1"]);
    let status = ca.status();
    assert_eq!(status.len(), 2);
    assert!(status.iter().all(|one| one.issuer.contains("gateway local CA")));
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

#[test]
fn changed_files_are_loaded_and_broken_ones_leave_the_old_serving() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::new(dir.path());
    pair.write(&["a.example"]);
    let config =
        TlsConfig { mode: TlsMode::Files, certificate: vec![pair.files.clone()], ..TlsConfig::default() };
    let certificates = Certificates::new(&config, dir.path().into()).unwrap();
    let served = || certificates.status()[0].names.clone();
    certificates.refresh();
    assert_eq!(served(), ["a.example"]);
    std::fs::write(&pair.files.cert, "no certificate, and longer").unwrap();
    certificates.refresh();
    assert_eq!(served(), ["a.example"]);
    pair.write(&["new-name.example"]);
    certificates.refresh();
    assert_eq!(served(), ["new-name.example"]);
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
