//! A backup is restored whole, or nothing is touched. Databases are any bytes here: what SQLite makes of them is
//! the pool room's.

use std::{cell::Cell, fs, path::Path};

use zeroize::Zeroizing;

use super::*;
use crate::admin::{Places, scratch::Scratch};

const PASSPHRASE: &str = "four random words";

fn places(directory: &Path) -> Places {
    Places {
        state_dir: directory.to_owned(),
        registry_db: directory.join("registry.db"),
        seal_key_file: directory.join("seal.key"),
        file_bytes_max: 1 << 20,
    }
}

/// A state directory with everything that a backup must hold, and some that it must not.
fn state(directory: &Path) {
    fs::create_dir_all(directory.join("local-ca/deep")).unwrap();
    fs::create_dir_all(directory.join("tenants")).unwrap();
    fs::create_dir_all(directory.join("elsewhere")).unwrap();
    fs::create_dir_all(directory.join("tls")).unwrap();
    for (name, content) in [
        ("registry.db", "the registry"),
        ("registry.db-wal", "never in it"),
        ("seal.key", "TOP-SECRET-SEAL"),
        ("local-ca/ca.key", "TOP-SECRET-CA"),
        ("local-ca/deep/cert.pem", "certificate"),
        ("tenants/acme.db", "acme's data"),
        ("tenants/orphan.db", "never in it"),
        ("tls/shop.pem", "a chain"),
        ("tls/shop.key", "TOP-SECRET-TLS"),
        ("tls/old.key", "never in it"),
        ("gateway.lock", "1"),
        ("gateway.log", "never in it"),
        ("elsewhere/notes.txt", "never in it"),
    ] {
        fs::write(directory.join(name), content).unwrap();
    }
}

fn backup(directory: &Path) -> Vec<u8> {
    let id: crate::tenant::TenantId = "acme".parse().unwrap();
    let absent: crate::tenant::TenantId = "absent".parse().unwrap();
    let tenants = vec![
        (id, "acme.db".into(), directory.join("tenants/acme.db")),
        (absent, "absent.db".into(), directory.join("tenants/absent.db")),
    ];
    let contents = Contents {
        places: places(directory),
        seal_key: Zeroizing::new(b"TOP-SECRET-SEAL".to_vec()),
        // Two in the state directory, one of them gone, and one that is somebody else's to back up.
        certificates: ["tls/shop.pem", "tls/shop.key", "tls/gone.pem", "../outside.pem"]
            .map(|name| directory.join(name))
            .to_vec(),
        tenants,
    };
    let copy = |from: &Path| {
        let scratch = Scratch::new(&directory.join("scratch")).unwrap();
        fs::copy(from, scratch.path()).unwrap();
        Ok(scratch)
    };
    let mut bytes = Vec::new();
    write(contents, PASSPHRASE, copy, &mut bytes).unwrap();
    bytes
}

fn order(directory: &Path, passphrase: &str, force: bool) -> Restore {
    Restore { places: places(directory), passphrase: Zeroizing::new(passphrase.to_owned()), force }
}

#[test]
fn what_was_backed_up_is_restored_with_its_secrets_and_nothing_else() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    state(from.path());
    let bytes = backup(from.path());
    for secret in ["TOP-SECRET-SEAL", "TOP-SECRET-CA", "TOP-SECRET-TLS"] {
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "{secret} is readable"
        );
    }
    let checked = Cell::new(0);
    let count = |_: &Path| {
        checked.set(checked.get() + 1);
        Ok(())
    };
    let restored = restore(&bytes[..], &order(to.path(), PASSPHRASE, false), count).unwrap();
    assert_eq!((restored.databases, restored.files, checked.get()), (1, 7, 2));
    for name in [
        "registry.db",
        "seal.key",
        "local-ca/ca.key",
        "local-ca/deep/cert.pem",
        "tenants/acme.db",
        "tls/shop.pem",
        "tls/shop.key",
    ] {
        assert_eq!(
            fs::read(to.path().join(name)).unwrap(),
            fs::read(from.path().join(name)).unwrap(),
            "{name}"
        );
    }
    for name in
        ["registry.db-wal", "tenants/orphan.db", "gateway.lock", "gateway.log", "elsewhere", "tls/old.key"]
    {
        assert!(!to.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_wrong_passphrase_a_cut_and_a_changed_archive_leave_nothing() {
    let from = tempfile::tempdir().unwrap();
    state(from.path());
    let bytes = backup(from.path());
    let check = |bytes: &[u8], passphrase: &str, what: &str| {
        let to = tempfile::tempdir().unwrap();
        let target = to.path().join("state");
        let problem = restore(bytes, &order(&target, passphrase, false), |_| Ok(())).unwrap_err().to_string();
        let plain = problem.chars().all(|c| !c.is_control() && c != '\u{fffd}');
        assert!(plain && !problem.contains("numeric field"), "{what}: {problem:?}");
        let blames = problem.contains("passphrase is wrong");
        assert!(!what.starts_with("cut") || !blames, "{what}: {problem}");
        let left = |path: &Path| fs::read_dir(path).map(|entries| entries.flatten().count()).unwrap_or(0);
        let files = left(&target)
            - usize::from(target.join("tenants").exists())
            - usize::from(target.join("local-ca").exists())
            - usize::from(target.join("tls").exists());
        assert_eq!(files, 0, "{what}");
        assert_eq!((left(&target.join("tenants")), left(&target.join("local-ca/deep"))), (0, 0), "{what}");
    };
    check(&bytes, "five random words", "wrong passphrase");
    for part in [4, 2] {
        check(&bytes[..bytes.len() / part], PASSPHRASE, "cut in the middle");
    }
    check(&bytes[..1024 + 512], PASSPHRASE, "cut after the manifest");
    check(&bytes[..2 * 1024 + 20], PASSPHRASE, "cut in a secret");
    check(b"hello", PASSPHRASE, "no archive");
    check(&[0xff; 2048], PASSPHRASE, "bytes of something else");
    check(b"", PASSPHRASE, "nothing");
    for (needle, what) in
        [("acme's data", "a tenant's data"), ("the registry", "the registry"), ("0.1.0", "the manifest")]
    {
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        check(&changed, PASSPHRASE, what);
    }
}

#[test]
fn a_state_that_is_there_is_replaced_by_force_only_and_kept_if_a_database_is_damaged() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    state(from.path());
    let bytes = backup(from.path());
    let registry = to.path().join("registry.db");
    fs::write(&registry, "old").unwrap();
    let refused = restore(&bytes[..], &order(to.path(), PASSPHRASE, false), |_| Ok(())).unwrap_err();
    assert!(matches!(refused, ArchiveProblem::NotEmpty(_)), "{refused}");
    let damaged = |_: &Path| Err("damaged".to_owned());
    assert!(restore(&bytes[..], &order(to.path(), PASSPHRASE, true), damaged).is_err());
    assert_eq!(fs::read_to_string(&registry).unwrap(), "old");
    restore(&bytes[..], &order(to.path(), PASSPHRASE, true), |_| Ok(())).unwrap();
    assert_eq!(fs::read_to_string(&registry).unwrap(), "the registry");
}
