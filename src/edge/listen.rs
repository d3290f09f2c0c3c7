//! Listeners: one socket per core and address, shared out by the kernel (SO_REUSEPORT), and the loop that accepts.
//! It must never spin when the machine runs out of descriptors, and never take more connections than allowed.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    EdgeError,
    connection::{Speaks, connection},
    thread::{Shared, Thread},
};

/// Handshakes the kernel completes while we are busy; it caps this at `net.core.somaxconn` itself.
const BACKLOG: i32 = 4096;

/// Pause before looking again whether a connection ended or a descriptor got free.
const PAUSE: Duration = Duration::from_millis(20);

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

/// One open connection, over all threads.
pub(crate) struct Open(Arc<Shared>);

impl Open {
    /// Count a connection until this is dropped. One that switches protocols is handed from task to task and
    /// counted anew.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Relaxed);
        shared.metrics.connections.inc();
        Self(shared.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.metrics.connections.dec();
    }
}

/// Accept until the drain begins.
pub(crate) async fn accept(thread: Rc<Thread>, listener: tokio::net::TcpListener, speaks: Speaks) {
    let shared = thread.shared.clone();
    tokio::select! {
        () = accept_all(&thread, &shared, &listener, &speaks) => {}
        () = shared.shutdown.begun() => {}
    }
}

async fn accept_all(
    thread: &Rc<Thread>,
    shared: &Arc<Shared>,
    listener: &tokio::net::TcpListener,
    speaks: &Speaks,
) {
    let mut full = false;
    loop {
        let connections_max = shared.settings.load().limits.connections_max;
        if shared.connections.load(Relaxed) >= connections_max {
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(connections_max, "as many connections as allowed; further ones wait");
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        full = false;
        match listener.accept().await {
            Ok((stream, address)) => {
                let open = Open::new(shared);
                shared.metrics.connections_total.inc();
                let (thread, speaks) = (thread.clone(), speaks.clone());
                shared.shutdown.spawn_local(async move {
                    connection(thread, stream, address, speaks).await;
                    drop(open);
                });
            }
            // The peer gave up while it waited in the queue.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Most likely out of descriptors: the queue holds the others until some connection ends.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE * 5).await;
            }
        }
    }
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
