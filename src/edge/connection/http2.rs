//! HTTP/2: many requests at a time on one connection, and so many ways to ask for much with few bytes. Each of
//! them has a limit here or in h2 itself.

use std::{pin::Pin, rc::Rc};

use hyper::{server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::{
        config::Limits, cork::corked, cuts::Cut, limits::SLACK, peer::Peer, serve, settings::Settings,
        thread::Thread,
    },
    Serving,
    blocks::Timed,
    drive::{End, drive},
    stream::Streams,
};

/// Serve HTTP/2 until the connection ends.
pub(super) fn over_http2<T>(thread: &Rc<Thread>, io: T, peer: Rc<Peer>, settings: &Settings) -> Serving
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = builder(&settings.limits, Streams { thread: thread.clone(), peer: peer.clone() });
    let (owner, of) = (thread.clone(), peer.clone());
    // On the heap from the start: hyper and the runtime move a stream's future several times before its first poll.
    let service = service_fn(move |request| Box::pin(serve::serve(owner.clone(), of.clone(), request)));
    let io = Timed::new(io, peer.activity.clone());
    let mut connection = corked(io, &thread.spare, |io| http.serve_connection(TokioIo::new(io), service));
    let thread = thread.clone();
    Box::pin(async move {
        let pinned = Pin::new(&mut connection);
        let end = drive(
            &thread,
            &peer.activity,
            pinned,
            |mut corked| corked.connection.as_mut().graceful_shutdown(),
            false,
        );
        // What it cannot read, HTTP/2 answers by resetting the stream: there is nobody who could read more.
        let cut = match end.await {
            End::Over(Err(error)) => fault(&error),
            End::Stuck(cut) => Some(cut),
            End::Over(Ok(())) | End::Rests | End::Gone => None,
        };
        if let Some(cut) = cut {
            thread.shared.cuts.count(cut, peer.address);
        }
    })
}

fn builder(limits: &Limits, streams: Streams) -> Builder<Streams> {
    let mut http = Builder::new(streams);
    http.timer(TokioTimer::new())
        // WebSockets over HTTP/2 (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(limits.h2_streams_max)
        // From this, h2 also computes how many CONTINUATION frames a head may have.
        .max_header_list_size(u32::try_from(limits.header_bytes_max * SLACK).unwrap_or(u32::MAX))
        .max_send_buf_size(limits.h2_send_buffer_bytes_max)
        .initial_stream_window_size(limits.h2_stream_window_bytes)
        .initial_connection_window_size(limits.h2_connection_window_bytes)
        .max_pending_accept_reset_streams(limits.h2_resets_max)
        .max_local_error_reset_streams(limits.h2_resets_max)
        // A peer that vanished without a word answers no ping.
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.header_timeout);
    http
}

/// Did we end this connection because of what its client sent?
fn fault(error: &hyper::Error) -> Option<Cut> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return match h2.reason() {
                Some(h2::Reason::ENHANCE_YOUR_CALM) => Some(Cut::Flood),
                Some(reason) if h2.is_library() && reason != h2::Reason::NO_ERROR => Some(Cut::Protocol),
                _ => None,
            };
        }
        source = cause.source();
    }
    None
}
