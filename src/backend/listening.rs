//! Which TCP ports does a process group listen on? Read from `/proc`, to explain why a worker never got ready ("it
//! listens on TCP port 3000" saves an hour), and to tell a worker from another program on the port that was meant
//! for it. It must never call a worker foreign where `/proc` does not say.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::process_group;

/// The ports of the group's listening sockets; empty when `/proc` does not say.
pub(super) fn tcp_ports(group: u32) -> BTreeSet<u16> {
    let paths = process_group::members(group).into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}")));
    paths.flat_map(|process| ports_of(&process)).collect()
}

/// Does another program listen on this port, and not the group? `uid` is the group's user, if it is not ours: what
/// others have open cannot be seen, but whose a socket is can.
pub(super) fn is_foreign(group: u32, uid: Option<u32>, port: u16) -> bool {
    let rows: Vec<_> = rows_of(Path::new("/proc/self")).into_iter().filter(|row| row.port == port).collect();
    let Some(uid) = uid else {
        let members =
            process_group::members(group).into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}")));
        let (mut seen, mut own) = (false, false);
        for process in members {
            // One that cannot be looked into may be the one that listens.
            let Ok(inodes) = socket_inodes(&process) else { return false };
            seen = true;
            own |= rows_of(&process).iter().any(|row| row.port == port && inodes.contains(&row.inode));
        }
        return seen && !own && !rows.is_empty();
    };
    !rows.is_empty() && rows.iter().all(|row| row.uid != uid)
}

fn ports_of(process: &Path) -> Vec<u16> {
    let inodes = socket_inodes(process).unwrap_or_default();
    rows_of(process).into_iter().filter(|row| inodes.contains(&row.inode)).map(|row| row.port).collect()
}

/// The listening sockets of a process's network.
fn rows_of(process: &Path) -> Vec<Row> {
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(process.join(table)));
    tables.iter().flatten().flat_map(|table| table.lines().filter_map(listening_row)).collect()
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    port: u16,
    uid: u32,
    inode: u64,
}

fn socket_inodes(process: &Path) -> io::Result<BTreeSet<u64>> {
    let entries = fs::read_dir(process.join("fd"))?;
    let inode = |target: &Path| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(entries.filter_map(|entry| inode(&fs::read_link(entry.ok()?.path()).ok()?)).collect())
}

/// A row of `/proc/net/tcp` that is in state LISTEN.
fn listening_row(row: &str) -> Option<Row> {
    const LISTEN: &str = "0A";
    let mut columns = row.split_ascii_whitespace();
    let (_, port) = columns.nth(1)?.rsplit_once(':')?;
    if columns.nth(1)? != LISTEN {
        return None;
    }
    let uid = columns.nth(3)?.parse().ok()?;
    let inode = columns.nth(1)?.parse().ok()?;
    Some(Row { port: u16::from_str_radix(port, 16).ok()?, uid, inode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_listening_sockets_are_read() {
        let listening = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 777 1 0 100 0";
        assert_eq!(listening_row(listening), Some(Row { port: 3000, uid: 33, inode: 777 }));
        assert_eq!(listening_row(&listening.replace(" 0A ", " 01 ")), None);
        assert_eq!(listening_row("  sl  local_address rem_address   st tx_queue rx_queue"), None);
        assert_eq!(listening_row(""), None);
    }

    #[test]
    fn a_port_is_foreign_when_somebody_else_listens_on_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = nix::unistd::getpgrp().as_raw().unsigned_abs();
        let mut other = std::process::Command::new("sleep");
        let mut other =
            std::os::unix::process::CommandExt::process_group(&mut other, 0).arg("60").spawn().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        assert!(!is_foreign(own, None, port), "it is ours");
        assert!(is_foreign(other.id(), None, port), "it is not that group's");
        assert!(!is_foreign(u32::MAX, None, port), "a group that cannot be seen");
        assert_eq!((is_foreign(own, Some(uid), port), is_foreign(own, Some(uid + 1), port)), (false, true));
        drop(listener);
        assert!(!is_foreign(other.id(), None, port), "nobody listens");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn our_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let group = nix::unistd::getpgrp().as_raw().unsigned_abs();
        assert!(tcp_ports(group).contains(&listener.local_addr().unwrap().port()));
    }
}
