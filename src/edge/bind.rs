//! Sockets that listen. Made once, one per core and address, shared out by the kernel (SO_REUSEPORT), or taken over from
//! who held them before: systemd, or this process's former self. Whoever accepts gets a duplicate; the original is
//! kept, so that no reload, drain or swap closes a listener with connections in its queue.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Config, EdgeError};

/// Handshakes the kernel completes while we are busy; it caps this at `net.core.somaxconn` itself.
const BACKLOG: i32 = 4096;

/// What a socket of a unit is handed over as, to this program's next self.
const UNIT: &str = "unit";

/// A listener that was there before this process or this life of it.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// What it was handed over as: [`Bound::name`] if it was ours, anything if a socket unit made it.
    pub(crate) name: String,
    /// The socket.
    pub(crate) listener: TcpListener,
}

/// One address with its sockets.
#[derive(Debug)]
pub(crate) struct Bound {
    /// `http` or `https`: the list that it stands in.
    pub(crate) kind: &'static str,
    /// The address as configured; its port may be 0.
    pub(super) configured: SocketAddr,
    /// The real address.
    pub(crate) address: SocketAddr,
    /// Does a socket unit of systemd hold it too? Then it need not be kept for us.
    pub(super) of_unit: bool,
    /// The originals.
    pub(super) listeners: Vec<TcpListener>,
}

impl Bound {
    /// The name under which it is handed over; colons have no place in it.
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.kind, self.address.to_string().replace(':', "_"))
    }

    /// Its sockets.
    pub(crate) fn sockets(&self) -> &[TcpListener] {
        &self.listeners
    }

    /// Must systemd be given it to keep?
    pub(crate) fn is_ours(&self) -> bool {
        !self.of_unit
    }

    /// What each of so many threads accepts from: every socket is served, and every thread serves one.
    pub(super) fn shares(&self, threads: usize) -> Result<Vec<Vec<TcpListener>>, EdgeError> {
        let sockets = self.listeners.len();
        let is_of = |socket: usize, thread: usize| {
            if threads >= sockets { thread % sockets == socket } else { socket % threads == thread }
        };
        let of_thread = |thread: usize| {
            let own = self.listeners.iter().enumerate().filter(|(socket, _)| is_of(*socket, thread));
            own.map(|(_, listener)| listener.try_clone()).collect::<io::Result<Vec<_>>>()
        };
        let shares = (0..threads).map(of_thread).collect::<io::Result<_>>();
        shares.map_err(|source| EdgeError::Bind { address: self.address, source })
    }

    /// For the next life or the next program.
    pub(super) fn into_inherited(self) -> impl Iterator<Item = Inherited> {
        let name = if self.of_unit { format!("{UNIT}@") } else { self.name() };
        self.listeners.into_iter().map(move |listener| Inherited { name: name.clone(), listener })
    }
}

/// What the configuration lists, in its order.
pub(super) fn listed(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let https = config.https.iter().map(|address| ("https", *address));
    https.chain(config.http.iter().map(|address| ("http", *address)))
}

/// The same port in all of the other world: `[::]` for `0.0.0.0`, and that for this.
fn other_world(address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some((Ipv6Addr::UNSPECIFIED, address.port()).into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some((Ipv4Addr::UNSPECIFIED, address.port()).into()),
        _ => None,
    }
}

/// Are both worlds listed, each for itself? Then `[::]` is IPv6 alone.
pub(super) fn is_apart(config: &Config, address: SocketAddr) -> bool {
    let other = other_world(address).filter(|_| address.port() != 0);
    other.is_some_and(|other| listed(config).any(|(_, one)| one == other))
}

/// Every listed address: from those inherited if it is among them, else bound. What was ours and is listed no longer
/// is given back, to be served out.
pub(super) fn claim(
    config: &Config,
    inherited: Vec<Inherited>,
    threads: usize,
) -> Result<(Vec<Bound>, Vec<Inherited>), EdgeError> {
    let mut pool = Vec::new();
    for one in inherited {
        pool.push(Candidate::of(one)?);
    }
    let mut bound = Vec::new();
    for (kind, address) in listed(config) {
        let apart = is_apart(config, address);
        let taken = take(&mut pool, kind, address, apart)?;
        let half = address.is_ipv6() && taken.iter().all(|one| one.address.is_ipv4());
        bound.push(if taken.is_empty() {
            bind(kind, address, apart, threads)?
        } else if half {
            let mut both = bind(kind, address, true, threads)?;
            both.listeners.extend(taken.into_iter().map(|one| one.inherited.listener));
            both
        } else {
            of(kind, address, taken)
        });
    }
    let (ours, foreign): (Vec<_>, Vec<_>) = pool.into_iter().partition(|one| one.ours.is_some());
    if let Some(stray) = foreign.first() {
        return Err(EdgeError::Stray { address: stray.address, name: stray.inherited.name.clone() });
    }
    Ok((bound, ours.into_iter().map(|one| one.inherited).collect()))
}

