//! HTTP/2's heads as they come in. h2 gives no sign of one that begins and never ends, so the head of each frame is
//! read as it passes, and a head that is waited for is noted for the connection's timer. It must never keep, copy or
//! change what passes, nor judge it: that is h2's.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::activity::Activity;

/// What every client says first (RFC 9113 3.4), waited for like a head.
const PREFACE_BYTES: usize = 24;

/// Three bytes of length, a type, flags, four of the stream (RFC 9113 4.1).
const FRAME_HEAD_BYTES: usize = 9;
const KIND_AT: usize = 3;
const FLAGS_AT: usize = 4;

/// Types of the frames that a head is made of, and the flag of its last one (RFC 9113 6.2, 6.10).
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Where in a client's frames we are.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Of the preface or of a frame's payload, still to come.
    left: usize,
    /// Of a frame's head, what has come.
    head: [u8; FRAME_HEAD_BYTES],
    have: usize,
    /// A head has begun and is not over.
    open: bool,
    /// It is over with this frame.
    last: bool,
}

impl Blocks {
    /// Before a client's first byte.
    pub(super) fn new() -> Self {
        Self { left: PREFACE_BYTES, head: [0; FRAME_HEAD_BYTES], have: 0, open: true, last: true }
    }

    /// Read on. Is a head over in these bytes?
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut over = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                bytes = &bytes[count..];
                self.left -= count;
            } else {
                let count = (FRAME_HEAD_BYTES - self.have).min(bytes.len());
                self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                self.have += count;
                if self.have < FRAME_HEAD_BYTES {
                    break;
                }
                self.begin_payload();
            }
            if self.left == 0 && self.open && self.last {
                self.open = false;
                over = true;
            }
        }
        over
    }

    fn begin_payload(&mut self) {
        self.have = 0;
        let [high, middle, low, ..] = self.head;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if self.is_of_a_head() {
            self.open = true;
            self.last = self.head[FLAGS_AT] & END_HEADERS != 0;
        }
    }

    fn is_of_a_head(&self) -> bool {
        matches!(self.head[KIND_AT], HEADERS | CONTINUATION)
    }

    /// Do the bytes end within a head? Not within other frames: uploads have times of their own, and the rest is idle.
    pub(super) fn is_within(&self) -> bool {
        self.open || self.have > KIND_AT && self.is_of_a_head()
    }
}

/// A connection's io whose heads are timed. Waiting counts alone: what has come and is not read yet is no fault of the
/// client's.
#[derive(Debug)]
pub(super) struct Timed<T> {
    io: T,
    blocks: Blocks,
    activity: Arc<Activity>,
}

impl<T> Timed<T> {
    /// Time the heads on this io, which has said nothing yet.
    pub(super) fn new(io: T, activity: Arc<Activity>) -> Self {
        Self { io, blocks: Blocks::new(), activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        match outcome {
            // The clock is read for those alone that come in pieces.
            Poll::Pending if self.blocks.is_within() => self.activity.head_is_awaited(),
            Poll::Pending => {}
            // One is over: what may have begun after it has a time of its own.
            Poll::Ready(_) => {
                if self.blocks.read(&buf.filled()[before..]) {
                    self.activity.head_has_come();
                }
            }
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
