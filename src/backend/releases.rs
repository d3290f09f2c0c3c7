//! Releases side by side: `current` is a symbolic link, and what it points to lies in `releases/` beside it. The
//! link is moved with one rename. It must never remove a release that the link or a worker still needs.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Where the releases are, beside the link.
const DIRECTORY: &str = "releases";

/// What releases are called: by when they were unpacked, in UTC.
const NAME: &str = "%Y%m%d-%H%M%S";

/// Nobody deploys that often.
const SAME_SECOND_MAX: u32 = 1000;

/// The extension of a release that is being unpacked, and then of the temporary files of what installs it.
pub(super) const UNFINISHED: &str = "part";

/// The extension of the mark beside a release that is not finished: unpacked, perhaps, and not installed.
const MAKING: &str = "making";

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

/// A link that is about to point to another release; until then it is beside it, and goes when nothing comes of it.
#[derive(Debug)]
pub(super) struct Pointing {
    link: PathBuf,
    beside: PathBuf,
}

impl Pointing {
    /// What can fail of it, for want of rights or room. The one beside is this backend's own: others may choose from the
    /// same releases, by the same link, at the same time.
    pub(super) fn begin(link: &Path, release: &Path, backend: &str) -> io::Result<Self> {
        let mut beside = link.as_os_str().to_owned();
        beside.push(format!(".{backend}.new"));
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(target_in(link, release), &beside)?;
        Ok(Self { link: link.to_owned(), beside })
    }

    /// It points there, at once for whoever looks.
    pub(super) fn end(self) -> io::Result<()> {
        fs::rename(&self.beside, &self.link)
    }
}

impl Drop for Pointing {
    fn drop(&mut self) {
        // Mostly it has become the link itself.
        let _gone = fs::remove_file(&self.beside);
    }
}

/// What the link says to lead there. A relative one to what lies below its own directory stays relative: the whole may
/// be moved, or seen under another path.
fn target_in<'r>(link: &Path, release: &'r Path) -> &'r Path {
    let here = link.parent().and_then(|parent| parent.canonicalize().ok());
    let below = here.and_then(|here| release.strip_prefix(here).ok());
    let was_relative = fs::read_link(link).is_ok_and(|target| target.is_relative());
    below.filter(|_| was_relative).unwrap_or(release)
}

/// Where a new release will be, and where it is unpacked.
#[derive(Debug)]
pub(super) struct Fresh {
    /// Not there yet, and nobody else's.
    pub(super) release: PathBuf,
    /// There, and empty.
    pub(super) part: PathBuf,
    /// Says that neither is finished.
    pub(super) making: Making,
}

/// The mark of a release that is being made. Its maker holds a lock on it, which the kernel takes from a gateway that is
/// killed: a mark without a lock is an abandoned release's.
#[derive(Debug)]
pub(super) struct Making {
    path: PathBuf,
    _held: Flock<File>,
}

impl Making {
    /// Put a mark there; none, if there is one.
    fn begin(path: PathBuf) -> io::Result<Option<Self>> {
        let file = match File::create_new(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(error),
        };
        // A file system without locks (some that come over a network) is no place for releases, and is told so.
        Self::held(path.clone(), file).inspect_err(|_| drop(fs::remove_file(path)))
    }

    /// Take over the mark that is there, if nobody holds it.
    fn abandoned(path: PathBuf) -> Option<Self> {
        // Over NFS only what may be written can be locked.
        let file = File::options().read(true).write(true).open(&path).ok()?;
        Self::held(path, file).ok().flatten()
    }

    fn held(path: PathBuf, file: File) -> io::Result<Option<Self>> {
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        // Who held it before may have taken it away: then this is a lock on nothing.
        Ok(held.metadata().is_ok_and(|mark| mark.nlink() > 0).then_some(Self { path, _held: held }))
    }

