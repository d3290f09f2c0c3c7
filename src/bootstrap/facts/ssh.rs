//! On which ports SSH comes in, and whether this very session came in by it. Whoever builds a firewall must know
//! both, or lock somebody out. Pure but for `look`: `Processes` is a picture of `/proc`.

mod config;
mod look;
mod unit_files;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use super::{
    processes::{Process, Processes},
    sockets::Socket,
};
use crate::bootstrap::machine;

/// Programs whose listening sockets are SSH's, and whose connections are sessions. `sshd-session` since OpenSSH 9.8.
const SERVERS: [&str; 4] = ["sshd", "sshd-session", "sshd-auth", "dropbear"];
/// SSH by another way, whose port nothing shows.
const ROAMING: [&str; 2] = ["mosh-server", "etserver"];
/// The first port of those who ask without naming one (ip(7)).
const ASKING: u16 = 32_768;
/// Who is below one of these is at the machine itself, or is its start.
const CONSOLES: [&str; 4] = ["login", "agetty", "sulogin", "cloud-init"];

/// How this order was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub(crate) enum Session {
    /// At the machine itself, by its start, or by a container's console.
    Local,
    /// Over SSH.
    Ssh {
        /// Who called; unknown where nothing shows it.
        peer: Option<IpAddr>,
        /// The port here; unknown where nothing shows it.
        port: Option<u16>,
        /// The session's own process of the SSH server.
        pid: Option<u32>,
        /// When it began, in clock ticks since the machine started.
        began: Option<u64>,
        /// The address here.
        local: Option<IpAddr>,
    },
}

/// What is known of SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ssh {
    /// Every port on which it comes in.
    pub(crate) ports: BTreeSet<u16>,
    /// Every address that somebody is in from now.
    pub(crate) peers: BTreeSet<IpAddr>,
    /// This session.
    pub(crate) session: Session,
}

/// What says on which ports the server listens.
#[derive(Debug, Default)]
pub(super) struct Sources<'a> {
    /// Those that the server is told.
    pub(super) configured: BTreeSet<u16>,
    /// What `systemctl show --property=Listen` prints of the socket units.
    pub(super) socket_units: &'a str,
    /// All sockets.
    pub(super) sockets: &'a [Socket],
}

/// All of it.
pub(super) fn ssh(sources: &Sources<'_>, processes: &Processes, own_pid: u32) -> Ssh {
    let mut ports = sources.configured.clone();
    ports.extend(unit_ports(sources.socket_units));
    let of_server = |socket: &&Socket| processes.holders(socket.inode).any(is_server);
    let served: Vec<_> = sources.sockets.iter().filter(of_server).collect();
    let listens = served.iter().filter(|socket| socket.listening && !socket.local.ip().is_loopback());
    ports.extend(listens.map(|socket| socket.local.port()));
    // Sessions, of whomever: a server that now listens elsewhere still carries them.
    let open: Vec<_> = served.into_iter().filter(|socket| is_servers_end(socket, &ports)).collect();
    let session = session(processes, sources.sockets, &ports, &open, own_pid);
    ports.extend(open.iter().map(|socket| socket.local.port()));
    if let Session::Ssh { port: Some(port), .. } = session {
        ports.insert(port);
    }
    let peers = open.iter().map(|socket| socket.peer.ip().to_canonical()).collect();
    Ssh { ports, peers, session }
}

/// Root's own: the half of a session that has become its user holds what that user has forwarded, and anybody may call a
/// program sshd.
fn is_server(process: &Process) -> bool {
    process.uid == 0 && SERVERS.contains(&process.name.as_str())
}

/// A connection that came in. The server also opens some itself, for `-L`, from the ports of those who ask; and takes some for
/// `-R` and X11, mostly at the machine itself.
fn is_servers_end(socket: &Socket, ports: &BTreeSet<u16>) -> bool {
    let port = socket.local.port();
    let moved = port < socket.peer.port() && port < ASKING && !socket.local.ip().is_loopback();
    !socket.listening && (ports.contains(&port) || moved)
}

/// `port 22` and `listenaddress [::]:22`.
pub(super) fn effective_ports(text: &str) -> BTreeSet<u16> {
    let of_line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        match key.to_ascii_lowercase().as_str() {
            "port" => value.trim().parse().ok(),
            "listenaddress" => value.trim().rsplit_once(':')?.1.parse().ok(),
            _ => None,
        }
    };
    text.lines().filter_map(of_line).collect()
}

