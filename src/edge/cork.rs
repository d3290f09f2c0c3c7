//! Collects what HTTP/2 writes while its connection is polled once, and sends it as one piece: h2 flushes after
//! each DATA frame, which over TLS is a record and a system call for every answer. It must never keep a byte
//! longer than that one poll, unless the peer does not take it.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One TLS record's worth (RFC 8446 5.1: 2^14 bytes); what is larger goes through in pieces of that size.
const BUFFER_BYTES: usize = 16 * 1024;

/// The writer's end: takes bytes and leaves flushing to [`Uncorking`].
#[derive(Debug)]
pub(crate) struct Cork<T>(Rc<RefCell<Held<T>>>);

/// A connection over a [`Cork`]: sends what was written after each poll.
#[derive(Debug)]
pub(crate) struct Uncorking<C, T> {
    pub(crate) connection: Pin<Box<C>>,
    held: Rc<RefCell<Held<T>>>,
}

#[derive(Debug)]
struct Held<T> {
    io: T,
    /// Not yet sent; given back when empty, so that an idle connection holds none.
    buffer: Vec<u8>,
    sent: usize,
    spare: Rc<Spare>,
}

/// One thread's buffers that no connection holds at the moment: one is polled at a time, so that most of the time one
/// buffer serves all.
#[derive(Debug, Default)]
pub(crate) struct Spare(RefCell<Vec<Vec<u8>>>);

/// Kept at most; more are needed only while clients do not take what they asked for.
const SPARE_MAX: usize = 4;

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_MAX && buffer.capacity() > 0 {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Put a cork on `io`, and build the connection over it.
pub(crate) fn corked<C, T>(io: T, spare: &Rc<Spare>, connect: impl FnOnce(Cork<T>) -> C) -> Uncorking<C, T> {
    let held = Held { io, buffer: Vec::new(), sent: 0, spare: spare.clone() };
    let held = Rc::new(RefCell::new(held));
    Uncorking { connection: Box::pin(connect(Cork(held.clone()))), held }
}

impl<T: AsyncWrite + Unpin> Held<T> {
    /// Send what is held.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.buffer.len() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.buffer[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.sent = 0;
        self.spare.give_back(std::mem::take(&mut self.buffer));
        Poll::Ready(Ok(()))
    }

    /// Take as much of `pieces` as fits, after making room if there is none.
    fn poll_take(&mut self, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= BUFFER_BYTES {
            ready!(self.poll_send(cx))?;
        }
        if self.buffer.capacity() == 0 {
            self.buffer = self.spare.take();
        }
        let before = self.buffer.len();
        for piece in pieces {
            let room = BUFFER_BYTES - self.buffer.len();
            self.buffer.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        Poll::Ready(Ok(self.buffer.len() - before))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done when the poll is: [`Uncorking`] flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.borrow_mut();
        ready!(held.poll_send(cx))?;
        Pin::new(&mut held.io).poll_shutdown(cx)
    }
}

impl<C, T> Future for Uncorking<C, T>
where
    C: Future<Output = hyper::Result<()>>,
    T: AsyncWrite + Unpin,
{
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.connection.as_mut().poll(cx);
        let held = &mut *self.held.borrow_mut();
        let flushed = match held.poll_send(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut held.io).poll_flush(cx),
            other => other,
        };
        match flushed {
            // Nobody is left to talk to.
            Poll::Ready(Err(_)) if outcome.is_pending() => Poll::Ready(Ok(())),
            _ => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_in_one_poll_leaves_as_one_piece_and_none_is_held_longer() {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let mut turns = 0;
        let mut corked = corked(ours, &Rc::default(), |mut cork| {
            poll_fn(move |cx| {
                turns += 1;
                for piece in [&b"one "[..], b"two "] {
                    assert!(matches!(Pin::new(&mut cork).poll_write(cx, piece), Poll::Ready(Ok(4))));
                    assert!(Pin::new(&mut cork).poll_flush(cx).is_ready());
                }
                if turns == 2 { Poll::Ready(Ok(())) } else { Poll::Pending }
            })
        });
        let poll = poll_fn(|cx| Poll::Ready(Pin::new(&mut corked).poll(cx))).await;
        assert!(poll.is_pending());
        let mut heard = [0; 32];
        assert_eq!(theirs.read(&mut heard).await.unwrap(), 8);
        assert_eq!(corked.held.borrow().buffer.capacity(), 0, "an idle connection holds a buffer");
        corked.await.unwrap();
        assert_eq!(theirs.read(&mut heard).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_writer_and_loses_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let sent: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let text = sent.clone();
        let connection = corked(ours, &Rc::default(), |mut cork| async move {
            cork.write_all(&text).await.unwrap();
            cork.shutdown().await.unwrap();
            Ok(())
        });
        let mut heard = Vec::new();
        let (outcome, read) = tokio::join!(connection, theirs.read_to_end(&mut heard));
        outcome.unwrap();
        assert_eq!((read.unwrap(), heard == sent), (100_000, true));
    }
}
