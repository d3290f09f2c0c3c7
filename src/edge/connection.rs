//! One accepted connection: handshake, protocol, requests, end. Every wait in it has a limit, and its drain lets
//! requests in flight finish.

use std::{
    cell::Cell, convert::Infallible, future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc,
    task::Poll, time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_rustls::TlsAcceptor;

use crate::{error::Fault, metrics::CodeLabels, shutdown::Shutdown};

use super::{
    access_log,
    acme::ACME_TLS,
    activity::{Activity, Verdict, Watched},
    authority::Scheme,
    body::Recorded,
    cork::corked,
    heads::{UNREADABLE, Watching},
    limits::SLACK,
    peer::{Peer, Remote},
    proxy_protocol, redirect, serve,
    settings::Settings,
    thread::{Drained, Thread},
};

/// For the access log.
pub(crate) const HTTP_1: &str = "HTTP/1.1";
/// For the access log.
pub(crate) const HTTP_2: &str = "HTTP/2";

/// Smallest bound of hyper's buffers: below this, bodies pass in too small pieces.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// Streams reset before we saw them, and reset by us because of protocol errors (Rapid Reset, MadeYouReset):
/// browsers cancel a page's worth of images at once, no more.
const RESETS_MAX: usize = 64;

/// A client that is told goodbye has this long to take it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Answer bytes buffered per HTTP/2 stream: with 128 streams, 8 MB a connection at the very worst.
const STREAM_BUFFER_BYTES_MAX: usize = 64 * 1024;

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

/// Serve a connection until it ends.
pub(crate) async fn connection(thread: Rc<Thread>, stream: TcpStream, address: SocketAddr, speaks: Speaks) {
    // Answers leave at once; hyper and rustls write in whole pieces already.
    if stream.set_nodelay(true).is_err() {
        // The peer is gone already.
        return;
    }
    let activity = Activity::new();
    let settings = thread.shared.settings.load_full();
    // Before anything else: behind a load balancer the first bytes say who is there.
    let remote = proxy_protocol::remote(&thread, &settings, &stream, address);
    let Some(Some(remote)) = Drained::unless_late(&thread, remote).await else { return };
    match speaks {
        Speaks::Tls(acceptor) => {
            let handshake = acceptor.accept(Watched::new(stream, activity.clone()));
            let handshake = tokio::time::timeout(settings.limits.handshake_timeout, handshake);
            let Some(Ok(Ok(mut tls))) = Drained::unless_late(&thread, handshake).await else {
                thread.shared.metrics.handshakes_failed_total.inc();
                return;
            };
            if tls.get_ref().1.alpn_protocol() == Some(ACME_TLS) {
                // A certificate authority has seen what it came for: nothing is said over this protocol.
                let _gone = tokio::time::timeout(LAST_WORDS, tls.shutdown()).await;
                return;
            }
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                let peer = peer(remote, Scheme::Https, HTTP_2, &activity);
                over_http2(&thread, tls, peer, &settings).await;
            } else {
                let peer = peer(remote, Scheme::Https, HTTP_1, &activity);
                over_http1(&thread, tls, peer, (&settings, None)).await;
            }
        }
        Speaks::Plain => {
            let peer = peer(remote, Scheme::Http, HTTP_1, &activity);
            over_http1(&thread, Watched::new(stream, activity), peer, (&settings, None)).await;
        }
        Speaks::Redirect(port) => {
            let peer = peer(remote, Scheme::Http, HTTP_1, &activity);
            over_http1(&thread, Watched::new(stream, activity), peer, (&settings, Some(port))).await;
        }
    }
}

fn peer(remote: Remote, scheme: Scheme, protocol: &'static str, activity: &Arc<Activity>) -> Rc<Peer> {
    Rc::new(Peer::new(remote, scheme, protocol, activity.clone()))
}

async fn over_http1<T>(
    thread: &Rc<Thread>,
    io: T,
    peer: Rc<Peer>,
    (settings, redirect_to): (&Settings, Option<Option<u16>>),
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &settings.limits;
    let mut http = http1::Builder::new();
    // Idle and slow connections are ended by `drive`, so hyper needs no timer of its own.
    http.max_headers(limits.headers_max * SLACK)
        .max_buf_size((limits.header_bytes_max * SLACK).max(BUFFER_BYTES_MIN));
    let activity = peer.activity.clone();
    let id = thread.ids.fresh();
    let io = Watching::new(io, activity.clone(), id.clone());
    let service = service_fn(|request| answer(thread.clone(), peer.clone(), request, redirect_to));
    let connection = http.serve_connection(TokioIo::new(io), service).with_upgrades();
    let outcome =
        drive(thread, &activity, connection, |connection| connection.graceful_shutdown(), true).await;
    let unreadable = matches!(&outcome, Some(Err(error)) if error.is_parse());
    if let Some(refusal) = activity.heads.refusal().or(unreadable.then_some(UNREADABLE)) {
        let labels = CodeLabels { code: refusal.code() };
        thread.shared.metrics.refusals_total.get_or_create(&labels).inc();
        access_log::unreadable(thread, &peer, &id, &refusal);
    }
}

