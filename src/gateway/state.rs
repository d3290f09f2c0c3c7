//! The directories a gateway owns, and the lock that keeps a second one out of them.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::GatewayError;

/// Held for the life of the process: one gateway per state directory, so that no two ever overlap on one
/// registry. The kernel gives it back even after a kill -9.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: Flock<File>,
}

/// Make `path` with parents, open to nobody else.
pub(crate) fn private_directory(path: &Path, mode: u32) -> Result<(), GatewayError> {
    let wrong = |source| GatewayError::Directory { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(wrong)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(wrong)
}

/// Take the state directory, or say who has it.
pub(crate) fn lock(state_dir: &Path) -> Result<StateLock, GatewayError> {
    let path = state_dir.join("gateway.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| GatewayError::Directory { path: path.clone(), source })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => {
            let _ = write_pid(&path);
            Ok(StateLock { _file: file })
        }
        Err(_) => Err(GatewayError::Taken { state_dir: state_dir.to_owned(), holder: holder(&path) }),
    }
}

/// The process id stands in the lock file for people; the lock itself is the kernel's.
fn write_pid(path: &PathBuf) -> io::Result<()> {
    std::fs::write(path, format!("{}\n", std::process::id()))
}

fn holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pid = text.trim();
    if pid.is_empty() { "another gateway".to_owned() } else { format!("the gateway with process id {pid}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_belongs_to_one_gateway_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let refusal = lock(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_private_directory_is_closed_to_others_even_if_it_stood_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_directory(&path, 0o700).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        private_directory(&path, 0o700).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
