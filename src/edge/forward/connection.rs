//! One connection to one worker, driven by the request that uses it: no task of its own, and so no hop between
//! tasks. It must never be used again unless its last answer ended exactly where it said.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;

use crate::backend::WorkerLease;

use super::{
    framing::{Framing, Malformed, Step},
    head::{self, Asked, Head},
    sending::{Cut, Sending},
    socket::{self, Reader, Switched, Writer},
};

/// What is read at once: a head and a small body come in one piece.
const READ_BYTES_MIN: usize = 8 * 1024;
/// And of bodies that fill that: a few TLS records' worth.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Room below which the buffer is made anew.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// The buffer for heads on their way out is kept up to here.
const SPACE_BYTES_MAX: usize = 8 * 1024;

/// A worker has this much of its own patience taken off: what it sees of us comes later than we sent it.
const SAFETY_MAX: Duration = Duration::from_secs(1);

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection ended before the answer did.
    #[error("it hung up")]
    HungUp,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The answer's head is longer than `limits.answer_header_bytes_max`.
    #[error("its head is larger than `answer_header_bytes_max`")]
    HeadTooLarge,
    /// Nothing came for too long.
    #[error("its body made no progress")]
    Stalled,
}

/// One connection to one worker; boxed, because it goes from hand to hand.
#[derive(Debug)]
pub(super) struct Connection {
    worker: Rc<str>,
    reader: Reader,
    /// Gone when the answer came before the request's body had been passed on.
    writer: Option<Writer>,
    /// Read and not yet used.
    buffer: BytesMut,
    read_bytes: usize,
    /// A buffer for heads on their way out.
    space: Vec<u8>,
    framing: Framing,
    keep: bool,
    keep_for: Option<Duration>,
    /// Bytes of interim heads before this answer's.
    interim_bytes: usize,
    clock: Clock,
}

/// One timer for all that is waited for on a connection: moving it to later costs next to nothing.
#[derive(Debug)]
struct Clock {
    sleep: Pin<Box<Sleep>>,
    is_set: bool,
}

impl Clock {
    /// Called when nothing came: is it enough?
    fn is_over(&mut self, cx: &mut Context<'_>, patience: Duration) -> bool {
        if !self.is_set {
            self.set(patience);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    fn set(&mut self, patience: Duration) {
        self.sleep.as_mut().reset(Instant::now() + patience);
        self.is_set = true;
    }
}

impl Connection {
    /// Connect. Cancel safe: a half-made connection is closed.
    pub(super) async fn open(lease: &WorkerLease) -> io::Result<Box<Self>> {
        let (reader, writer) = socket::connect(lease.address()).await?;
        Ok(Box::new(Self {
            worker: lease.name().into(),
            reader,
            writer: Some(writer),
            buffer: BytesMut::with_capacity(READ_BYTES_MIN),
            read_bytes: READ_BYTES_MIN,
            space: Vec::new(),
            framing: Framing::Done,
            keep: true,
            keep_for: None,
            interim_bytes: 0,
            clock: Clock { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), is_set: false },
        }))
    }

    /// Whose it is.
    pub(super) fn worker(&self) -> &Rc<str> {
        &self.worker
    }

    /// May a request be sent over it? `careful`: one that must not be lost, for the price of a system call.
    pub(super) fn is_fit(&self, careful: bool) -> bool {
        self.reader.is_silent() && (!careful || self.reader.is_silent_now())
    }

    /// Can the next request have it, and for how long? Not if a byte came that belongs to no answer: it would be
    /// taken for the next one's.
    pub(super) fn rest(&mut self, keep_alive: Duration) -> Option<Duration> {
        let clean =
            self.keep && self.framing == Framing::Done && self.buffer.is_empty() && self.writer.is_some();
        let keep = match self.keep_for {
            Some(said) => keep_alive.min(said - SAFETY_MAX.min(said / 2)),
            None => keep_alive,
        };
        self.clock.is_set = false;
        clean.then_some(keep)
    }

    /// A request begins: nothing of the last one may be left. A buffer for its head.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        self.keep = false;
        self.interim_bytes = 0;
        self.clock.is_set = false;
        std::mem::take(&mut self.space)
    }

