//! Releases in directories of their own: which stay, which go, and by which names.

use super::*;

fn point(link: &Path, release: &Path) -> io::Result<()> {
    Pointing::begin(link, release, "api")?.end()
}

#[test]
fn two_backends_that_move_one_link_at_the_same_time_leave_it_at_a_release_that_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let link = root.path().join("current");
    let [first, second] = ["first", "second"].map(|name| root.path().join("releases").join(name));
    for release in [&first, &second] {
        fs::create_dir_all(release).unwrap();
    }
    let of_api = Pointing::begin(&link, &first, "api").unwrap();
    let of_ws = Pointing::begin(&link, &second, "ws").unwrap();
    of_api.end().unwrap();
    assert_eq!(
        link.canonicalize().unwrap(),
        first.canonicalize().unwrap(),
        "its own release, not the other's"
    );
    of_ws.end().unwrap();
    assert!(is_pointed_to(&link, &second).unwrap() && !is_pointed_to(&link, &first).unwrap());
    // One that came to nothing leaves the other's alone.
    drop(Pointing::begin(&link, &first, "api").unwrap());
    assert!(is_pointed_to(&link, &second).unwrap());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "the link and the releases");
}

#[test]
fn a_shared_release_is_its_groups_and_a_link_out_of_it_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let (release, outside) = (root.path().join("release"), root.path().join("outside"));
    fs::create_dir_all(release.join("lib")).unwrap();
    for (path, mode) in [(release.join("lib/run.sh"), 0o700), (outside.clone(), 0o600)] {
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink(&outside, release.join("link")).unwrap();
    share(&release, nix::unistd::getegid().as_raw()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&release.join("lib")) & 0o070, 0o070);
    assert_eq!(mode(&release.join("lib/run.sh")), 0o770);
    assert_eq!(mode(&outside), 0o600);
}

#[test]
fn the_newest_the_current_and_the_needed_stay() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let link = root.join("current");
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let remove = |release: &Path| fs::remove_dir_all(release);
    let mut made = Vec::new();
    for age in 0..6_u64 {
        let Fresh { release, part, making } = fresh(&link, now).unwrap();
        fs::rename(part, &release).unwrap();
        making.end().unwrap();
        // Whoever writes into an old one makes it no younger.
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 - age);
        fs::File::open(&release).unwrap().set_modified(time).unwrap();
        made.push(release);
    }
    assert!(made[0].ends_with("releases/20260102-030405") && made[1].ends_with("20260102-030405-2"));
    point(&link, &made[1]).unwrap();
    point(&link, &made[0]).unwrap();
    assert!(is_release_of(&made[0], &link) && !is_release_of(&root, &link));
    let [abandoned, unpacking, by_hand, shared] =
        ["20260101-000000.part", "20260102-000000.part", "first", "old.part"].map(|name| {
            let path = root.join("releases").join(name);
            fs::create_dir(&path).unwrap();
            path
        });
    for old in [&abandoned, &by_hand, &shared] {
        fs::File::open(old).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    prune(&link, 2, |release| release == made[2], &remove).unwrap();
    assert_eq!((abandoned.exists(), unpacking.exists()), (false, true));
    let left: Vec<bool> = made.iter().map(|release| release.exists()).collect();
    assert_eq!(left, [true, false, true, false, true, true]);
    // Another backend's link beside it, to a part of a release.
    fs::create_dir(made[2].join("api")).unwrap();
    point(&root.join("staging"), &made[2].join("api")).unwrap();
    point(&link, &made[5]).unwrap();
    prune(&link, 1, |_| false, &remove).unwrap();
    let left: Vec<bool> = made.iter().map(|release| release.exists()).collect();
    assert_eq!(left, [false, false, true, false, false, true]);
    assert!(by_hand.exists() && shared.exists(), "what somebody has put there is not ours to remove");
}

#[test]
fn a_relative_link_stays_relative_and_an_absolute_one_absolute() {
    let root = tempfile::tempdir().unwrap();
    let top = root.path().canonicalize().unwrap();
    let release = top.join("srv/releases/second");
    fs::create_dir_all(&release).unwrap();
    // Named by a way through a link, as `/srv` may be one.
    std::os::unix::fs::symlink("srv", top.join("web")).unwrap();
    let link = top.join("web/current");
    for (was, becomes) in [
        (PathBuf::from("releases/first"), PathBuf::from("releases/second")),
        (top.join("srv/releases/first"), release.clone()),
    ] {
        std::os::unix::fs::symlink(was, &link).unwrap();
        point(&link, &release).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), becomes);
        assert_eq!(link.canonicalize().unwrap(), release);
        fs::remove_file(&link).unwrap();
    }
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    point(&link, root.path()).unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), root.path(), "it does not lie below");
}

#[test]
fn two_that_are_unpacked_in_one_second_have_two_names() {
    let root = tempfile::tempdir().unwrap();
    let link = root.path().join("current");
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let (first, second) = (fresh(&link, now).unwrap(), fresh(&link, now).unwrap());
    assert_ne!(first.release, second.release);
    assert!(first.part.is_dir() && second.part.is_dir());
    fs::rename(first.part, &first.release).unwrap();
    first.making.end().unwrap();
    let third = fresh(&link, now).unwrap();
    assert!(third.release.ends_with("20260102-030405-3"), "{third:?}");
}

#[test]
fn what_a_gateway_that_was_killed_was_making_is_removed_and_what_one_makes_is_not() {
    let root = tempfile::tempdir().unwrap();
    let link = root.path().join("current");
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let made = || {
        let Fresh { release, part, making } = fresh(&link, now).unwrap();
        fs::rename(part, &release).unwrap();
        (release, making)
    };
    let ((finished, mark), (making, held)) = (made(), made());
    mark.end().unwrap();
    let [abandoned, stuck, taken] = [made(), made(), made()].map(|(release, _killed)| release);
    let unpacking = fresh(&link, now).unwrap();
    let (broken_off, part) = (unpacking.release, unpacking.part);
    drop(unpacking.making);
    point(&link, &finished).unwrap();
    let remove = |path: &Path| match path == stuck {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => crate::backend::removal::no_error_if_gone(fs::remove_dir_all(path)),
    };
    // None of them counts as a release, however few are kept.
    prune(&link, 1, |_| false, &remove).unwrap();
    assert!([&making, &abandoned, &stuck, &taken].iter().all(|release| release.is_dir()));
    assert!(sweep(&link, |release| release == taken, &remove).is_err(), "one cannot be removed");
    let there = [&finished, &making, &abandoned, &stuck, &taken, &broken_off, &part].map(|one| one.exists());
    assert_eq!(there, [true, true, false, true, true, false, false]);
    let marks = [&making, &abandoned, &stuck, &taken, &broken_off].map(|one| mark_of(one).exists());
    assert_eq!(marks, [true, false, true, false, false], "what could not be removed is tried again");
    held.end().unwrap();
}

#[test]
fn releases_follow_each_other_by_their_names() {
    let of = |name: &str| sequence(Path::new("/srv/releases").join(name).as_path());
    let order = ["first", "20260101-235959-12", "20260102-030405", "20260102-030405-2", "20260102-030405-10"];
    assert!(order.map(of).is_sorted() && of("20260102-030405").is_some());
    for other in ["first", "20260102", "20260102-030405-", "20260102-030405x", "20261302-030405"] {
        assert_eq!(of(other), None, "{other}");
    }
}
