//! One run at a time: two that carry out their plans beside each other would each record what the other has made.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{BootstrapError, places};

/// The right to set up or to take back, until it is dropped. The kernel takes it from a run that is killed.
#[derive(Debug)]
pub(crate) struct Alone {
    path: PathBuf,
    _held: Flock<File>,
}

/// Have it, unless another run does.
pub(crate) fn alone() -> Result<Alone, BootstrapError> {
    at(Path::new(places::AT_WORK))
}

fn at(path: &Path) -> Result<Alone, BootstrapError> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = open.map_err(BootstrapError::file("open", path))?;
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok();
    // Who held it before may have taken it away: then this is a lock on nothing.
    let held = held.filter(|held| held.metadata().is_ok_and(|file| file.nlink() > 0));
    let alone = held.map(|held| Alone { path: path.to_owned(), _held: held });
    alone.ok_or_else(|| {
        BootstrapError::refused(
            "another `gateway bootstrap` is at work or waits for its answer",
            "wait until it has ended: `pgrep -a gateway` shows it",
        )
    })
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Nobody misses it: the next run makes its own.
        let _gone = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_while_the_first_is_at_work_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = at(&path).unwrap();
        let error = at(&path).unwrap_err();
        assert!(error.to_string().contains("is at work") && error.remedy().is_some(), "{error}");
        drop(first);
        assert!(!path.exists());
        // What a run that was killed has left is no lock.
        fs::write(&path, "").unwrap();
        drop(at(&path).unwrap());
    }
}
