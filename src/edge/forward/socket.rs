//! A worker's socket in two halves, Unix or TCP, because a worker may begin its answer while the request's body is
//! still on its way. It must never know what the bytes mean.

mod unix;

use std::{
    io,
    mem::MaybeUninit,
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp},
};

use crate::backend::Address;

use self::unix::{UnixReader, UnixWriter};

/// What is read from.
#[derive(Debug)]
pub(super) enum Reader {
    Unix(UnixReader),
    Tcp(tcp::OwnedReadHalf),
}

/// What is written to. Dropped, it says that nothing more comes.
#[derive(Debug)]
pub(super) enum Writer {
    Unix(UnixWriter),
    Tcp(tcp::OwnedWriteHalf),
}

/// Call the same method on whichever socket it is.
macro_rules! either {
    ($this:expr, $socket:ident => $call:expr) => {
        match $this {
            Self::Unix($socket) => $call,
            Self::Tcp($socket) => $call,
        }
    };
}

/// Connect. Cancel safe: a half-made connection is closed.
pub(super) async fn connect(address: &Address) -> io::Result<(Reader, Writer)> {
    match address {
        Address::Unix(socket) => {
            let (reader, writer) = unix::halves(socket.connect().await?.into_std()?)?;
            Ok((Reader::Unix(reader), Writer::Unix(writer)))
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            Ok((Reader::Tcp(reader), Writer::Tcp(writer)))
        }
    }
}

impl Reader {
    /// Has nothing come that nobody asked for, not even the end? Costs a system call only after an event.
    pub(super) fn is_silent(&self) -> bool {
        let outcome = either!(self, socket => socket.try_read(&mut [0; 1]));
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same, by asking the kernel, which knows it before any event does.
    pub(super) fn is_silent_now(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let outcome = match self {
            Self::Unix(socket) => socket.socket().peek(&mut byte),
            Self::Tcp(socket) => SockRef::from(socket.as_ref()).peek(&mut byte),
        };
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Writer {
    /// Nothing more comes, and that is not to be said: the connection ends with its reader.
    pub(super) fn leave(self) {
        match self {
            Self::Unix(socket) => socket.leave(),
            Self::Tcp(socket) => socket.forget(),
        }
    }

    /// Cut the connection both ways: whoever reads from it sees its end.
    pub(super) fn cut(&self) {
        let outcome = match self {
            Self::Unix(socket) => socket.socket().shutdown(Shutdown::Both),
            Self::Tcp(socket) => SockRef::from(socket.as_ref()).shutdown(Shutdown::Both),
        };
        // It is closed already otherwise.
        drop(outcome);
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), socket => Pin::new(socket).poll_shutdown(cx))
    }
}

/// A worker's side of a connection that speaks another protocol now.
#[derive(Debug)]
pub(crate) struct Switched {
    reader: Reader,
    writer: Writer,
    /// Came together with the answer's head.
    early: Bytes,
}

impl Switched {
    pub(super) fn new(reader: Reader, writer: Writer, early: Bytes) -> Self {
        Self { reader, writer, early }
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.reader).poll_read(cx, buf);
        }
        let count = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
