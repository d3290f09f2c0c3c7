//! Which TCP ports does a process group listen on? Read from `/proc`, only to explain why a worker never got
//! ready: "it listens on TCP port 3000" saves an hour. It must never decide anything.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::process_group;

/// The ports of the group's listening sockets; empty when `/proc` does not say.
pub(super) fn tcp_ports(group: u32) -> BTreeSet<u16> {
    let paths = process_group::members(group).into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}")));
    paths.flat_map(|process| ports_of(&process)).collect()
}

fn ports_of(process: &Path) -> Vec<u16> {
    let inodes = socket_inodes(process);
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(process.join(table)));
    let rows = tables.iter().flatten().flat_map(|table| table.lines().filter_map(listening_row));
    rows.filter(|(_, inode)| inodes.contains(inode)).map(|(port, _)| port).collect()
}

fn socket_inodes(process: &Path) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(process.join("fd")) else { return BTreeSet::new() };
    let inode = |target: &Path| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    entries.filter_map(|entry| inode(&fs::read_link(entry.ok()?.path()).ok()?)).collect()
}

/// Port and inode of a row of `/proc/net/tcp` that is in state LISTEN.
fn listening_row(row: &str) -> Option<(u16, u64)> {
    const LISTEN: &str = "0A";
    let mut columns = row.split_ascii_whitespace();
    let (_, port) = columns.nth(1)?.rsplit_once(':')?;
    if columns.nth(1)? != LISTEN {
        return None;
    }
    let inode = columns.nth(5)?.parse().ok()?;
    Some((u16::from_str_radix(port, 16).ok()?, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_listening_sockets_are_read() {
        let listening = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0";
        assert_eq!(listening_row(listening), Some((3000, 777)));
        assert_eq!(listening_row(&listening.replace(" 0A ", " 01 ")), None);
        assert_eq!(listening_row("  sl  local_address rem_address   st tx_queue rx_queue"), None);
        assert_eq!(listening_row(""), None);
    }

    #[test]
    fn our_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let group = nix::unistd::getpgrp().as_raw().unsigned_abs();
        assert!(tcp_ports(group).contains(&listener.local_addr().unwrap().port()));
    }
}
