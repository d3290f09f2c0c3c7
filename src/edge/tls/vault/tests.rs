//! The vault on a real disk: who may read it, what a killed process leaves behind, and what is served by name.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

struct Made {
    chain: String,
    key: String,
}

/// A certificate for these names that lives from `from` to `until`, as days from today.
fn made(names: &[&str], from: i64, until: i64) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let date = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    (params.not_before, params.not_after) = (date(from), date(until));
    let key = rcgen::KeyPair::generate().unwrap();
    Made { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

struct House {
    dir: tempfile::TempDir,
    vault: Arc<Vault>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        vault.warn_before(Duration::from_secs(14 * 86_400));
        Self { dir, vault }
    }

    fn place(&self, kept: Kept) -> PathBuf {
        self.dir.path().join("certificates").join(kept.word())
    }

    fn again(&self) -> Arc<Vault> {
        Vault::open(self.dir.path()).unwrap()
    }

    fn keep(&self, kept: Kept, id: &str, made: &Made) -> Arc<KeptCertificate> {
        self.vault.store(kept, id, &made.chain, &made.key).unwrap()
    }

    fn serves(&self, name: &str) -> Option<CertificateDer<'static>> {
        Some(self.vault.best(name, Timestamp::now())?.leaf_der.clone())
    }

    fn hidden(&self, kept: Kept) -> Vec<String> {
        let names = fs::read_dir(self.place(kept)).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with('.')).collect()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_kept_is_there_again_after_a_restart_and_gone_when_removed() {
    let house = House::new();
    let kept = house.keep(Kept::Acme, "a.example", &made(&["a.example", "www.a.example"], -1, 89));
    assert_eq!((kept.names.len(), kept.kept, kept.id.as_str()), (2, Kept::Acme, "a.example"));
    assert!(kept.issuer.contains("rcgen"), "{}", kept.issuer);
    assert_eq!(house.serves("www.a.example"), Some(kept.leaf_der.clone()));
    let again = house.again().all();
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].leaf_der, &again[0].not_after), (&kept.leaf_der, &kept.not_after));
    house.vault.remove(Kept::Acme, "a.example").unwrap();
    house.vault.remove(Kept::Acme, "a.example").unwrap();
    assert_eq!(house.serves("a.example"), None);
    assert!(house.again().all().is_empty());
}

#[test]
fn directories_and_files_are_closed_to_others_and_closed_again_when_found_open() {
    let house = House::new();
    house.keep(Kept::Imported, "a.example", &made(&["a.example"], -1, 89));
    let place = house.place(Kept::Imported);
    let [directory, key] = [place.join("a.example"), place.join("a.example/key.pem")];
    for path in [&house.dir.path().join("certificates"), &place, &directory] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    assert_eq!((mode(&key), mode(&directory.join("chain.pem"))), (0o600, 0o600));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(house.again().all().len(), 1);
    assert_eq!((mode(&key), mode(&place)), (0o600, 0o700));
}

#[test]
fn a_key_of_another_certificate_is_refused_and_the_old_pair_stays() {
    let house = House::new();
    let (first, second) = (made(&["a.example"], -1, 30), made(&["a.example"], -1, 60));
    let kept = house.keep(Kept::Imported, "a.example", &first);
    let refused = house.vault.store(Kept::Imported, "a.example", &second.chain, &first.key);
    assert!(matches!(refused, Err(EdgeError::Certificate { .. })));
    assert_eq!(house.serves("a.example"), Some(kept.leaf_der.clone()));
    assert_eq!(house.again().all()[0].leaf_der, kept.leaf_der);
}

#[test]
fn an_id_never_leaves_its_directory() {
    let house = House::new();
    let one = made(&["a.example"], -1, 30);
    for id in ["", ".", "..", ".new-x", "a/b", "../x", "A.example", "a b", "*.example", &"a".repeat(246)] {
        let refused = house.vault.store(Kept::Acme, id, &one.chain, &one.key);
        assert!(matches!(refused, Err(EdgeError::Certificate { .. })), "{id:?}");
        assert!(house.vault.remove(Kept::Acme, id).is_err(), "{id:?}");
    }
    house.keep(Kept::Acme, &"a".repeat(245), &one);
    assert_eq!(house.again().all().len(), 1);
}

/// One state that a killed process can leave: directories by name, each with the files of the old or the new pair.
fn left(house: &House, directories: &[(&str, &[(&str, &str)])]) {
    let place = house.place(Kept::Acme);
    for entry in fs::read_dir(&place).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    for (name, files) in directories {
        fs::create_dir(place.join(name)).unwrap();
        for (file, text) in *files {
            fs::write(place.join(name).join(file), text).unwrap();
        }
    }
}

#[test]
fn killed_between_any_two_steps_there_is_the_old_or_the_new_one_whole() {
    let house = House::new();
    let (old, new) = (made(&["a.example"], -1, 30), made(&["a.example"], -1, 60));
    let both = |one: &Made| [("chain.pem", one.chain.clone()), ("key.pem", one.key.clone())];
    let (old_files, new_files) = (both(&old), both(&new));
    let old_files = old_files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let new_files = new_files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let half = &[("chain.pem", new.chain.as_str()), ("key.pem", &new.key[..20])];
    let ends = |one: &Made| Pair::read(one.chain.as_bytes(), one.key.as_bytes()).unwrap().leaf.not_after;
    for (step, directories, served) in [
        ("nothing written", vec![(".new-a", &[][..]), ("a", &old_files[..])], Some(&old)),
        ("chain written", vec![(".new-a", &new_files[..1]), ("a", &old_files)], Some(&old)),
        ("key begun", vec![(".new-a", half), ("a", &old_files)], Some(&old)),
        ("both written", vec![(".new-a", &new_files), ("a", &old_files)], Some(&old)),
        ("old put aside", vec![(".new-a", &new_files), (".old-a", &old_files)], Some(&new)),
        ("new damaged then", vec![(".new-a", half), (".old-a", &old_files)], Some(&old)),
        ("new in place", vec![("a", &new_files), (".old-a", &old_files)], Some(&new)),
        ("first one begun", vec![(".new-a", half)], None),
        ("removal begun", vec![(".gone-a", &old_files)], None),
    ] {
        left(&house, &directories);
        let all = house.again().all();
        let found = all.first().map(|one| one.not_after);
        assert_eq!(found, served.map(ends), "{step}");
        assert!(house.hidden(Kept::Acme).is_empty(), "{step}: {:?}", house.hidden(Kept::Acme));
    }
}

