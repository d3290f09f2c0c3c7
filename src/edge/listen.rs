//! The loop that accepts. It must never spin when the machine runs out of descriptors, and never take more
//! connections than allowed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::error::is_out_of_descriptors;

use super::{
    clients::ClientPlace,
    connection::{Speaks, connection},
    cuts::Cut,
    descriptors::Spare,
    thread::{Shared, Thread},
};

/// Pause before looking again whether a connection ended or a descriptor got free.
const PAUSE: Duration = Duration::from_millis(20);

/// One line about failures in this time.
const LINE_EVERY: Duration = Duration::from_secs(10);

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
    listener: TcpListener,
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
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            take(&thread, stream, address, &speaks);
        }
    }
}

/// Serve an accepted connection, if it may be.
fn take(thread: &Rc<Thread>, stream: TcpStream, address: SocketAddr, speaks: &Speaks) {
    let shared = &thread.shared;
    shared.metrics.connections_total.inc();
    let place = match admit(shared, &stream, address.ip()) {
        Ok(place) => place,
        // Dropped, it is closed.
        Err(cut) => return shared.cuts.count(cut, address.ip()),
    };
    let open = Open::new(shared);
    let (thread, speaks) = (thread.clone(), speaks.clone());
    shared.shutdown.clone().spawn_local(async move {
        connection(thread, (stream, address), place, speaks).await;
        drop(open);
    });
}

async fn accept_all(thread: &Rc<Thread>, shared: &Arc<Shared>, listener: &TcpListener, speaks: &Speaks) {
    let mut full = false;
    let mut failures = Failures::new();
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
                // Closed at once, a client can go elsewhere; in the queue it would wait for nothing.
                if !is_out_of_descriptors(&error) || !failures.shed(shared, listener) {
                    failures.say(&error);
                    tokio::time::sleep(PAUSE * 5).await;
                }
            }
        }
    }
}

/// May this connection be served? Trusted proxies carry many clients, so they have no limit as one.
fn admit(shared: &Shared, stream: &TcpStream, client: IpAddr) -> Result<Option<ClientPlace>, Cut> {
    if shared.descriptors.are_scarce(stream) {
        return Err(Cut::NoDescriptor);
    }
    let settings = shared.settings.load();
    if settings.trusted_proxies.iter().any(|network| network.contains(client)) {
        return Ok(None);
    }
    let place = shared.clients.enter(client, settings.limits.connections_per_client_max);
    place.map(Some).ok_or(Cut::ClientConnections)
}

/// What is done about connections that cannot be accepted.
struct Failures {
    spare: Spare,
    said: Option<Instant>,
}

impl Failures {
    fn new() -> Self {
        Self { spare: Spare::new(), said: None }
    }

    /// Accept and close the first in the queue with the spare descriptor; false if that failed, too.
    fn shed(&mut self, shared: &Shared, listener: &TcpListener) -> bool {
        let mut shed = None;
        self.spare.lend(|| {
            // Polled once: whoever waited in the queue is there now.
            if let Poll::Ready(Ok((_, address))) =
                listener.poll_accept(&mut Context::from_waker(Waker::noop()))
            {
                shed = Some(address.ip());
            }
        });
        if let Some(client) = shed {
            shared.cuts.count(Cut::NoDescriptor, client);
        }
        shed.is_some()
    }

    fn say(&mut self, error: &io::Error) {
        if self.said.is_none_or(|said| said.elapsed() >= LINE_EVERY) {
            self.said = Some(Instant::now());
            tracing::error!(%error, "cannot accept a connection");
        }
    }
}
