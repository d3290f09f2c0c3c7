//! One process per state directory: two gateways, or a gateway and a command on its registry, never overlap.
//! The kernel drops the lock with the process, so that a crash leaves nothing to clean up.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: Flock<File>,
}

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateLockProblem {
    /// Somebody has it.
    #[error("another gateway process{who} works on `{directory}`")]
    Held {
        /// The directory.
        directory: PathBuf,
        /// ` (pid 17)`, or nothing.
        who: String,
    },
    /// The file cannot be made.
    #[error("cannot lock `{path}`: {source}")]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StateLock {
    /// The lock file's name in the state directory.
    pub(crate) const FILE_NAME: &str = "gateway.lock";

    /// Take the lock of a state directory that exists, or say who has it. Never waits.
    pub(crate) fn take(directory: &Path) -> Result<Self, StateLockProblem> {
        let path = directory.join(Self::FILE_NAME);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(|source| StateLockProblem::Unusable { path: path.clone(), source })?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            if errno == nix::errno::Errno::EWOULDBLOCK {
                StateLockProblem::Held { directory: directory.to_owned(), who: holder(&path) }
            } else {
                StateLockProblem::Unusable { path: path.clone(), source: errno.into() }
            }
        })?;
        // Only for the message to the one who comes second: a full disk must not keep the lock from working.
        let _remark =
            file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        Ok(Self { _file: file })
    }
}

fn holder(path: &Path) -> String {
    let pid = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_has_the_lock_and_gets_it_when_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateLock::take(directory.path()).unwrap();
        let problem = StateLock::take(directory.path()).unwrap_err().to_string();
        assert!(problem.contains(&format!("(pid {})", std::process::id())), "{problem}");
        drop(first);
        StateLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_with_its_path() {
        let problem = StateLock::take(Path::new("/no/such/place")).unwrap_err().to_string();
        assert!(problem.contains("/no/such/place/gateway.lock"), "{problem}");
    }
}