    /// Has a byte of an answer come?
    pub(super) fn has_begun_to_answer(&self) -> bool {
        self.interim_bytes > 0 || !self.buffer.is_empty()
    }

    /// Did the worker close its end of a Unix socket with bytes of ours unread? Linux says so then, and only then,
    /// by a reset (`unix_release_sock`); over TCP a reset may mean anything.
    pub(super) fn was_never_read(&self, broken: &Broken) -> bool {
        let reset = matches!(broken, Broken::Io(error) if error.kind() == io::ErrorKind::ConnectionReset);
        reset && matches!(self.reader, Reader::Unix(_))
    }

    /// Pass the request on.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, sending: &mut Sending) -> Poll<Result<(), Cut>> {
        match &mut self.writer {
            Some(writer) => sending.poll(cx, writer),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The answer's head.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        bytes_max: usize,
    ) -> Poll<Result<Head, Broken>> {
        loop {
            if !self.buffer.is_empty()
                && let Some(head) = head::parse(&mut self.buffer, asked, &mut self.interim_bytes)?
            {
                self.framing = head.framing;
                self.keep = head.keep;
                self.keep_for = head.keep_for;
                self.clock.is_set = false;
                return Poll::Ready(Ok(head));
            }
            if self.buffer.len() + self.interim_bytes >= bytes_max {
                return Poll::Ready(Err(Broken::HeadTooLarge));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(Broken::HungUp));
            }
        }
    }

    /// Is it enough of waiting? Asked after nothing came.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>, patience: Duration) -> bool {
        self.clock.is_over(cx, patience)
    }

    /// Wait on, for so long.
    pub(super) fn wait_on(&mut self, patience: Duration) {
        self.clock.set(patience);
    }

    /// The request has been passed on, or goes on by itself: then its writer is taken out.
    pub(super) fn sent(&mut self, sending: Sending, whole: bool) -> Option<(Sending, Writer)> {
        if whole && sending.refused().is_none() {
            let space = sending.into_space();
            if space.capacity() <= SPACE_BYTES_MAX {
                self.space = space;
            }
            return None;
        }
        // Whether all of it arrives or not, nobody can tell any more where the next request would begin.
        let writer = self.writer.take()?;
        if !whole {
            return Some((sending, writer));
        }
        writer.leave();
        None
    }

    /// The body's next piece, or an error when none comes for `idle`.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            match self.framing.next(&mut self.buffer) {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Step::Done) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) if self.framing.ends() => return Poll::Ready(None),
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(Err(Broken::HungUp))),
                Poll::Ready(Ok(_)) => self.clock.is_set = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Pending if self.clock.is_over(cx, idle) => {
                    return Poll::Ready(Some(Err(Broken::Stalled)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Has the body ended?
    pub(super) fn is_done(&self) -> bool {
        self.framing == Framing::Done
    }

    /// What is known of the rest of the body's size.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Done => SizeHint::with_exact(0),
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }

    /// Both sides speak another protocol now. `None` when the request is not through: then there is no other.
    pub(super) fn switch(self) -> Option<Switched> {
        Some(Switched::new(self.reader, self.writer?, self.buffer.freeze()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.buffer.capacity() - self.buffer.len();
        if room < ROOM_BYTES_MIN.max(self.read_bytes / 2) {
            self.buffer.reserve(self.read_bytes);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let count = ready!(poll_read_buf(Pin::new(&mut self.reader), cx, &mut self.buffer))?;
        // A body that fills what is read at once is a large one.
        self.read_bytes =
            if count == room { (self.read_bytes * 2).min(READ_BYTES_MAX) } else { READ_BYTES_MIN };
        Poll::Ready(Ok(count))
    }
}
