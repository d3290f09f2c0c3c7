//! One accepted connection: handshake, protocol, requests, end. Every wait in it has a limit, and its drain lets
//! requests in flight finish.

mod drive;
mod http1;
mod http2;
mod stream;

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    activity::{Activity, Watched},
    authority::Scheme,
    clients::ClientPlace,
    cuts::Cut,
    peer::Peer,
    proxy_protocol,
    thread::Thread,
};

use self::{http1::over_http1, http2::over_http2};

/// For the access log.
pub(crate) const HTTP_1: &str = "HTTP/1.1";
/// For the access log.
pub(crate) const HTTP_2: &str = "HTTP/2";

/// A client that is told goodbye has this long to take it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What an address speaks.
#[derive(Clone)]
pub(crate) enum Speaks {
    /// HTTPS.
    Tls(TlsAcceptor),
    /// Plain HTTP, served.
    Plain,
    /// Plain HTTP, sent to https on this port.
    Redirect(Option<u16>),
}

/// Serve a connection until it ends. `place` is given back when its io is dropped, after an upgrade too; trusted
/// proxies have none.
pub(crate) async fn connection(
    thread: Rc<Thread>,
    (stream, address): (TcpStream, SocketAddr),
    place: Option<ClientPlace>,
    speaks: Speaks,
) {
    // Answers leave at once; hyper and rustls write in whole pieces already.
    if stream.set_nodelay(true).is_err() {
        // The peer is gone already.
        return;
    }
    let settings = thread.shared.settings.load_full();
    // Before anything else: behind a load balancer the first bytes say who is there.
    let remote = Box::pin(proxy_protocol::remote(&thread, &settings, &stream, address)).await;
    let Some(remote) = remote else { return };
    let place = match place {
        None if !remote.trusted => {
            // Behind a proxy, and counted like everyone now that it has a name.
            let connections_max = settings.limits.connections_per_client_max;
            let Some(place) = thread.shared.clients.enter(remote.address, connections_max) else {
                return thread.shared.cuts.count(Cut::ClientConnections, remote.address);
            };
            Some(place)
        }
        place => place,
    };
    let activity = Activity::new(place);
    let peer = |scheme, protocol| Rc::new(Peer::new(remote, scheme, protocol, activity.clone()));
    let stream = Watched::new(stream, activity.clone());
    // Each on the heap of its own: this task lives as long as the connection, and would always be as large as the
    // largest of them.
    match speaks {
        Speaks::Tls(acceptor) => {
            let Some(tls) = Box::pin(handshake(&thread, acceptor, stream, remote.address)).await else {
                return;
            };
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                let peer = peer(Scheme::Https, HTTP_2);
                drop(activity);
                Box::pin(over_http2(&thread, tls, peer, settings)).await;
            } else {
                let peer = peer(Scheme::Https, HTTP_1);
                drop(activity);
                Box::pin(over_http1(&thread, tls, peer, None)).await;
            }
        }
        Speaks::Plain => {
            Box::pin(over_http1(&thread, stream, peer(Scheme::Http, HTTP_1), None)).await;
        }
        Speaks::Redirect(port) => {
            Box::pin(over_http1(&thread, stream, peer(Scheme::Http, HTTP_1), Some(port))).await;
        }
    }
}

async fn handshake(
    thread: &Thread,
    acceptor: TlsAcceptor,
    stream: Watched<TcpStream>,
    client: IpAddr,
) -> Option<TlsStream<Watched<TcpStream>>> {
    let shared = &thread.shared;
    let timeout = shared.settings.load().limits.handshake_timeout;
    let outcome = tokio::time::timeout(timeout, acceptor.accept(stream)).await;
    if !matches!(outcome, Ok(Ok(_))) {
        shared.metrics.handshakes_failed_total.inc();
    }
    if outcome.is_err() {
        shared.cuts.count(Cut::HandshakeSlow, client);
    }
    outcome.ok()?.ok()
}
