//! Removing what workers' programs have made: directories of their user which the gateway, not being root, cannot empty. So
//! that user does it, through the launcher and confined to that one directory; what is left is the gateway's own. It
//! must never follow a link.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    account::Identity,
    child::{self, Launcher},
};

/// By whom something is removed.
#[derive(Debug, Clone)]
pub(super) struct Remover {
    pub(super) launcher: Launcher,
    /// Whom workers become, if not what the gateway is.
    pub(super) identity: Option<Identity>,
}

impl Remover {
    /// Remove a directory with all that is in it. Blocks; one that is not there is no error.
    pub(super) fn remove(&self, directory: &Path) -> io::Result<()> {
        let ours = || no_error_if_gone(fs::remove_dir_all(directory));
        match ours() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let emptied = child::empty(directory, self.identity.as_ref(), &self.launcher);
                emptied.map_err(|reason| {
                    io::Error::new(error.kind(), format!("{error}, nor as the workers' user: {reason}"))
                })?;
                ours()
            }
            outcome => outcome,
        }
    }
}

/// What is gone need not be removed.
pub(super) fn no_error_if_gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Remove what is in a directory, as far as we may: what we may not is left, and nothing is said about it.
pub(super) fn empty(directory: &Path) {
    // Some tools leave directories that not even their owner may write to. Fails where it is somebody else's.
    if let Ok(metadata) = fs::symlink_metadata(directory)
        && metadata.is_dir()
        && metadata.permissions().mode() & 0o700 != 0o700
    {
        let open = Permissions::from_mode(metadata.permissions().mode() | 0o700);
        let _not_ours = fs::set_permissions(directory, open);
    }
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // The entry's own kind: a link is a file here, wherever it leads.
        let _not_ours = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            empty(&path);
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_directories_are_emptied_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
        fs::create_dir_all(inside.join("closed/deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        for file in [inside.join("closed/deep/file"), outside.join("file")] {
            fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        fs::set_permissions(inside.join("closed"), Permissions::from_mode(0o500)).unwrap();
        empty(&inside);
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
        assert!(outside.join("file").exists(), "a link was followed");
    }
}
