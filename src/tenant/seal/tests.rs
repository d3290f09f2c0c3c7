//! Sealing: what opens, what does not, and the key's file.

use std::os::unix::fs::PermissionsExt;

use super::*;

const SECRET: &str = "postgres://acme:hunter2@db/acme";

fn key() -> SealKey {
    let directory = tempfile::tempdir().unwrap();
    SealKey::make(&directory.path().join("seal.key")).unwrap()
}

fn id(text: &str) -> TenantId {
    text.parse().unwrap()
}

#[test]
fn a_sealed_secret_opens_for_its_tenant_and_hides_itself() {
    let key = key();
    let sealed = key.seal(&id("acme"), SECRET).unwrap();
    assert_eq!(*key.open(&id("acme"), &sealed).unwrap(), SECRET);
    assert!(!sealed.windows(7).any(|bytes| bytes == b"hunter2"));
    assert_ne!(sealed, key.seal(&id("acme"), SECRET).unwrap(), "one nonce was used twice");
    assert_eq!(format!("{key:?}"), "SealKey(..)");
}

#[test]
fn a_changed_cut_or_moved_value_and_another_key_open_nothing() {
    let key = key();
    let sealed = key.seal(&id("acme"), SECRET).unwrap();
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        assert!(key.open(&id("acme"), &changed).is_err(), "byte {position} can be changed");
        assert!(key.open(&id("acme"), &sealed[..position]).is_err(), "it can be cut at {position}");
    }
    assert!(key.open(&id("other"), &sealed).is_err());
    assert!(self::key().open(&id("acme"), &sealed).is_err());
    assert!(key.made(&key.mark().unwrap()) && !self::key().made(&key.mark().unwrap()));
}

#[test]
fn the_key_file_is_private_from_creation_and_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seal.key");
    assert!(SealKey::of_file(&path).unwrap().is_none());
    let first = SealKey::make(&path).unwrap();
    let second = SealKey::make(&path).unwrap();
    assert_eq!(first.expose(), second.expose(), "a key in use was replaced");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a draft was left behind");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seal.key");
    SealKey::make(&path).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let problem = SealKey::of_file(&path).unwrap_err().to_string();
        assert!(problem.contains("chmod 600"), "{problem}");
    }
    assert!(SealKey::of_credential(&path).is_ok());
}

#[test]
fn what_is_no_key_is_refused_and_raw_bytes_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    for (content, good) in [
        (&b""[..], false),
        (b"short", false),
        (&[0; 32], false),
        (&[7; 32], true),
        (&[7; 33], false),
        (b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n", true),
        (&[b'A'; 4096], false),
    ] {
        let path = directory.path().join("seal.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(SealKey::of_file(&path).is_ok(), good, "{content:?}");
    }
}

#[test]
fn what_is_no_tenants_opens_under_its_own_words_alone() {
    let key = key();
    let sealed = key.seal_as("generations of api", b"hunter2").unwrap();
    assert_eq!(key.open_as("generations of api", &sealed).unwrap().as_slice(), b"hunter2");
    assert!(key.open_as("generations of web", &sealed).is_none() && key.open(&id("api"), &sealed).is_err());
    assert!(key.open_as("acme", &key.seal(&id("acme"), SECRET).unwrap()).is_none());
}
