//! Releases side by side: `current` is a symbolic link, and what it points to lies in `releases/` beside it. The
//! link is moved with one rename. It must never remove a release that the link or a worker still needs.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

/// Where the releases are, beside the link.
const DIRECTORY: &str = "releases";

/// The extension of a release that is being unpacked.
pub(super) const UNFINISHED: &str = "part";

/// Nothing takes that long to unpack.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The directory of the releases that this link chooses from.
pub(super) fn directory_of(link: &Path) -> Option<PathBuf> {
    Some(link.parent()?.join(DIRECTORY))
}

/// Is this directory one of the releases that the link chooses from?
pub(super) fn is_release_of(directory: &Path, link: &Path) -> bool {
    let releases = directory_of(link).and_then(|releases| releases.canonicalize().ok());
    releases.is_some_and(|releases| directory.parent() == Some(&releases)) && link.is_symlink()
}

/// Let the link point to this release, at once for whoever looks.
pub(super) fn point(link: &Path, release: &Path) -> io::Result<()> {
    let mut beside = link.as_os_str().to_owned();
    beside.push(".new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(release, &beside)?;
    fs::rename(&beside, link)
}

/// A directory for a new release that does not exist yet; names follow each other as the releases do.
pub(super) fn fresh(link: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let releases = directory_of(link).ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(&releases)?;
    let releases = releases.canonicalize()?;
    let name = now.strftime("%Y%m%d-%H%M%S").to_string();
    let mut names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
    let fresh = names.find_map(|name| Some(releases.join(name)).filter(|path| !path.exists()));
    fresh.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}

/// Let the workers' group do with a release what we may: they read it, and their install command writes in it. Links
/// are left alone, wherever they lead. What is in a directory comes before the directory itself: once they may write
/// there they could put a link in its place, which these calls would follow.
pub(super) fn share(path: &Path, gid: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    if metadata.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| share(&entry?.path(), gid))?;
    }
    // The group first: a change of owner may take bits away.
    chown(path, None, Some(gid))?;
    let mode = metadata.permissions().mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o777 | (mode & 0o700) >> 3))
}

/// All releases but the newest `kept`, those that the link and the links beside it point to, and those that are `needed`. What
/// was left half unpacked is removed.
pub(super) fn surplus(link: &Path, kept: usize, needed: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let pointed_to = pointed_to(link)?;
    let Some(releases) = directory_of(link) else { return Ok(Vec::new()) };
    let releases = releases.canonicalize()?;
    let mut all = Vec::new();
    for entry in fs::read_dir(releases)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let (modified, path) = (entry.metadata()?.modified()?, entry.path());
        if path.extension().is_none_or(|extension| extension != UNFINISHED) {
            all.push((modified, path));
        } else if modified.elapsed().is_ok_and(|age| age > ABANDONED_AFTER) {
            // What a gateway that was killed had begun to unpack. A younger one may be another backend's.
            fs::remove_dir_all(path)?;
        }
    }
    // Names alone would not do: the first release may have been put there by hand.
    all.sort();
    let surplus = all.len().saturating_sub(kept.max(1));
    let old = all.into_iter().take(surplus).map(|(_, path)| path);
    let goes = |path: &PathBuf| !pointed_to.iter().any(|target| target.starts_with(path)) && !needed(path);
    Ok(old.filter(goes).collect())
}

/// What the link points to, and what those beside it do: several backends may choose from the same releases.
fn pointed_to(link: &Path) -> io::Result<Vec<PathBuf>> {
    let mut targets = vec![link.canonicalize()?];
    for entry in fs::read_dir(link.parent().unwrap_or(Path::new("/")))? {
        let beside = entry?.path();
        if beside.is_symlink() {
            // One that leads nowhere needs nothing.
            targets.extend(beside.canonicalize());
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut made = Vec::new();
        for age in 0..6_u64 {
            let release = fresh(&link, now).unwrap();
            fs::create_dir(&release).unwrap();
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 + age);
            fs::File::open(&release).unwrap().set_modified(time).unwrap();
            made.push(release);
        }
        assert!(made[0].ends_with("releases/20260102-030405") && made[1].ends_with("20260102-030405-2"));
        point(&link, &made[1]).unwrap();
        point(&link, &made[0]).unwrap();
        assert!(is_release_of(&made[0], &link) && !is_release_of(&root, &link));
        let [abandoned, unpacking] = ["20260101-000000.part", "20260102-000000.part"].map(|name| {
            let path = root.join("releases").join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        fs::File::open(&abandoned).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let prune = |kept, needed: &dyn Fn(&Path) -> bool| {
            surplus(&link, kept, needed).unwrap().iter().for_each(|old| fs::remove_dir_all(old).unwrap());
        };
        prune(2, &|release| release == made[2]);
        assert_eq!((abandoned.exists(), unpacking.exists()), (false, true));
        let left: Vec<bool> = made.iter().map(|release| release.exists()).collect();
        assert_eq!(left, [true, false, true, false, true, true]);
        // Another backend's link beside it, to a part of a release.
        fs::create_dir(made[2].join("api")).unwrap();
        point(&root.join("staging"), &made[2].join("api")).unwrap();
        point(&link, &made[5]).unwrap();
        prune(1, &|_| false);
        let left: Vec<bool> = made.iter().map(|release| release.exists()).collect();
        assert_eq!(left, [false, false, true, false, false, true]);
    }
}
