//! Packages as people send them, whole, cut off and evil.

use std::io::Write;

use tar::{Builder, Header};

use super::*;

const BOUNDS: Bounds =
    Bounds { bytes_max: 1000, files_max: 10, bytes_key: "release_bytes_max", files_key: "release_files_max" };

/// An archive with one entry as an attacker writes it: the library's own checks are on the way in only.
fn archive(kind: EntryType, path: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, kind, path, (link, data));
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, (link, data): (&str, &[u8])) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o4755);
    let fields = header.as_old_mut();
    fields.name[..path.len()].copy_from_slice(path.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, data).unwrap();
}

fn unpacked(bytes: &[u8], bounds: Bounds) -> (Result<u64, String>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (package, into) = (directory.path().join("package.tar"), directory.path().join("into"));
    std::fs::write(&package, bytes).unwrap();
    std::fs::create_dir(&into).unwrap();
    (unpack(&package, &into, bounds), directory)
}

#[test]
fn nothing_leaves_the_release() {
    for (kind, path, link, want) in [
        (EntryType::Regular, "../out", "", "leads out"),
        (EntryType::Regular, "a/../../out", "", "leads out"),
        (EntryType::Regular, "/out", "", "leads out"),
        (EntryType::Symlink, "a", "/etc/passwd", "points out"),
        (EntryType::Symlink, "a", "../out", "points out"),
        (EntryType::Symlink, "a/b", "../../out", "points out"),
        (EntryType::Link, "a", "/etc/passwd", "points out"),
        (EntryType::Link, "a", "../out", "points out"),
        (EntryType::Link, "a/b", "a/../../out", "points out"),
        (EntryType::Char, "a", "", "neither a file"),
        (EntryType::Fifo, "a", "", "neither a file"),
    ] {
        let (outcome, directory) = unpacked(&archive(kind, path, link, b""), BOUNDS);
        assert!(outcome.as_ref().is_err_and(|reason| reason.contains(want)), "{path} {link}: {outcome:?}");
        assert!(!directory.path().join("out").exists());
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::Symlink, "deep/link", ("..", b""));
    append(&mut builder, EntryType::Symlink, "deep/link2", ("link/..", b""));
    append(&mut builder, EntryType::Regular, "deep/link2/out", ("", b"x"));
    let (outcome, directory) = unpacked(&builder.into_inner().unwrap(), BOUNDS);
    assert!(!directory.path().join("out").exists(), "{outcome:?}");
}

#[test]
fn two_names_of_one_file_are_unpacked_and_neither_leads_out_through_a_link() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::Regular, "store/LICENSE", ("", b"MIT"));
    append(&mut builder, EntryType::Link, "lib/LICENSE", ("store/LICENSE", b""));
    let (outcome, directory) = unpacked(&builder.into_inner().unwrap(), BOUNDS);
    assert_eq!(outcome, Ok(2));
    assert_eq!(std::fs::read(directory.path().join("into/lib/LICENSE")).unwrap(), b"MIT");

    let directory = tempfile::tempdir().unwrap();
    let (package, into) = (directory.path().join("package.tar"), directory.path().join("into"));
    std::fs::create_dir(&into).unwrap();
    std::fs::write(directory.path().join("secret"), "x").unwrap();
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::Symlink, "a/up", ("..", b""));
    append(&mut builder, EntryType::Symlink, "a/out", ("up/..", b""));
    append(&mut builder, EntryType::Link, "stolen", ("a/out/secret", b""));
    std::fs::write(&package, builder.into_inner().unwrap()).unwrap();
    let outcome = unpack(&package, &into, BOUNDS).and_then(|_| check_links(&into));
    assert!(outcome.is_err() && !into.join("stolen").exists(), "{outcome:?}");
}

