//! Files that live shorter than an order: copies on their way out, uploads on their way in. They are removed
//! when dropped, and what a crash leaves is removed at the next start.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Their directory in the state directory: one file system with what they become.
pub(super) const DIRECTORY_NAME: &str = "scratch";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A path that nobody else uses, whose file goes with it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new path in `directory`, which is made if need be (0700). The file is the caller's to make.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { path: directory.join(format!("{}-{number}", std::process::id())) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            // Most of them never existed, and the next start removes what cannot be removed now.
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// Remove what a crash left. Only for the one who holds the state directory's lock.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let _gone = std::fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_file_goes_with_its_guard_and_leftovers_with_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("scratch");
        let (one, two) = (Scratch::new(&place).unwrap(), Scratch::new(&place).unwrap());
        assert_ne!(one.path(), two.path());
        std::fs::write(one.path(), "x").unwrap();
        std::fs::write(place.join("left"), "x").unwrap();
        drop(one);
        sweep(&place);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
}
