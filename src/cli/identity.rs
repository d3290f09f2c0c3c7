//! As whom a command touches the state directory. Root's command on a stopped gateway runs as the directory's
//! owner, so that no file of root's making locks the gateway out; on a running one root only talks to it. The
//! dashboard, which talks to browsers too, does so as the owner of the gateway's socket.

use std::{
    convert::Infallible,
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, Gid, Uid, User, access, geteuid, initgroups, setgid, setgroups, setuid};

use super::Failure;

/// Become the owner of the state directory or the socket at `path` where this process is root and that is somebody else. Returns only if
/// nothing has to change: otherwise the program starts again from the beginning. Call it before any file of
/// the state directory is touched and before any thread is started.
pub(crate) fn become_owner_of(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    match owner_to_become(geteuid().as_raw(), metadata.uid()) {
        Some(uid) => match restart_as(uid, metadata.gid(), path)? {},
        None => Ok(()),
    }
}

fn owner_to_become(own_uid: u32, owner_uid: u32) -> Option<u32> {
    (own_uid == 0 && owner_uid != 0).then_some(owner_uid)
}

fn restart_as(uid: u32, gid_of_path: u32, path: &Path) -> Result<Infallible, Failure> {
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(format!(
            "cannot {what} to work as user {uid}, who owns `{}`: {error}",
            path.display()
        ))
    };
    let uid = Uid::from_raw(uid);
    let user = User::from_uid(uid).ok().flatten();
    let gid = user.as_ref().map_or(Gid::from_raw(gid_of_path), |user| user.gid);
    // Groups first, the user last: after setuid there is no right left to change groups.
    let groups = user
        .and_then(|user| std::ffi::CString::new(user.name).ok())
        .map_or_else(|| setgroups(&[gid]), |name| initgroups(&name, gid));
    groups.map_err(|error| cannot("set groups", &error))?;
    setgid(gid).map_err(|error| cannot("set the group", &error))?;
    setuid(uid).map_err(|error| cannot("set the user", &error))?;
    let program = own_program().map_err(|error| cannot("find this program", &error))?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    Err(cannot("start again", &error))
}

/// This program, as whoever this process is by now may start it.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    // It may lie where that user cannot even pass through, such as root's home. This link leads to it from anywhere.
    Ok(match access(&program, AccessFlags::X_OK) {
        Ok(()) => program,
        Err(_) => PathBuf::from("/proc/self/exe"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_before_somebody_elses_directory_changes_who_it_is() {
        for (own, directory, want) in
            [(0, 0, None), (0, 990, Some(990)), (1000, 990, None), (1000, 0, None), (990, 990, None)]
        {
            assert_eq!(owner_to_become(own, directory), want, "{own} before {directory}");
        }
    }
}
