//! Sockets as `/proc/net/tcp`, `/proc/net/udp` and those of IPv6 list them. Pure: text in, sockets out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

/// One socket of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Socket {
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The other end; port 0 for one that listens.
    pub(crate) peer: SocketAddr,
    /// Listening or established; others are left out.
    pub(crate) listening: bool,
    /// What `/proc/PID/fd` calls it.
    pub(crate) inode: u64,
}

/// The kernel's names of the states that matter (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";
/// What UDP calls a socket that talks to nobody in particular.
const CLOSED: &str = "07";

/// Every listening and established TCP socket of one of the two files.
pub(super) fn parse(text: &str) -> Vec<Socket> {
    text.lines().skip(1).filter_map(|line| socket(line, LISTENING)).collect()
}

/// UDP sockets that hear everybody.
pub(super) fn parse_datagrams(text: &str) -> Vec<Socket> {
    let sockets = text.lines().skip(1).filter_map(|line| socket(line, CLOSED));
    sockets.filter(|socket| socket.listening).collect()
}

fn socket(line: &str, listens: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, peer, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    let listening = match state {
        state if state == listens => true,
        ESTABLISHED => false,
        _ => return None,
    };
    Some(Socket { local: address(local)?, peer: address(peer)?, listening, inode: inode.parse().ok()? })
}

/// `0100007F:1F90`: the address in words of 32 bits, each in the machine's own byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            // IPv4 on a socket for both is IPv4.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_read_and_states_between_are_left_out() {
        let v4 = include_str!("../../../tests/data/bootstrap/proc-net-tcp");
        let v6 = include_str!("../../../tests/data/bootstrap/proc-net-tcp6");
        let told = |text| {
            let sockets = parse(text).into_iter();
            sockets.map(|s| format!("{} {} {} {}", s.local, s.peer, s.listening, s.inode)).collect::<Vec<_>>()
        };
        assert_eq!(
            told(v4),
            [
                "0.0.0.0:2222 0.0.0.0:0 true 21001",
                "127.0.0.1:3000 0.0.0.0:0 true 21002",
                "203.0.113.9:2222 198.51.100.7:50000 false 21003",
            ]
        );
        assert_eq!(told(v6), ["[::]:80 [::]:0 true 22001", "203.0.113.9:22 198.51.100.7:50001 false 22002"]);
        assert_eq!(parse("garbage\nmore garbage\n0: zz:1 1:2 0A"), []);
    }

    #[test]
    fn datagrams_are_heard_where_nobody_in_particular_is_talked_to() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                    \x20 512: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31001 2 0 0\n\
                    \x20 513: 0200000A:A001 0100000A:0035 01 00000000:00000000 00:00000000 00000000     0        0 31002 2 0 0\n";
        let heard = parse_datagrams(text);
        assert_eq!(heard.iter().map(|s| s.local.to_string()).collect::<Vec<_>>(), ["0.0.0.0:51820"]);
    }
}
