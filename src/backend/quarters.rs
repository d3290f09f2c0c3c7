//! A worker's own directory: its socket and its temporary files, for it and the gateway alone. Made for one start,
//! removed with it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{
    account::Identity,
    child::Launcher,
    removal::{Remover, no_error_if_gone},
};

/// One start's directory. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Quarters {
    directory: PathBuf,
    remover: Remover,
}

impl Quarters {
    /// Make it; what stands there is left by a gateway that was killed.
    pub(super) fn make(
        directory: PathBuf,
        identity: Option<&Identity>,
        launcher: &Launcher,
    ) -> io::Result<Self> {
        let remover = Remover { launcher: launcher.clone(), identity: identity.cloned() };
        remover.remove(&directory)?;
        let quarters = Self { directory, remover };
        let both = [quarters.directory.clone(), quarters.temporary()];
        for directory in &both {
            DirBuilder::new().mode(0o700).create(directory)?;
        }
        // From within: what the worker's user can enter it could put a link into, which these calls would follow.
        for directory in both.iter().rev() {
            if let Some(identity) = identity {
                chown(directory, None, Some(identity.gid))?;
                fs::set_permissions(directory, Permissions::from_mode(0o770))?;
            }
        }
        Ok(quarters)
    }

    /// The whole.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Remove it now, also what is closed to us; that takes a moment.
    pub(super) async fn leave(&self) {
        let (directory, remover) = (self.directory.clone(), self.remover.clone());
        // What is left after that is told on drop.
        drop(tokio::task::spawn_blocking(move || remover.remove(&directory)).await);
    }

    /// What TMPDIR says.
    pub(super) fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }
}

impl Drop for Quarters {
    fn drop(&mut self) {
        let (directory, remover) = (std::mem::take(&mut self.directory), self.remover.clone());
        let left = |directory: &Path, error: io::Error| {
            tracing::warn!(directory = %directory.display(), %error, "a worker's directory was left behind");
        };
        match no_error_if_gone(fs::remove_dir_all(&directory)) {
            Ok(()) => {}
            // What the worker has closed to everybody else takes a process of its user, and so a moment.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                    return left(&directory, error);
                };
                drop(runtime.spawn_blocking(move || {
                    if let Err(error) = remover.remove(&directory) {
                        left(&directory, error);
                    }
                }));
            }
            Err(error) => left(&directory, error),
        }
    }
}

/// Make the directory of all quarters. `shared`: some workers are other users, who have to pass through; what is
/// in it they can only enter where it is theirs.
pub(super) fn make_hall(runtime_dir: &Path, hall: &Path, shared: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(hall)?;
    if shared {
        for directory in [runtime_dir, hall] {
            let mode = fs::metadata(directory)?.permissions().mode();
            fs::set_permissions(directory, Permissions::from_mode(mode & 0o7777 | 0o011))?;
        }
    }
    Ok(())
}
