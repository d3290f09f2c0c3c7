//! One accepted connection: handshake, protocol, requests, end. Every wait in it has a limit, and its drain lets
//! requests in flight finish.

mod blocks;
mod drive;
mod http1;
mod http2;
mod stream;

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    acme::ACME_TLS,
    activity::{Activity, Watched},
    authority::Scheme,
    clients::ClientPlace,
    cuts::Cut,
    peer::{Peer, Remote},
    proxy_protocol,
    redirect::Ports,
    settings::Settings,
    thread::{Drained, Thread},
    tls::TlsAcceptor,
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
    let remote = Box::pin(proxy_protocol::remote(&thread, &settings, &stream, address));
    let Some(Some(remote)) = Drained::unless_late(&thread, remote).await else { return };
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
    let connected = Connected { remote, activity, settings };
    let own_port = || stream.local_addr().ok().map(|address| address.port());
    let sends_on = match speaks {
        Speaks::Redirect(https) => Some(Ports { https, own: own_port() }),
        Speaks::Tls(_) | Speaks::Plain => None,
    };
    let stream = Watched::new(stream, connected.activity.clone());
    // On the heap, each for its time: this task lives as long as the connection, and must stay small.
    let serving = match speaks {
        Speaks::Tls(acceptor) => {
            let Some(serving) = Box::pin(handshake(&thread, acceptor, stream, connected)).await else {
                return;
            };
            serving
        }
        Speaks::Plain | Speaks::Redirect(_) => {
            over_http1(&thread, stream, connected.peer(Scheme::Http, HTTP_1), sends_on)
        }
    };
    serving.await;
}

/// A connection served over some protocol.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// Who is there.
struct Connected {
    remote: Remote,
    activity: Arc<Activity>,
    settings: Arc<Settings>,
}

impl Connected {
    fn peer(self, scheme: Scheme, protocol: &'static str) -> Rc<Peer> {
        Rc::new(Peer::new(self.remote, scheme, protocol, self.activity))
    }
}

async fn handshake(
    thread: &Rc<Thread>,
    acceptor: TlsAcceptor,
    stream: Watched<TcpStream>,
    connected: Connected,
) -> Option<Serving> {
    let shared = &thread.shared;
    let timeout = connected.settings.limits.handshake_timeout;
    let handshake = tokio::time::timeout(timeout, acceptor.accept(stream));
    let outcome = Drained::unless_late(thread, handshake).await;
    if !matches!(outcome, Some(Ok(Ok(_)))) {
        shared.metrics.handshakes_failed_total.inc();
    }
    if matches!(outcome, Some(Err(_))) {
        shared.cuts.count(Cut::HandshakeSlow, connected.remote.address);
    }
    let mut tls = outcome?.ok()?.ok()?;
    if tls.get_ref().1.alpn_protocol() == Some(ACME_TLS) {
        // A certificate authority has seen what it came for: nothing is said over this protocol.
        let _gone = tokio::time::timeout(LAST_WORDS, tls.shutdown()).await;
        return None;
    }
    Some(if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        let settings = connected.settings.clone();
        over_http2(thread, tls, connected.peer(Scheme::Https, HTTP_2), &settings)
    } else {
        over_http1(thread, tls, connected.peer(Scheme::Https, HTTP_1), None)
    })
}