async fn answer(
    thread: Rc<Thread>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
    redirect_to: Option<Option<u16>>,
) -> Result<Response<Recorded>, Infallible> {
    let mut answer = match redirect_to {
        None => serve::serve(thread.clone(), peer, request).await?,
        Some(port) => redirect::serve(&thread, &peer, request, port),
    };
    // The last answer says that it is the last: a client that is not told sends its next request into the close.
    if thread.drain.has_begun() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

async fn over_http2<T>(thread: &Rc<Thread>, io: T, peer: Rc<Peer>, settings: &Settings)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &settings.limits;
    let mut http = http2::Builder::new(Local(thread.shared.shutdown.clone()));
    http.timer(TokioTimer::new())
        // WebSockets over HTTP/2 (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max * SLACK).unwrap_or(u32::MAX))
        .max_send_buf_size(STREAM_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        // A peer that vanished without a word answers no ping.
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.header_timeout);
    let activity = peer.activity.clone();
    let owner = thread.clone();
    // On the heap from the start: hyper and the runtime move a stream's future several times before its first poll.
    let service = service_fn(move |request| Box::pin(serve::serve(owner.clone(), peer.clone(), request)));
    let connection = corked(io, |io| http.serve_connection(TokioIo::new(io), service));
    // What it cannot read, HTTP/2 answers by resetting the stream: there is nobody who could read more.
    drive(thread, &activity, connection, |mut corked| corked.connection.as_mut().graceful_shutdown(), false)
        .await;
}

/// Run a connection until it ends, is idle for too long, is stuck, or has drained; how it ended, if by itself.
///
/// A drain says goodbye on HTTP/2 at once (GOAWAY loses nothing). HTTP/1 can say it only with an answer: a kept
/// connection stays open for a moment, for the request that is on its way already.
async fn drive<C>(
    thread: &Rc<Thread>,
    activity: &Activity,
    connection: C,
    graceful: impl Fn(Pin<&mut C>),
    heads_by_bytes: bool,
) -> Option<hyper::Result<()>>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    let drained = Drained::new(thread);
    let judge = || activity.judge(&thread.shared.settings.load().limits, heads_by_bytes);
    let Verdict::Fine(first) = judge() else { return None };
    let mut timer = std::pin::pin!(tokio::time::sleep(first));
    let (registered, closing, draining) = (Cell::new(false), Cell::new(false), Cell::new(false));
    let patience = || thread.shared.settings.load().limits.last_request_timeout;
    std::future::poll_fn(|cx| {
        if !registered.replace(true) {
            drained.wake(cx.waker());
        }
        if thread.drain.has_begun() && !draining.replace(true) && !closing.get() {
            if heads_by_bytes {
                rearm(timer.as_mut(), patience());
            } else {
                closing.set(true);
                graceful(connection.as_mut());
                rearm(timer.as_mut(), LAST_WORDS);
            }
        }
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match judge() {
                Verdict::Stuck => return Poll::Ready(None),
                // Not every client answers a goodbye; the drain must not wait for those that do not.
                _ if closing.get() && !activity.is_busy() => return Poll::Ready(None),
                Verdict::Fine(_) | Verdict::Idle if closing.get() => rearm(timer.as_mut(), LAST_WORDS),
                Verdict::Fine(left) if draining.get() => match activity.silent_for() {
                    Some(silent) if silent >= patience() => {
                        closing.set(true);
                        graceful(connection.as_mut());
                        rearm(timer.as_mut(), LAST_WORDS);
                    }
                    silent => rearm(timer.as_mut(), left.min(patience() - silent.unwrap_or_default())),
                },
                Verdict::Fine(left) => rearm(timer.as_mut(), left),
                Verdict::Idle => {
                    closing.set(true);
                    graceful(connection.as_mut());
                    rearm(timer.as_mut(), LAST_WORDS);
                }
            }
        }
    })
    .await
}

fn rearm(timer: Pin<&mut Sleep>, left: Duration) {
    // Never at once: a limit of zero must not spin.
    timer.reset(Instant::now() + left.max(Duration::from_millis(1)));
}

/// Runs HTTP/2 streams on this thread, counted by the drain.
#[derive(Clone)]
struct Local(Shutdown);

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn_local(task);
    }
}