/// An inherited listener, looked at.
struct Candidate {
    inherited: Inherited,
    address: SocketAddr,
    /// The list it stood in, or that of a unit, if it comes from a former self.
    ours: Option<&'static str>,
}

impl Candidate {
    fn of(inherited: Inherited) -> Result<Self, EdgeError> {
        let unfit = |why: String| EdgeError::Unfit { name: inherited.name.clone(), why };
        let socket = SockRef::from(&inherited.listener);
        let listens = socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
            && getsockopt(&inherited.listener, AcceptConn).unwrap_or(false);
        let address = inherited.listener.local_addr().map_err(|error| unfit(error.to_string()))?;
        if !listens {
            return Err(unfit("it does not listen for TCP connections".to_owned()));
        }
        // systemd's are blocking.
        inherited.listener.set_nonblocking(true).map_err(|error| unfit(error.to_string()))?;
        let ours = ["https", "http", UNIT]
            .into_iter()
            .find(|kind| inherited.name.strip_prefix(*kind).is_some_and(|rest| rest.starts_with('@')));
        Ok(Self { inherited, address, ours })
    }

    /// Is this what is listed there?
    fn fits(&self, kind: &str, listed: SocketAddr) -> bool {
        if listed.port() == 0 {
            return self.ours == Some(kind) && self.address.ip() == listed.ip();
        }
        self.address == listed
    }

    fn only_v6(&self) -> bool {
        self.address.is_ipv6() && SockRef::from(&self.inherited.listener).only_v6().unwrap_or(false)
    }
}

/// The candidates for one listed address. `[::]` is both worlds: one socket for both, or one for each. For `0.0.0.0` one for
/// both does too: as long as somebody holds it, no other can be had.
fn take(
    pool: &mut Vec<Candidate>,
    kind: &'static str,
    listed: SocketAddr,
    apart: bool,
) -> Result<Vec<Candidate>, EdgeError> {
    let found = pool.iter().find(|one| one.fits(kind, listed)).map(|one| one.address);
    let mut taken = draw(pool, |one| Some(one.address) == found && one.fits(kind, listed));
    let Some(other) = other_world(listed) else { return Ok(taken) };
    let is_both = |one: &Candidate| one.address.is_ipv6() && !one.only_v6();
    let wide = |one: &Candidate| one.address == other && is_both(one);
    if apart && (taken.iter().any(is_both) || taken.is_empty() && pool.iter().any(wide)) {
        return Err(EdgeError::BothInherited { port: listed.port() });
    }
    if listed.is_ipv4() && taken.is_empty() {
        taken = draw(pool, wide);
        if !taken.is_empty() {
            tracing::warn!(%listed, "the socket that was handed over takes IPv6 too: who comes over IPv6 is served as well");
        }
    } else if listed.is_ipv6() && !apart {
        let v4 = draw(pool, |one| one.address == other);
        if v4.is_empty() && taken.iter().any(Candidate::only_v6) {
            return Err(EdgeError::HalfInherited { address: listed, port: listed.port() });
        }
        taken.extend(v4);
    }
    Ok(taken)
}

fn draw(pool: &mut Vec<Candidate>, which: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
    let (drawn, rest) = std::mem::take(pool).into_iter().partition(which);
    *pool = rest;
    drawn
}

fn of(kind: &'static str, configured: SocketAddr, taken: Vec<Candidate>) -> Bound {
    let address = taken.first().map_or(configured, |one| one.address);
    let of_unit = taken.iter().all(|one| one.ours.is_none_or(|list| list == UNIT));
    let listeners = taken.into_iter().map(|one| one.inherited.listener).collect();
    Bound { kind, configured, address, of_unit, listeners }
}

/// Bind an address once per thread, IPv6 for both worlds or alone.
pub(super) fn bind(
    kind: &'static str,
    address: SocketAddr,
    alone: bool,
    threads: usize,
) -> Result<Bound, EdgeError> {
    let wrong = |source| EdgeError::Bind { address, source };
    if address.port() != 0 {
        // Sockets that share their port would silently share it with another process of ours too.
        socket(address, alone, false).map_err(wrong)?;
    }
    let first = socket(address, alone, true).and_then(listening).map_err(wrong)?;
    let bound = first.local_addr().map_err(wrong)?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(socket(bound, alone, true).and_then(listening).map_err(wrong)?);
    }
    Ok(Bound { kind, configured: address, address: bound, of_unit: false, listeners })
}

fn socket(address: SocketAddr, alone: bool, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` is both worlds, unless the other is listed for itself.
        socket.set_only_v6(alone)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
