//! A Unix socket to a worker, in two halves. The runtime's own one is told whenever the worker has read something,
//! which over Unix sockets is with every request: a wake-up for nothing. This one asks for what can be read, and for
//! room to write only once there was none.

use std::{
    io::{self, IoSlice, Write},
    net::Shutdown,
    os::{fd::AsRawFd, unix::net::UnixStream},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// The half that reads.
#[derive(Debug)]
pub(in super::super) struct UnixReader(AsyncFd<Arc<UnixStream>>);

/// The half that writes. Dropped, it says that nothing more comes.
#[derive(Debug)]
pub(in super::super) struct UnixWriter {
    stream: Arc<UnixStream>,
    /// The same socket by another number, since one number can be asked about once.
    room: Option<AsyncFd<UnixStream>>,
    /// Nothing is said when it is dropped.
    silent: bool,
}

/// The two halves of a connection, which does not block.
pub(in super::super) fn halves(stream: UnixStream) -> io::Result<(UnixReader, UnixWriter)> {
    let stream = Arc::new(stream);
    let reader = watch(stream.clone(), Interest::READABLE)?;
    Ok((UnixReader(reader), UnixWriter { stream, room: None, silent: false }))
}

#[expect(
    unsafe_code,
    reason = "the runtime's safe sockets always ask for both, which is what this file is there to avoid"
)]
fn watch<T: AsRawFd + Socket>(stream: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: only what owns a stream is a `Socket`, and it has one number as long as it lives, which is as long as
    // the `AsyncFd`: nothing here takes it out again.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(Into::into)
}

/// Owns a stream, or a share of one.
trait Socket {}

impl Socket for UnixStream {}
impl Socket for Arc<UnixStream> {}

impl UnixReader {
    /// Its socket.
    pub(in super::super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&**self.0.get_ref())
    }

    /// What is there, without waiting, and without a system call unless something happened.
    pub(in super::super) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_io(Interest::READABLE, |stream| io::Read::read(&mut &**stream, into))
    }
}

impl AsyncRead for UnixReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut event = ready!(self.0.poll_read_ready(cx))?;
            let room = buf.remaining();
            match receive(self.0.get_ref(), buf) {
                Ok(count) => {
                    // What did not fill the room has emptied the socket; its end is remembered apart (epoll(7), 9).
                    if 0 < count && count < room {
                        event.clear_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => event.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the standard library cannot yet read into memory that is not set; setting it first costs"
)]
fn receive(stream: &UnixStream, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: `recv` only writes there.
    let room = unsafe { buf.unfilled_mut() };
    let count = SockRef::from(stream).recv(room)?;
    // SAFETY: the kernel has set so many bytes.
    unsafe { buf.assume_init(count) };
    buf.advance(count);
    Ok(count)
}

impl UnixWriter {
    /// Its socket.
    pub(in super::super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&*self.stream)
    }

    /// Nothing more comes, and that is not to be said.
    pub(in super::super) fn leave(mut self) {
        self.silent = true;
    }

    /// Write at once, or when there is room.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match write(&mut &*self.stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
        let room = match &mut self.room {
            Some(room) => room,
            none => none.insert(watch(self.stream.try_clone()?, Interest::WRITABLE)?),
        };
        loop {
            let mut event = ready!(room.poll_write_ready(cx))?;
            if let Ok(outcome) = event.try_io(|stream| write(&mut stream.get_ref())) {
                return Poll::Ready(outcome);
            }
        }
    }
}

impl AsyncWrite for UnixWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

impl Drop for UnixWriter {
    fn drop(&mut self) {
        if !self.silent {
            // It is closed already otherwise.
            drop(self.stream.shutdown(Shutdown::Write));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (UnixReader, UnixWriter, tokio::net::UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).unwrap();
        }
        let (reader, writer) = halves(ours).unwrap();
        (reader, writer, tokio::net::UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn more_than_fits_waits_for_room_and_arrives_whole() {
        let (mut reader, mut writer, mut theirs) = pair();
        // 4 MB: many times what a socket holds (212,992 bytes).
        let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            assert!(writer.room.is_some(), "it never had to wait");
            writer.shutdown().await.unwrap();
        };
        let echo = async {
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            theirs.write_all(&heard).await.unwrap();
            drop(theirs);
        };
        let read = async {
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let ((), (), heard) = tokio::join!(write, echo, read);
        assert!(heard == sent);
    }

    #[tokio::test]
    async fn an_end_that_came_with_the_last_bytes_is_not_missed() {
        let (mut reader, _writer, mut theirs) = pair();
        theirs.write_all(b"bye").await.unwrap();
        drop(theirs);
        let mut room = [0; 64];
        assert_eq!(reader.read(&mut room).await.unwrap(), 3);
        assert_eq!(reader.read(&mut room).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_dropped_writer_says_so_and_one_that_leaves_does_not() {
        let (_reader, writer, mut theirs) = pair();
        drop(writer);
        assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
        let (_reader, writer, theirs) = pair();
        writer.leave();
        let outcome = theirs.try_read(&mut [0; 8]);
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
