//! Who waits for strangers on this machine, over TCP and over UDP.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::Serialize;

use super::{
    processes::{Process, Processes},
    sockets::{self, Socket},
};
use crate::bootstrap::machine;

/// Programs that carry other traffic, or a shell, over UDP, from whatever port they like.
pub(in crate::bootstrap) const CARRIERS: [&str; 10] = [
    "openvpn",
    "tailscaled",
    "wireguard-go",
    "boringtun",
    "boringtun-cli",
    "nebula",
    "zerotier-one",
    "charon",
    "charon-systemd",
    "mosh-server",
];

/// The kernel's own range of ports for whoever asks without naming one (ip(7)).
const PASSING: (u16, u16) = (32_768, 60_999);

/// A socket that waits for strangers, with whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listener {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Names of the processes that hold it, each once; none for one of the kernel's own, as WireGuard's is.
    pub(crate) holders: BTreeSet<String>,
}

/// All TCP sockets.
pub(super) fn sockets() -> Vec<Socket> {
    let read = |path: &&str| sockets::parse(&machine::text(path));
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(read).collect()
}

/// Over TCP.
pub(super) fn streams(sockets: &[Socket], processes: &Processes) -> Vec<Listener> {
    sockets.iter().filter(|socket| socket.listening).map(|socket| listener(socket, processes)).collect()
}

/// Over UDP, reached from outside.
pub(super) fn datagrams(processes: &Processes) -> Vec<Listener> {
    let read = |path: &&str| sockets::parse_datagrams(&machine::text(path));
    let all: Vec<_> = ["/proc/net/udp", "/proc/net/udp6"].iter().flat_map(read).collect();
    let range = machine::text("/proc/sys/net/ipv4/ip_local_port_range");
    let mut range = range.split_whitespace().filter_map(|port| port.parse().ok());
    let passing = (range.next().unwrap_or(PASSING.0), range.next().unwrap_or(PASSING.1));
    let listeners = all.iter().map(|socket| listener(socket, processes));
    listeners.filter(|listener| waits(listener, passing)).collect()
}

/// UDP knows no listening: a resolver that has just asked something looks the same as a server, but for its port.
fn waits(listener: &Listener, (first, last): (u16, u16)) -> bool {
    // What the firewall lets in by itself, as DHCP needs it.
    const DHCP: [u16; 2] = [68, 546];
    let (ip, port) = (listener.address.ip(), listener.address.port());
    let carries = || {
        listener.holders.is_empty() || listener.holders.iter().any(|name| CARRIERS.contains(&name.as_str()))
    };
    port != 0 && !ip.is_loopback() && !DHCP.contains(&port) && (!(first..=last).contains(&port) || carries())
}

fn listener(socket: &Socket, processes: &Processes) -> Listener {
    let name = |process: &Process| process.name.clone();
    Listener { address: socket.local, holders: processes.holders(socket.inode).map(name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_asks_is_no_listener() {
        for (address, holder, want) in [
            ("0.0.0.0:53", Some("named"), true),
            ("127.0.0.53:53", Some("systemd-resolve"), false),
            ("0.0.0.0:68", Some("dhclient"), false),
            ("0.0.0.0:41000", Some("chronyd"), false),
            ("0.0.0.0:60001", Some("mosh-server"), true),
            ("[::]:51820", None, true),
        ] {
            let holders = holder.map(str::to_owned).into_iter().collect();
            let listener = Listener { address: address.parse().unwrap(), holders };
            assert_eq!(waits(&listener, PASSING), want, "{listener:?}");
        }
    }

    #[test]
    fn sockets_of_this_very_machine_are_listed_with_their_holders() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let processes = Processes::read(std::path::Path::new("/proc"));
        let all = streams(&sockets(), &processes);
        let own = all.iter().find(|listener| listener.address == tcp.local_addr().unwrap()).unwrap();
        assert!(!own.holders.is_empty());
    }
}