    /// The release is finished, or gone.
    pub(super) fn end(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Where a release's mark is.
fn mark_of(release: &Path) -> PathBuf {
    let mut mark = release.as_os_str().to_owned();
    mark.push(".");
    mark.push(MAKING);
    mark.into()
}

/// Remove the releases whose making was broken off; those that are being made are left alone, and so is the mark of one
/// that cannot be removed. One that the link or a worker needs in spite of it is a release.
pub(super) fn sweep(
    link: &Path,
    needed: impl Fn(&Path) -> bool,
    remove: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let Some(releases) = directory_of(link) else { return Ok(()) };
    if !releases.is_dir() {
        return Ok(());
    }
    let (pointed_to, mut outcome) = (pointed_to(link)?, Ok(()));
    for entry in fs::read_dir(releases.canonicalize()?)? {
        let mark = entry?.path();
        let (release, part) = (mark.with_extension(""), mark.with_extension(UNFINISHED));
        if mark.extension().is_none_or(|extension| extension != MAKING) || sequence(&release).is_none() {
            continue;
        }
        let Some(making) = Making::abandoned(mark) else { continue };
        let kept = needed(&release) || pointed_to.iter().any(|target| target.starts_with(&release));
        let gone = if kept { Ok(()) } else { remove(&part).and_then(|()| remove(&release)) };
        outcome = outcome.and(gone.and_then(|()| making.end()));
    }
    outcome
}

/// A place for a new release; names follow each other as the releases do. Several backends may choose from the same
/// releases: whoever makes the mark has the name.
pub(super) fn fresh(link: &Path, now: Timestamp) -> io::Result<Fresh> {
    let releases = directory_of(link).ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(&releases)?;
    let releases = releases.canonicalize()?;
    let name = now.strftime(NAME).to_string();
    let names = std::iter::once(name.clone()).chain((2..SAME_SECOND_MAX).map(|n| format!("{name}-{n}")));
    for name in names {
        let (release, part) = (releases.join(&name), releases.join(format!("{name}.{UNFINISHED}")));
        let Some(making) = Making::begin(mark_of(&release))? else { continue };
        // Looked at only now: who had the name may have finished meanwhile.
        let taken = release.exists()
            || match fs::create_dir(&part) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
                Err(error) => {
                    making.end()?;
                    return Err(error);
                }
                Ok(()) => false,
            };
        if !taken {
            return Ok(Fresh { release, part, making });
        }
        making.end()?;
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// By which releases follow each other: the second of their name and their place in it; none has what somebody else
/// has named.
fn sequence(release: &Path) -> Option<(Timestamp, u32)> {
    let name = release.file_name()?.to_str()?;
    // Date, hyphen, time.
    let (second, rest) = name.split_at_checked(15)?;
    let place = if rest.is_empty() { 1 } else { rest.strip_prefix('-')?.parse().ok()? };
    let second = jiff::civil::DateTime::strptime(NAME, second).ok()?;
    Some((second.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(), place))
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

/// Remove all releases but the newest `kept`, those that the link and the links beside it point to, and those that are
/// `needed`. What somebody has put beside them by hand is none of ours and stays; one that is being made is none yet. One
/// that cannot be removed keeps none of the others; the first error is told in the end.
pub(super) fn prune(
    link: &Path,
    kept: usize,
    needed: impl Fn(&Path) -> bool,
    remove: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let pointed_to = pointed_to(link)?;
    let Some(releases) = directory_of(link) else { return Ok(()) };
    let releases = releases.canonicalize()?;
    let (mut all, mut outcome) = (Vec::new(), Ok(()));
    for entry in fs::read_dir(releases)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let (modified, path) = (entry.metadata()?.modified()?, entry.path());
        let unfinished = path.extension().is_some_and(|extension| extension == UNFINISHED);
        let name = if unfinished { path.with_extension("") } else { path.clone() };
        let Some(sequence) = sequence(&name).filter(|_| !mark_of(&path).exists()) else { continue };
        if !unfinished {
            all.push((sequence, path));
        } else if modified.elapsed().is_ok_and(|age| age > ABANDONED_AFTER) {
            // What a gateway that was killed had begun to unpack. A younger one may be another backend's.
            outcome = outcome.and(remove(&path));
        }
    }
    all.sort();
    let surplus = all.len().saturating_sub(kept.max(1));
    for (_, path) in all.into_iter().take(surplus) {
        if !pointed_to.iter().any(|target| target.starts_with(&path)) && !needed(&path) {
            outcome = outcome.and(remove(&path));
        }
    }
    outcome
}

/// Does the link, or one beside it, point to this release?
pub(super) fn is_pointed_to(link: &Path, release: &Path) -> io::Result<bool> {
    let release = release.canonicalize()?;
    Ok(pointed_to(link)?.iter().any(|target| target.starts_with(&release)))
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
mod tests;
