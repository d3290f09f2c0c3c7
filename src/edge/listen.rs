//! The loop that accepts. It must never spin when the machine runs out of descriptors, and never take more
//! connections than allowed.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    connection::{Speaks, connection},
    thread::{Shared, Thread},
};

/// Pause before looking again whether a connection ended or a descriptor got free.
const PAUSE: Duration = Duration::from_millis(20);

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

/// Accept until the drain begins, which leaves the queue to whoever accepts next, or until this listener is left:
/// then what is in its queue is served still.
pub(crate) async fn accept(
    thread: Rc<Thread>,
    listener: tokio::net::TcpListener,
    speaks: Speaks,
    leave: CancellationToken,
) {
    let shared = thread.shared.clone();
    tokio::select! {
        // Before anything is accepted: a drain that has begun takes nothing more out of the queue.
        biased;
        () = shared.shutdown.begun() => return,
        () = leave.cancelled() => {}
        () = accept_all(&thread, &shared, &listener, &speaks) => {}
    }
    // Until the kernel says that the queue is empty, not until the runtime has heard of it.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, address)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            take(&thread, stream, address, &speaks);
        }
    }
}

/// Serve an accepted connection.
fn take(thread: &Rc<Thread>, stream: tokio::net::TcpStream, address: SocketAddr, speaks: &Speaks) {
    let shared = &thread.shared;
    let open = Open::new(shared);
    shared.metrics.connections_total.inc();
    let (thread, speaks) = (thread.clone(), speaks.clone());
    shared.shutdown.clone().spawn_local(async move {
        connection(thread, stream, address, speaks).await;
        drop(open);
    });
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
            Ok((stream, address)) => take(thread, stream, address, speaks),
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