#[test]
fn damaged_entries_are_left_out_and_stop_nobody() {
    let house = House::new();
    house.keep(Kept::Acme, "good", &made(&["good.example"], -1, 30));
    let (one, place) = (made(&["bad.example"], -1, 30), house.place(Kept::Acme));
    let entry = |name: &str, chain: &[u8], key: &[u8]| {
        fs::create_dir(place.join(name)).unwrap();
        fs::write(place.join(name).join("chain.pem"), chain).unwrap();
        fs::write(place.join(name).join("key.pem"), key).unwrap();
    };
    entry("other-key", one.chain.as_bytes(), made(&["x.example"], -1, 30).key.as_bytes());
    entry("no-text", &[0xff, 0xfe], one.key.as_bytes());
    entry("endless", &vec![b'a'; 300 * 1024], one.key.as_bytes());
    fs::create_dir(place.join("empty")).unwrap();
    fs::write(place.join("a-file"), "by mistake").unwrap();
    fs::create_dir(place.join("Strange Name")).unwrap();
    let again = house.again();
    assert_eq!(again.all().iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(place.join("other-key/key.pem").exists(), "nothing that may still be mended is removed");
}

#[test]
fn an_imported_certificate_wins_until_its_end_is_near_then_the_longest_living() {
    let house = House::new();
    let acme = house.keep(Kept::Acme, "a", &made(&["a.example"], -30, 60));
    assert_eq!(house.serves("a.example"), Some(acme.leaf_der.clone()));
    for (life, wins, what) in [
        ((-60, 30), true, "a month left"),
        ((-80, 10), false, "ten days left and ACME's lives longer"),
        ((-1, 4), true, "five days in all: its last quarter is the end"),
        ((-90, -1), false, "ended"),
    ] {
        let imported = house.keep(Kept::Imported, "a", &made(&["a.example"], life.0, life.1));
        let served = house.serves("a.example");
        assert_eq!(served == Some(imported.leaf_der.clone()), wins, "{what}");
        assert_eq!(house.vault.imported_covers("a.example", Timestamp::now()), wins, "{what}");
    }
    house.vault.remove(Kept::Acme, "a").unwrap();
    assert!(house.serves("a.example").is_some(), "one that has ended is better than none");
}

#[test]
fn names_are_found_exactly_then_by_wildcard_and_no_other_gets_anything() {
    let house = House::new();
    let exact = house.keep(Kept::Acme, "exact", &made(&["api.b.example"], -1, 60));
    let wild = house.keep(Kept::Acme, "wild", &made(&["*.b.example"], -1, 30));
    for (name, served) in [
        ("api.b.example", Some(&exact)),
        ("www.b.example", Some(&wild)),
        ("b.example", None),
        ("x.www.b.example", None),
        ("example", None),
        ("", None),
    ] {
        assert_eq!(house.serves(name), served.map(|one| one.leaf_der.clone()), "{name}");
    }
    let own = house.keep(Kept::Imported, "wild", &made(&["*.b.example"], -1, 60));
    assert_eq!(house.serves("api.b.example"), Some(own.leaf_der.clone()), "imported, though by wildcard");
}

#[test]
fn ten_thousand_names_are_each_found() {
    let house = House::new();
    let one = made(&["a.example"], -1, 30);
    let pair = Pair::read(one.chain.as_bytes(), one.key.as_bytes()).unwrap();
    let all = (0..200).map(|at| {
        Arc::new(KeptCertificate {
            id: at.to_string(),
            kept: Kept::Acme,
            names: (0..50).map(|name| format!("n{name}.c{at}.example")).collect(),
            issuer: String::new(),
            not_before: pair.leaf.not_before,
            not_after: pair.leaf.not_after,
            certified: pair.certified.clone(),
            leaf_der: Vec::new().into(),
        })
    });
    house.vault.index.store(Arc::new(Index::new(all)));
    let index = house.vault.index.load();
    for (at, name) in (0..200).flat_map(|at| (0..50).map(move |name| (at, name))) {
        let found = index.best(&format!("n{name}.c{at}.example"), Timestamp::now(), 0).unwrap();
        assert_eq!(found.id, at.to_string());
    }
}

#[test]
fn of_two_that_were_ordered_the_newer_is_served_even_if_it_ends_earlier() {
    let house = House::new();
    let replaced = house.keep(Kept::Acme, "t-1", &made(&["a.example", "b.example"], -10, 80));
    // The authority wanted the first one replaced, and signs for a shorter time now.
    let newer = house.keep(Kept::Acme, "t-2", &made(&["a.example"], -1, 40));
    assert_eq!(house.serves("a.example"), Some(newer.leaf_der.clone()));
    assert_eq!(house.serves("b.example"), Some(replaced.leaf_der.clone()));
    // One that has ended is newer than nothing alone.
    house.keep(Kept::Acme, "t-3", &made(&["b.example"], -5, -2));
    assert_eq!(house.serves("b.example"), Some(replaced.leaf_der.clone()));
}
