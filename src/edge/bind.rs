//! Sockets that listen: one per core and address, shared out by the kernel (SO_REUSEPORT). Whoever gets one keeps it;
//! what is accepted from it is `listen`'s. It must never close a listener that may hold connections in its queue.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::EdgeError;

/// Handshakes the kernel completes while we are busy; it caps this at `net.core.somaxconn` itself.
const BACKLOG: i32 = 4096;

/// One address, bound once per thread.
pub(crate) struct Bound {
    /// `http` or `https`.
    pub(crate) kind: &'static str,
    /// The real address.
    pub(crate) address: SocketAddr,
    /// One per thread.
    pub(crate) listeners: Vec<TcpListener>,
}

/// Bind an address once per thread.
pub(crate) fn bind(kind: &'static str, address: SocketAddr, threads: usize) -> Result<Bound, EdgeError> {
    let wrong = |source| EdgeError::Bind { address, source };
    if address.port() != 0 {
        // Sockets that share their port would silently share it with another process of ours too.
        socket(address, false).map_err(wrong)?;
    }
    let first = socket(address, true).and_then(listening).map_err(wrong)?;
    let bound = first.local_addr().map_err(wrong)?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(socket(bound, true).and_then(listening).map_err(wrong)?);
    }
    Ok(Bound { kind, address: bound, listeners })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` is both worlds.
        socket.set_only_v6(false)?;
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
mod tests {
    use super::*;

    #[test]
    fn all_threads_share_the_port_the_kernel_chose_and_nobody_else_can_take_it() {
        let bound = bind("https", ([127, 0, 0, 1], 0).into(), 3).unwrap();
        assert_eq!(bound.listeners.len(), 3);
        assert!(bound.address.port() != 0);
        assert!(bound.listeners.iter().all(|listener| listener.local_addr().unwrap() == bound.address));
        assert!(matches!(bind("https", bound.address, 1), Err(EdgeError::Bind { .. })));
    }
}
