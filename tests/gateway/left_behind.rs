//! What a gateway left behind: processes, sockets. Found by the path of its directory, which is in the command line
//! or the environment of everything it starts and in nothing else of this machine.

use std::{fs, os::unix::fs::FileTypeExt, path::Path};

/// Processes whose command line or environment names `directory`: pid and command line.
pub(crate) fn processes(directory: &Path) -> Vec<(i32, String)> {
    let needle = directory.to_str().unwrap().as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        // The process may end while we look at it: then it is not left behind.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let names = |text: &[u8]| text.windows(needle.len()).any(|window| window == needle);
        if names(&command) || names(&environment) {
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

/// Socket files below `directory`.
pub(crate) fn sockets(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(sockets(&entry.path()));
        } else if kind.is_socket() {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn a_process_and_a_socket_left_behind_are_found() {
    let site = crate::Site::new();
    let _socket = std::os::unix::net::UnixListener::bind(site.path().join("deep.sock")).unwrap();
    assert_eq!(sockets(site.path()), [site.path().join("deep.sock").display().to_string()]);
    assert_eq!(processes(site.path()), []);
    let followed = site.write("followed", "");
    let mut by_environment = std::process::Command::new("sleep");
    by_environment.arg("60").env("TEST_SITE", site.path());
    let mut by_command = std::process::Command::new("tail");
    by_command.arg("-f").arg(followed);
    for mut command in [by_environment, by_command] {
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = || processes(site.path()).iter().any(|(found, _)| *found == pid);
        crate::eventually("it is found", || found().then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found(), "it is gone, and still found");
    }
}
