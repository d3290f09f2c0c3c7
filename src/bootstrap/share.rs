//! An environment file that root alone may read is opened to the gateway's group: the gateway reads it for its workers. It
//! must never follow a link, nor open what anybody but root could have put there.

use std::{
    fs::{File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::Group};

use super::{BootstrapError, journal::Journal, journal::Made, plan::GATEWAY};

/// What the group is given.
const GROUP_READS: u32 = 0o040;

/// The permissions of a file that root alone may read; none of any other.
pub(super) fn closed(path: &Path) -> Option<u32> {
    closed_to_group(&std::fs::symlink_metadata(path).ok()?)
}

fn closed_to_group(file: &Metadata) -> Option<u32> {
    // With a second name it could be something else of root's.
    let roots = file.is_file() && file.nlink() == 1 && (file.uid(), file.gid()) == (0, 0);
    (roots && file.mode() & 0o004 == 0).then_some(file.mode() & 0o7777)
}

/// The permissions that it will have.
pub(super) fn opened(mode: u32) -> u32 {
    mode | GROUP_READS
}

/// Give it to the group.
pub(super) fn give(journal: &mut Journal, path: &Path) -> Result<(), BootstrapError> {
    let failed = |error| BootstrapError::file("share", path)(error);
    let file = open(path).map_err(failed)?;
    let Some(mode) = closed_to_group(&file.metadata().map_err(failed)?) else {
        let what = format!("`{}` is not what it was when this was planned", path.display());
        return Err(BootstrapError::refused(what, "look at it, and run this again"));
    };
    let group = Group::from_name(GATEWAY).ok().flatten();
    let Some(group) = group else {
        return Err(BootstrapError::Unproven(format!("there is no group {GATEWAY}")));
    };
    journal.record(Made::Shared { path: path.to_owned(), mode })?;
    fchown(&file, None, Some(group.gid.as_raw())).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(opened(mode))).map_err(failed)?;
    let is = file.metadata().map_err(failed)?;
    if (is.gid(), is.mode() & 0o7777) != (group.gid.as_raw(), opened(mode)) {
        return Err(BootstrapError::Unproven(format!("`{}` has not changed its rights", path.display())));
    }
    Ok(())
}

/// Make it root's alone again; one that is gone, or another's by now, stays as it is.
pub(super) fn take_back(path: &Path, mode: u32) -> Result<(), BootstrapError> {
    let Ok(file) = open(path) else { return Ok(()) };
    let failed = |error| BootstrapError::file("give back", path)(error);
    if file.metadata().map_err(failed)?.uid() == 0 {
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        fchown(&file, None, Some(0)).map_err(failed)?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_roots_alone_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("api.env");
        std::fs::write(&file, "A=1\n").unwrap();
        let root = nix::unistd::geteuid().is_root() && nix::unistd::getegid().as_raw() == 0;
        let says = |mode: u32| {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            closed(&file)
        };
        assert_eq!(says(0o600), root.then_some(0o600));
        assert_eq!((says(0o640), opened(0o600)), (root.then_some(0o640), 0o640));
        assert_eq!(says(0o644), None, "everybody may read it");
        says(0o600);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!((closed(&link), closed(directory.path())), (None, None));
        std::fs::hard_link(&file, directory.path().join("second")).unwrap();
        assert_eq!(closed(&file), None, "it has a second name");
    }
}
