//! A worker's own directory: its socket and its temporary files, for it and the gateway alone. Made for one start,
//! removed with it.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::account::Identity;

/// One start's directory. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Quarters {
    directory: PathBuf,
}

impl Quarters {
    /// Make it; what stands there is left by a gateway that was killed.
    pub(super) fn make(directory: PathBuf, identity: Option<&Identity>) -> io::Result<Self> {
        remove(&directory)?;
        let quarters = Self { directory };
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

    /// What TMPDIR says.
    pub(super) fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }
}

impl Drop for Quarters {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "a worker's directory was left behind");
        }
    }
}

/// Never follows a link that the worker may have put there.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
