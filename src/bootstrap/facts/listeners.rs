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

/// Of TCP ports that somebody is led to, those where they would not be served. A redirect leads to the address of the interface
/// that a packet came in by: who listens on loopback alone is not found there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::bootstrap) struct Unreached {
    /// Nobody listens.
    pub(in crate::bootstrap) silent: BTreeSet<u16>,
    /// Somebody listens over IPv4 alone, and the machine has addresses of IPv6.
    pub(in crate::bootstrap) without_ipv6: BTreeSet<u16>,
    /// Whoever rules the packets lets nobody in.
    pub(in crate::bootstrap) closed: BTreeSet<u16>,
}

impl Unreached {
    /// By who listens. Pure.
    pub(super) fn of(ports: &BTreeSet<u16>, sockets: &[Socket], ipv6: bool) -> Self {
        let outside = sockets.iter().filter(|socket| socket.listening && !socket.local.ip().is_loopback());
        let (four, six): (Vec<&Socket>, Vec<&Socket>) = outside.partition(|socket| socket.local.is_ipv4());
        let of = |sockets: Vec<&Socket>| sockets.iter().map(|one| one.local.port()).collect::<BTreeSet<_>>();
        let (four, six) = (of(four), of(six));
        let silent: BTreeSet<u16> = &(ports - &four) - &six;
        let alone = &(ports & &four) - &six;
        Self { silent, without_ipv6: if ipv6 { alone } else { BTreeSet::new() }, closed: BTreeSet::new() }
    }
}

/// Is there an address of IPv6 that others than neighbours use, in `/proc/net/if_inet6`? Pure.
pub(super) fn has_ipv6(text: &str) -> bool {
    const GLOBAL: &str = "00";
    text.lines().any(|line| line.split_whitespace().nth(3) == Some(GLOBAL))
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

    #[test]
    fn who_listens_on_loopback_alone_is_not_found_by_who_is_led_there() {
        let check = |listening: &[&str], ipv6: bool, silent: &[u16], without_ipv6: &[u16]| {
            let socket = |address: &&str| Socket {
                local: address.parse().unwrap(),
                peer: "0.0.0.0:0".parse().unwrap(),
                listening: true,
                inode: 1,
            };
            let sockets: Vec<Socket> = listening.iter().map(socket).collect();
            let set = |ports: &[u16]| ports.iter().copied().collect();
            let want = Unreached { silent: set(silent), without_ipv6: set(without_ipv6), closed: set(&[]) };
            assert_eq!(Unreached::of(&[8443].into(), &sockets, ipv6), want, "{listening:?} {ipv6}");
        };
        check(&["[::]:8443"], true, &[], &[]);
        check(&["0.0.0.0:8443"], false, &[], &[]);
        check(&["0.0.0.0:8443"], true, &[], &[8443]);
        check(&["0.0.0.0:8443", "[2001:db8::9]:8443"], true, &[], &[]);
        check(&["203.0.113.9:8443", "[::1]:8443"], true, &[], &[8443]);
        check(&["127.0.0.1:8443", "[::1]:8443", "[::]:443"], true, &[8443], &[]);
        check(&[], true, &[8443], &[]);
    }

    #[test]
    fn an_address_of_loopback_or_of_the_link_is_none_for_others() {
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe80000000000000021122fffe334455 02 40 20 80     eth0\n";
        let global = "20010db8000000000000000000000009 02 40 00 80     eth0\n";
        assert!(!has_ipv6(&format!("{loopback}{link}")));
        assert!(has_ipv6(&format!("{loopback}{link}{global}")));
        assert!(!has_ipv6(""));
    }
}