/// `Listen=[::]:22 (Stream)`, or `Listen=0.0.0.0:22 (Stream) [::]:22 (Stream)`.
pub(super) fn unit_ports(text: &str) -> BTreeSet<u16> {
    let words = text.split(|c: char| c.is_whitespace() || c == '=');
    words.filter_map(|word| word.rsplit_once(':')?.1.parse().ok()).filter(|port| *port != 0).collect()
}

/// Up the line of parents until something shows SSH: `sudo` drops `SSH_CONNECTION`, but not from its parents. Where the line
/// shows nothing (run0, systemd-run, at, a tmux that was begun elsewhere) and somebody is in over SSH, it is them.
fn session(
    processes: &Processes,
    sockets: &[Socket],
    ports: &BTreeSet<u16>,
    open: &[&Socket],
    own_pid: u32,
) -> Session {
    let line: Vec<_> = processes.line(own_pid).collect();
    let is =
        |names: &'static [&'static str]| move |process: &&&Process| names.contains(&process.name.as_str());
    let told = line.iter().find_map(|process| connection(&process.variable("SSH_CONNECTION")?));
    let roams = line.iter().any(|process| is(&ROAMING)(&process));
    let hinted = line.iter().any(|process| process.variable("SSH_TTY").is_some());
    let shown = line.iter().any(|process| is(&SERVERS)(&process)) || told.is_some() || hinted || roams;
    if !shown && (open.is_empty() || line.iter().any(|process| is(&CONSOLES)(&process))) {
        return Session::Local;
    }
    // The socket may be held by the privileged half of the session, which is the parent of the one that is found.
    let held = line.iter().filter(|process| is_server(process)).find_map(|process| {
        let own = sockets.iter().filter(|socket| process.sockets.contains(&socket.inode));
        let ends = own.filter(|socket| is_servers_end(socket, ports));
        // Root's sessions hold in one process what they forward, too.
        ends.min_by_key(|socket| {
            let is_told = told == Some((socket.peer, socket.local));
            (!is_told, !ports.contains(&socket.local.port()), socket.local.port())
        })
    });
    // Of the session's processes the outermost that is no listener began when the connection came in.
    let listens = |pid: u32| {
        let of = processes.of(pid);
        let servers = |s: &&Socket| s.listening && ports.contains(&s.local.port());
        of.is_some_and(|p| sockets.iter().filter(servers).any(|s| p.sockets.contains(&s.inode)))
    };
    let first = line.iter().rfind(|process| is(&SERVERS)(process) && !listens(process.pid));
    // Over a roaming shell, and in a tmux, the variables may be those of a session that ended long ago.
    let lasts = |(peer, local): &(SocketAddr, SocketAddr)| {
        open.is_empty() || sockets.iter().any(|socket| socket.peer == *peer && socket.local == *local)
    };
    let (peer, port, local) = match (held, told.filter(|told| !roams && lasts(told))) {
        (Some(socket), _) => (Some(socket.peer.ip()), Some(socket.local.port()), Some(socket.local.ip())),
        (None, Some((peer, local))) => (Some(peer.ip()), Some(local.port()), Some(local.ip())),
        (None, None) if roams => (None, None, None),
        (None, None) => (
            only(open.iter().map(|socket| socket.peer.ip())),
            only(open.iter().map(|socket| socket.local.port())),
            only(open.iter().map(|socket| socket.local.ip())),
        ),
    };
    let (pid, began) = (first.map(|process| process.pid), first.map(|process| process.began));
    Session::Ssh { peer, port, pid, began, local }
}

/// What all of them are, if they are one.
fn only<T: Ord>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut all: BTreeSet<T> = all.collect();
    all.pop_first().filter(|_| all.is_empty())
}

/// `198.51.100.7 50000 203.0.113.9 2222`: the caller's end, then ours.
pub(super) fn connection(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [peer, peer_port, local, local_port] = words[..] else { return None };
    // A link-local address comes with its interface.
    let ip = |text: &str| text.split('%').next()?.parse::<IpAddr>().ok();
    Some((
        SocketAddr::new(ip(peer)?, peer_port.parse().ok()?),
        SocketAddr::new(ip(local)?, local_port.parse().ok()?),
    ))
}

#[cfg(test)]
mod tests;