#[test]
fn directories_are_opened_to_their_owner() {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o555);
    builder.append_data(&mut header, "tight", &b""[..]).unwrap();
    append(&mut builder, EntryType::Regular, "tight/file", ("", b"x"));
    let (outcome, directory) = unpacked(&builder.into_inner().unwrap(), BOUNDS);
    assert_eq!(outcome, Ok(2));
    let mode = std::fs::metadata(directory.path().join("into/tight")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn size_and_number_have_limits() {
    let large = archive(EntryType::Regular, "a", "", &[7; 1001]);
    assert!(unpacked(&large, BOUNDS).0.is_err_and(|reason| reason.contains("release_bytes_max")));
    let mut builder = Builder::new(Vec::new());
    for number in 0..11 {
        append(&mut builder, EntryType::Regular, &number.to_string(), ("", b""));
    }
    let many = builder.into_inner().unwrap();
    assert!(unpacked(&many, BOUNDS).0.is_err_and(|reason| reason.contains("release_files_max")));
    // A name as large as all files may be, which would stand in memory.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(NAME_BYTES_MAX + 1);
    header.set_cksum();
    let name = std::iter::repeat_n(b'n', usize::try_from(NAME_BYTES_MAX).unwrap() + 1);
    let long = [header.as_bytes().to_vec(), name.collect(), vec![0; 2048]].concat();
    let wide = Bounds { bytes_max: 1 << 30, ..BOUNDS };
    assert!(unpacked(&long, wide).0.is_err_and(|reason| reason.contains("a name in it")));
    assert!(unpacked(b"no archive at all", BOUNDS).0.is_err());
}

#[test]
fn what_is_no_archive_is_told_without_a_byte_of_it() {
    let reason = |bytes: &[u8]| unpacked(bytes, BOUNDS).0.unwrap_err();
    for secret in [b"state_dir = \"secret\"\n".repeat(40), b"\xff\x00secret".repeat(100)] {
        assert_eq!(reason(&secret), "it is no whole tar archive");
    }
    let zip = [&b"PK\x03\x04"[..], &[7; 600]].concat();
    assert_eq!(reason(&zip), "it is no whole tar archive, but one of zip: pack it with `tar cz`");
    let tar = archive(EntryType::Regular, "a", "", &[7; 900]);
    assert_eq!(reason(&tar[..1000]), "it is no whole tar archive");
    assert_eq!(unpacked(&[0; 1024], BOUNDS).0, Err("it is empty".to_owned()));
}

#[test]
fn what_was_cut_off_between_two_files_is_no_whole_archive() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::Regular, "first", ("", &[0; 600]));
    append(&mut builder, EntryType::Regular, "second", ("", b"x"));
    let whole = builder.into_inner().unwrap();
    assert!(unpacked(&whole, BOUNDS).0.is_ok());
    // A header and two blocks of zeros, which are no end; and both files.
    for length in [1536, 2560] {
        let refused = unpacked(&whole[..length], BOUNDS).0.unwrap_err();
        assert!(refused.contains("the mark of its end is missing"), "{length}: {refused}");
    }
    assert!(unpacked(&whole[..2560 + 512], BOUNDS).0.is_ok(), "half a mark is one");
}

#[test]
fn a_size_that_is_said_twice_hides_nothing() {
    // By its header the file is empty, and what follows it the archive's end; by its extension it has 1024 bytes of
    // zeros, and more files follow.
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, EntryType::XHeader, "pax", ("", b"13 size=1024\n"));
    append(&mut builder, EntryType::Regular, "first", ("", b""));
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend([0; 1024]);
    bytes.extend(archive(EntryType::Regular, "hidden", "", &[7; 5000]));
    let (outcome, directory) = unpacked(&bytes, BOUNDS);
    assert!(outcome.as_ref().is_err_and(|reason| reason.contains("twice")), "{outcome:?}");
    assert!(!directory.path().join("into/hidden").exists());
}

#[test]
fn an_npm_package_is_unwrapped_and_no_file_is_setuid() {
    let bytes = archive(EntryType::Regular, "package/package.json", "", b"{}");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&bytes).unwrap();
    let (outcome, directory) = unpacked(&encoder.finish().unwrap(), BOUNDS);
    assert_eq!(outcome, Ok(1));
    let top = top(&directory.path().join("into"));
    let mode = std::fs::metadata(top.join("package.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7000, 0);
    assert!(top.ends_with("into/package"));
}

#[test]
fn a_link_inside_the_release_is_kept() {
    let (outcome, _directory) = unpacked(&archive(EntryType::Symlink, "bin/x", "../lib/x.js", b""), BOUNDS);
    assert_eq!(outcome, Ok(1));
}

#[test]
fn links_that_lead_out_only_together_are_found() {
    let check = |links: &[(&str, &str)]| {
        let root = tempfile::tempdir().unwrap();
        let release = root.path().join("release");
        std::fs::create_dir_all(release.join("lib/deep")).unwrap();
        std::fs::write(release.join("lib/x.js"), "").unwrap();
        for (path, target) in links {
            std::os::unix::fs::symlink(target, release.join(path)).unwrap();
        }
        check_links(&release)
    };
    for inside in [
        &[("a", "lib/x.js"), ("b", "a"), ("lib/c", "../lib/deep"), ("lib/deep/d", "../c/../x.js")][..],
        &[("gone", "lib/nothing/here"), ("self", "."), ("up", "lib/..")],
    ] {
        assert_eq!(check(inside), Ok(()), "{inside:?}");
    }
    for outside in [
        // Each says that it stays: one level down, and two up from where that leads.
        &[("lib/deep/top", "../.."), ("out", "lib/deep/top/../secret")][..],
        &[("a", "lib/deep"), ("lib/deep/b", "../.."), ("c", "a/b/../../etc/passwd")],
        &[("lib/abs", "/etc/passwd")],
        &[("lib/one", "two"), ("lib/two", "one")],
    ] {
        assert!(check(outside).is_err_and(|reason| reason.contains("points out")), "{outside:?}");
    }
}
