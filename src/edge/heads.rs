//! A client's HTTP/1 connection as hyper reads and writes it, and what hyper itself keeps from us: heads that say
//! two lengths, and answers to what it could not read. It must never change a byte of any other answer.

mod scan;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{activity::Activity, refusal::Refusal, request_id::RequestId, rescue};

use self::scan::Scan;

/// How long what follows an unreadable request is read and thrown away: closed at once, the client would get a
/// reset instead of its answer.
const LINGER: Duration = Duration::from_secs(2);

/// Most heads are shorter, and what is longer comes with the next read.
const FIRST_BYTES_MAX: usize = 2048;

/// hyper's own answers are shorter: a status line, a length, a date, `connection: close`.
const HYPERS_BYTES_MAX: usize = 256;

/// What is known of the heads of one connection. Only its own thread writes; atomics because its io must be `Send`.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// Complete in the bytes that came.
    complete: AtomicU64,
    /// The first with two lengths, from 1; 0 is none.
    ambiguous: AtomicU64,
    /// Handed to us by hyper.
    served: AtomicU64,
    /// The bytes end within a head, or made no sense.
    within: AtomicBool,
    /// The bytes end within a body.
    midway: AtomicBool,
    /// The connection speaks another protocol now.
    switched: AtomicBool,
    /// hyper's answer was replaced by this one.
    refused: AtomicBool,
    /// That one was: too large.
    too_large: AtomicBool,
    /// Or: too slow.
    too_slow: AtomicBool,
}

impl Heads {
    /// hyper hands us the next request.
    pub(super) fn serve(&self) {
        self.served.fetch_add(1, Relaxed);
    }

    /// Is the length of the request that came last, which has a transfer coding, beyond doubt?
    pub(crate) fn is_clear(&self) -> bool {
        let (number, ambiguous) = (self.served.load(Relaxed), self.ambiguous.load(Relaxed));
        let has_two = ambiguous != 0 && ambiguous == number;
        // Not counted is not understood.
        !has_two && self.complete.load(Relaxed) >= number
    }

    /// Did bytes come that may be a request and have not been handed to us as one?
    fn is_behind(&self) -> bool {
        self.within.load(Relaxed) || self.complete.load(Relaxed) > self.served.load(Relaxed)
    }

    /// Do the bytes end after one request and before the next?
    pub(super) fn is_between(&self) -> bool {
        let switched = self.switched.load(Relaxed) || self.refused.load(Relaxed);
        !switched && !self.is_behind() && !self.midway.load(Relaxed)
    }

    /// From here on it is no HTTP.
    pub(crate) fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    /// What the client was told about bytes that hyper could not read.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let refusal = match (self.too_large.load(Relaxed), self.too_slow.load(Relaxed)) {
            (_, true) => Refusal::HeadersSlow,
            (true, _) => Refusal::HeadersTooLarge,
            _ => UNREADABLE,
        };
        self.refused.load(Relaxed).then_some(refusal)
    }
}

/// For what is no HTTP request.
pub(crate) const UNREADABLE: Refusal = Refusal::Malformed("it is no HTTP request");

/// The io of an HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Watching<T> {
    io: T,
    activity: Arc<Activity>,
    scan: Scan,
    /// Names the answer to what cannot be read.
    id: RequestId,
    /// Our answer in the place of hyper's, what is left of it to write.
    own: Bytes,
    /// The first bytes of a request that came while hyper was not there.
    early: Bytes,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<T> Watching<T> {
    /// Watch this io; `id` is for the one request that may be none.
    pub(crate) fn new(io: T, activity: Arc<Activity>, id: RequestId) -> Self {
        Self { io, activity, scan: Scan::new(), id, own: Bytes::new(), early: Bytes::new(), linger: None }
    }

    fn note(&mut self, bytes: &[u8]) {
        let heads = &self.activity.heads;
        self.scan.read(bytes);
        heads.within.store(self.scan.is_within(), Relaxed);
        heads.midway.store(self.scan.is_midway(), Relaxed);
        heads.complete.store(self.scan.heads(), Relaxed);
        heads.ambiguous.store(self.scan.ambiguous().unwrap_or(0), Relaxed);
    }

    /// What is to be said before the connection is shut down.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        let heads = &self.activity.heads;
        heads.too_slow.store(*refusal == Refusal::HeadersSlow, Relaxed);
        heads.refused.store(true, Relaxed);
        self.own = Bytes::from(rescue::bytes(refusal, &self.id));
    }

    /// May these bytes be an answer that hyper makes by itself?
    fn is_suspicious(&self) -> bool {
        self.activity.heads.is_behind() && !self.activity.is_busy()
    }

    /// If hyper answered by itself, take its answer out of what is written and put ours there.
    fn replace(&mut self, bufs: &[&[u8]]) -> Option<usize> {
        let heads = &self.activity.heads;
        let last = bufs.iter().rev().find(|buf| !buf.is_empty())?;
        let hypers = &last[hypers_answer(last)?..];
        let too_large = !hypers.starts_with(b"HTTP/1.1 400");
        heads.too_large.store(too_large, Relaxed);
        heads.refused.store(true, Relaxed);
        let refusal = if too_large { Refusal::HeadersTooLarge } else { UNREADABLE };
        let written: usize = bufs.iter().map(|buf| buf.len()).sum();
        // The end of the answer before it, if that was still waiting.
        let mut own: Vec<u8> = bufs.concat();
        own.truncate(written - hypers.len());
        own.extend(rescue::bytes(&refusal, &self.id));
        self.own = Bytes::from(own);
        Some(written)
    }
}

/// Where the answer that hyper made by itself begins: it is the last, has no body, and no id.
fn hypers_answer(bytes: &[u8]) -> Option<usize> {
    let from = bytes.len().saturating_sub(HYPERS_BYTES_MAX);
    let tail = &bytes[from..];
    let at = memchr::memmem::rfind(tail, b"HTTP/1.1 4")?;
    let head = &tail[at..];
    let has = |words: &[u8]| memchr::memmem::find(head, words).is_some();
    let is_hypers = head.ends_with(b"\r\n\r\n") && has(b"content-length: 0\r\n") && !has(b"x-request-id");
    is_hypers.then_some(from + at)
}

impl<T: AsyncWrite + Unpin> Watching<T> {
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.own))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> Watching<T> {
    /// Take the first bytes of the next request, to be read again by hyper; false at the end.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut first = [0; FIRST_BYTES_MAX];
        let mut buf = ReadBuf::new(&mut first);
        ready!(Pin::new(&mut *self).poll_read(cx, &mut buf))?;
        self.early = Bytes::copy_from_slice(buf.filled());
        Poll::Ready(Ok(!self.early.is_empty()))
    }

    /// Resolves when the client has closed, too, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut waste = [0; 4096];
        while timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watching<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before && !self.activity.heads.switched.load(Relaxed) {
            self.note(&buf.filled()[before..]);
        }
        outcome
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watching<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_suspicious()
            && let Some(count) = self.replace(&[buf])
        {
            return Poll::Ready(Ok(count));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_suspicious() {
            let slices: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
            if let Some(count) = self.replace(&slices) {
                return Poll::Ready(Ok(count));
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if self.activity.heads.refused.load(Relaxed) {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
