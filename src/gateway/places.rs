//! The directories that a gateway has to itself while it runs, and what it leaves in them: data in the state
//! directory, nothing in the runtime directory.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt},
    path::{Path, PathBuf},
};

use super::GatewayError;
use crate::state_lock::StateLock;

/// Both directories, held until dropped.
#[derive(Debug)]
pub(super) struct Places {
    runtime_dir: PathBuf,
    /// `None` where the two are one directory: it is locked already.
    _runtime: Option<StateLock>,
    _state: StateLock,
}

impl Places {
    /// Make the directories and take them, or say who has one. Sockets of a process that was killed would only
    /// mislead: they go.
    pub(super) fn take(state_dir: &Path, runtime_dir: &Path) -> Result<Self, GatewayError> {
        for directory in [state_dir, runtime_dir] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|source| GatewayError::Directory { path: directory.to_owned(), source })?;
        }
        let state = StateLock::take(state_dir)?;
        let same = state_dir.canonicalize().ok() == runtime_dir.canonicalize().ok();
        let runtime = if same { None } else { Some(StateLock::take(runtime_dir)?) };
        let places = Self { runtime_dir: runtime_dir.to_owned(), _runtime: runtime, _state: state };
        places.sweep().map_err(|source| GatewayError::Directory { path: runtime_dir.to_owned(), source })?;
        Ok(places)
    }

    /// Remove every socket, and what workers had to themselves.
    fn sweep(&self) -> io::Result<()> {
        let mut directories = vec![self.runtime_dir.clone(), self.runtime_dir.join("workers")];
        while let Some(directory) = directories.pop() {
            let entries = match std::fs::read_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_socket() {
                    std::fs::remove_file(entry.path())?;
                } else if kind.is_dir()
                    && directory.ends_with("workers")
                    && let Err(error) = std::fs::remove_dir_all(entry.path())
                {
                    // Its user may have closed it to us; it is in nobody's way, and no gateway must stay away for it.
                    tracing::warn!(%error, directory = %entry.path().display(), "a worker's directory stays");
                }
            }
        }
        Ok(())
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if let Err(error) = self.sweep() {
            tracing::warn!(%error, directory = %self.runtime_dir.display(), "sockets were left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_runtime_directory_belongs_to_one_gateway_whatever_their_state_directories() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let first = Places::take(&at("one"), &at("run")).unwrap();
        let living = UnixListener::bind(at("run/admin.sock")).unwrap();
        assert!(matches!(Places::take(&at("two"), &at("run")), Err(GatewayError::Taken(_))));
        assert!(at("run/admin.sock").exists(), "the second took the first one's socket away");
        drop((first, living));
        Places::take(&at("two"), &at("run")).unwrap();
    }

    #[test]
    fn sockets_of_a_killed_gateway_are_swept_and_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("workers/api-0-1/tmp")).unwrap();
        for stale in ["sqlite.sock", "workers/api-0-1/sock"] {
            drop(UnixListener::bind(dir.path().join(stale)).unwrap());
        }
        std::fs::write(dir.path().join("notes.sock"), "no socket").unwrap();
        let places = Places::take(dir.path(), dir.path()).unwrap();
        assert!(!dir.path().join("sqlite.sock").exists() && !dir.path().join("workers/api-0-1").exists());
        let left = UnixListener::bind(dir.path().join("admin.sock")).unwrap();
        drop((places, left));
        assert!(!dir.path().join("admin.sock").exists());
        assert!(dir.path().join("notes.sock").exists());
    }
}
