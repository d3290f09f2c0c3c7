//! HTTP/1.1: hyper reads and answers while there is something to do. Between requests the connection rests without
//! hyper, whose buffers would otherwise be most of what an idle one costs. It must never put a connection to rest
//! with a byte of a request or an answer still on its way.

use std::{convert::Infallible, pin::Pin, rc::Rc};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::http1::{Builder, UpgradeableConnection},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{error::Fault, metrics::CodeLabels};

use super::{
    super::{
        access_log,
        config::Limits,
        cuts::Cut,
        heads::{UNREADABLE, Watching},
        limits::SLACK,
        peer::Peer,
        recorded::Recorded,
        redirect::{self, Ports},
        refusal::Refusal,
        request_id::RequestId,
        serve,
        thread::Thread,
    },
    LAST_WORDS, Serving,
    drive::{End, drive, rest},
};

/// Smallest bound of hyper's buffers: below this, bodies pass in too small pieces.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// What hyper takes unless it is told otherwise, in lists on the stack. More it refuses by itself, which becomes our own
/// refusal on the way out.
const HYPERS_HEADERS_MAX: usize = 100;

/// How a connection's waking time ended.
enum Awake<T> {
    /// The connection is over; were there bytes that are no request?
    Over { unreadable: bool },
    /// It rests.
    Rests(Box<Watching<T>>),
    /// It is to be closed, with a word if there is one to say.
    Close(Box<Watching<T>>),
}

/// Serve HTTP/1.1 until the connection ends.
pub(super) fn over_http1<T>(thread: &Rc<Thread>, io: T, peer: Rc<Peer>, sends_on: Option<Ports>) -> Serving
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let id = thread.ids.fresh();
    // On the heap: a future keeps a place for every variable that what it holds has passed through.
    let io = Box::new(Watching::new(io, peer.activity.clone(), id.clone()));
    Box::pin(serve_all(thread.clone(), io, (peer, id), sends_on))
}

async fn serve_all<T>(
    thread: Rc<Thread>,
    mut io: Box<Watching<T>>,
    (peer, id): (Rc<Peer>, RequestId),
    sends_on: Option<Ports>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unreadable = loop {
        match Box::pin(awake(&thread, io, peer.clone(), sends_on)).await {
            Awake::Over { unreadable } => break unreadable,
            Awake::Close(io) => {
                Box::pin(close(io)).await;
                break false;
            }
            Awake::Rests(resting) => io = resting,
        }
        let begun = rest(&thread, &peer.activity, |cx| io.poll_first(cx)).await;
        if !matches!(begun, Some(Ok(true))) {
            Box::pin(close(io)).await;
            break false;
        }
    };
    if let Some(refusal) = peer.activity.heads.refusal().or(unreadable.then_some(UNREADABLE)) {
        let labels = CodeLabels { code: refusal.code() };
        thread.shared.metrics.refusals_total.get_or_create(&labels).inc();
        access_log::unreadable(&thread, &peer, &id, &refusal);
    }
}

/// Let hyper have the connection until it ends or there is nothing to do.
async fn awake<T>(
    thread: &Rc<Thread>,
    io: Box<Watching<T>>,
    peer: Rc<Peer>,
    sends_on: Option<Ports>,
) -> Awake<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = builder(&thread.shared.settings.load().limits);
    let activity = peer.activity.clone();
    let client = peer.address;
    let service = service_fn(move |request| answer(thread.clone(), peer.clone(), request, sends_on));
    let mut connection = http.serve_connection(TokioIo::new(io), service).with_upgrades();
    let pinned = Pin::new(&mut connection);
    let end = drive(thread, &activity, pinned, |connection| connection.graceful_shutdown(), true).await;
    if let End::Stuck(cut) = &end {
        thread.shared.cuts.count(*cut, client);
    }
    match end {
        End::Over(outcome) => Awake::Over { unreadable: outcome.is_err_and(|error| error.is_parse()) },
        End::Rests => match parts(connection) {
            // What hyper has read and nobody has asked for cannot be given to another hyper.
            Some((io, true)) => Awake::Rests(io),
            Some((io, false)) => Awake::Close(io),
            None => Awake::Over { unreadable: false },
        },
        End::Stuck(Cut::HeadersSlow) => match parts(connection) {
            Some((mut io, _)) => {
                io.refuse(&Refusal::HeadersSlow);
                Awake::Close(io)
            }
            None => Awake::Over { unreadable: false },
        },
        End::Stuck(_) => {
            // Its answers end for this reason.
            thread.turns.cut(true);
            drop(connection);
            thread.turns.cut(false);
            Awake::Over { unreadable: false }
        }
        End::Gone => Awake::Over { unreadable: false },
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut http = Builder::new();
    // Idle and slow connections are ended by `drive`, so hyper needs no timer of its own.
    http.max_buf_size((limits.header_bytes_max * SLACK).max(BUFFER_BYTES_MIN));
    // Told how many, hyper makes two lists of that length for every head, and fills them.
    if limits.headers_max > HYPERS_HEADERS_MAX {
        http.max_headers(limits.headers_max * SLACK);
    }
    http
}

/// The io without hyper, and whether hyper had nothing of it; `None` after an upgrade.
fn parts<T, S>(
    connection: UpgradeableConnection<TokioIo<Box<Watching<T>>>, S>,
) -> Option<(Box<Watching<T>>, bool)>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = Recorded, Error = Infallible>,
{
    let parts = connection.into_parts()?;
    Some((parts.io.into_inner(), parts.read_buf.is_empty()))
}

/// Say what is left to say, and goodbye.
async fn close<T>(mut io: Box<Watching<T>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // Not every client takes it.
    drop(tokio::time::timeout(LAST_WORDS, io.shutdown()).await);
}

async fn answer(
    thread: Rc<Thread>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
    sends_on: Option<Ports>,
) -> Result<Response<Recorded>, Infallible> {
    let mut answer = match sends_on {
        None => serve::serve(thread.clone(), peer, request).await?,
        Some(ports) => redirect::serve(&thread, &peer, request, ports),
    };
    // The last answer says that it is the last: a client that is not told sends its next request into the close.
    if thread.drain.has_begun() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}
