//! Releases side by side: `current` is a symbolic link, and what it points to lies in `releases/` beside it. The
//! link is moved with one rename. It must never remove a release that the link or a worker still needs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the releases are, beside the link.
const DIRECTORY: &str = "releases";

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
