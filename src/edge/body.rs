//! Bodies on their way through: an enum where a box would do, each with its limit, its idle timeout and its
//! count. They stream; nothing here ever collects one.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use http::{header, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    access_log::Record,
    compress::Compressed,
    forward::{Broken, Flight},
    names,
    patience::Patience,
    site::FileBody,
    terms::Terms,
};

/// How long the rest of a body that nobody wants is read.
const LINGER: Duration = Duration::from_secs(2);

/// Why a body broke off. The peer sees a cut connection; the reason stands in our record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client's bytes ended early or made no sense.
    #[error(transparent)]
    Client(#[from] hyper::Error),
    /// The worker's did.
    #[error(transparent)]
    Worker(Broken),
    /// No progress for too long.
    #[error("the body made no progress")]
    Stalled,
    /// More than `limits.body_bytes_max`.
    #[error("the body is too large")]
    TooLarge,
    /// A file that could not be read to its end, or a compressor that failed.
    #[error(transparent)]
    Ours(std::io::Error),
}

/// How far a request's body has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Upload {
    /// There is none, or nobody has asked for it yet.
    #[default]
    NotBegun,
    /// Under way.
    Running,
    /// All passed on.
    Done(Instant),
    /// Cut: too large.
    TooLarge,
    /// Cut: the client stopped sending.
    Stalled,
    /// Cut: the client's bytes broke off.
    Broken,
}

/// A request's body on its way to a worker.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// None, and so the request can be sent again.
    Empty,
    /// The client's.
    Client(ClientBody),
}

/// A client's body with its limits. Dropped before its end, the rest is read and thrown away for a moment: a
/// client that is still sending when we close gets a reset instead of its answer.
#[derive(Debug)]
pub(crate) struct ClientBody {
    /// Present until the drop.
    incoming: Option<Incoming>,
    bytes_max: u64,
    left_bytes: u64,
    patience: Patience,
    /// Who waits for `100 Continue` sends nothing before it.
    expects: bool,
    /// Counted and checked already, but no worker took it.
    unread: Option<Bytes>,
    record: Rc<Record>,
}

/// An answer's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// None.
    Empty,
    /// Our own words.
    Full(Option<Bytes>),
    /// A worker's.
    Worker(WorkerBody),
    /// A site's file.
    File(FileBody),
    /// Any of these, made smaller on its way.
    Compressed(Box<Compressed<Body>>),
}

/// A worker's body and everything that is held until it has passed.
#[derive(Debug)]
pub(crate) struct WorkerBody {
    idle: Duration,
    /// Present until its end.
    flight: Option<Flight>,
}

/// Next frame, or an error when none comes in time.
fn next(
    incoming: &mut Incoming,
    patience: &mut Patience,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    match Pin::new(incoming).poll_frame(cx) {
        Poll::Pending if patience.is_over(cx) => Poll::Ready(Some(Err(BodyError::Stalled))),
        Poll::Pending => Poll::Pending,
        Poll::Ready(frame) => {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            patience.got(data.map_or(0, |data| data.remaining() as u64));
            Poll::Ready(frame.map(|frame| Ok(without_ours(frame?))))
        }
    }
}

/// Trailers must no more than headers speak in our name.
fn without_ours(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            names::strip_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl RequestBody {
    /// A request's body under the limits of the configuration.
    pub(crate) fn new(incoming: Incoming, head: &Parts, terms: &Terms, record: &Rc<Record>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Client(ClientBody {
            incoming: Some(incoming),
            bytes_max: terms.body_bytes_max,
            left_bytes: terms.body_bytes_max,
            patience: Patience::new(terms.body_idle_timeout, terms.body_bytes_per_second_min),
            expects: head.headers.contains_key(header::EXPECT),
            unread: None,
            record: record.clone(),
        })
    }

    /// Take back what `poll_frame` gave last: it reached nobody.
    pub(crate) fn unread(&mut self, data: Bytes) {
        if let Self::Client(body) = self {
            body.unread = Some(data);
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) else {
            return;
        };
        let asked_for = !self.expects || self.record.uploaded() != Upload::NotBegun;
        // HTTP/2 resets the one stream; HTTP/1 would have to close the connection in the sender's face.
        if asked_for && self.record.is_http1() {
            self.record.thread().shared.shutdown.spawn_local(linger(incoming, self.bytes_max));
        }
    }
}

/// Read and throw away.
async fn linger(mut incoming: Incoming, mut left_bytes: u64) {
    let rest = async {
        while let Some(Ok(frame)) = incoming.frame().await {
            let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            let Some(left) = left_bytes.checked_sub(bytes) else { break };
            left_bytes = left;
        }
    };
    // Read to its end or not, the answer is out.
    drop(tokio::time::timeout(LINGER, rest).await);
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Client(body) = self.get_mut() else { return Poll::Ready(None) };
        if let Some(data) = body.unread.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        body.record.upload(Upload::Running);
        let Some(incoming) = &mut body.incoming else { return Poll::Ready(None) };
        let frame = ready!(next(incoming, &mut body.patience, cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                body.record.bytes_in(bytes);
                let Some(left) = body.left_bytes.checked_sub(bytes) else {
                    body.record.upload(Upload::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                };
                body.left_bytes = left;
                if incoming.is_end_stream() {
                    body.record.upload(Upload::Done(Instant::now()));
                }
            }
            Some(Err(BodyError::Stalled)) => body.record.upload(Upload::Stalled),
            Some(Err(_)) => body.record.upload(Upload::Broken),
            None => body.record.upload(Upload::Done(Instant::now())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => {
                body.unread.is_none() && body.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Client(body) = self else { return SizeHint::with_exact(0) };
        let rest = body.incoming.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint);
        let unread = body.unread.as_ref().map_or(0, |data| data.len() as u64);
        rest.exact().map_or(rest, |rest| SizeHint::with_exact(rest + unread))
    }
}

impl WorkerBody {
    /// A worker's body that must not pause for longer than `idle`; `flight` is released at its end.
    pub(crate) fn new(idle: Duration, flight: Flight) -> Self {
        let mut body = Self { idle, flight: Some(flight) };
        body.release_at_end();
        body
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(flight) = &mut self.flight else { return Poll::Ready(None) };
        let frame = ready!(flight.poll_frame(cx, self.idle));
        Poll::Ready(match frame {
            Some(Err(broken)) => {
                // Dropped without completing, the connection to the worker is closed with it.
                self.flight = None;
                Some(Err(if matches!(broken, Broken::Stalled) {
                    BodyError::Stalled
                } else {
                    BodyError::Worker(broken)
                }))
            }
            frame => {
                self.release_at_end();
                frame.and_then(Result::ok).map(|frame| Ok(without_ours(frame)))
            }
        })
    }

    /// At the end, not at the drop: hyper drops a body only after the client has taken the last byte.
    fn release_at_end(&mut self) {
        if let Some(flight) = self.flight.take_if(|flight| flight.is_done()) {
            flight.complete();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(body) => {
                let piece = ready!(body.poll_piece(cx));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(BodyError::Ours)))
            }
            Self::Compressed(body) => body.poll_frame(cx),
            Self::Worker(body) => body.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::File(body) => body.left_bytes() == 0,
            Self::Compressed(body) => body.is_over(),
            Self::Worker(body) => body.flight.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::File(body) => SizeHint::with_exact(body.left_bytes()),
            Self::Compressed(_) => SizeHint::default(),
            Self::Worker(body) => {
                body.flight.as_ref().map_or_else(|| SizeHint::with_exact(0), Flight::size_hint)
            }
        }
    }
}
