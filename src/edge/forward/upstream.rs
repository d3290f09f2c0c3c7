//! Connections to workers: a small stock of idle ones per thread and worker, newest first, closed before Node's
//! own keep-alive ends them. No lock, no other core; it must never hand out a connection whose last answer has
//! not passed whole.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{
    backend::{Address, WorkerLease},
    shutdown::Shutdown,
};

use super::super::body::RequestBody;

/// Headers of an answer: what Node itself would send without a change of its own limits, several times over.
const ANSWER_HEADERS_MAX: usize = 256;

/// One thread's idle connections by worker.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    until: Instant,
}

/// One connection to one worker.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    worker: Rc<str>,
    read_bytes: Arc<AtomicU64>,
}

impl Upstreams {
    /// The idle connection used last, which is the least likely to have been closed meanwhile.
    pub(super) fn take(&self, worker: u64) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let stock = idle.get_mut(&worker)?;
        let now = Instant::now();
        while let Some(last) = stock.last() {
            if last.until <= now || last.connection.sender.is_closed() {
                // The others are older still or will be found closed in their turn.
                stock.pop();
                continue;
            }
            // One that still drains its last request's body is not ready; an older one may be.
            let ready = stock.iter().rposition(|idle| idle.connection.sender.is_ready())?;
            let found = stock.remove(ready);
            return (found.until > now).then_some(found.connection);
        }
        None
    }

    /// Keep a connection for the next request.
    pub(super) fn give_back(&self, worker: u64, connection: Connection, keep: Duration, idle_max: usize) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let stock = idle.entry(worker).or_default();
        if stock.len() < idle_max {
            stock.push(Idle { connection, until: Instant::now() + keep });
        }
    }

    /// Close what has been idle for too long, and forget workers that are gone.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, stock| {
            stock.retain(|idle| idle.until > now && !idle.connection.sender.is_closed());
            !stock.is_empty()
        });
    }

    /// Close all of them: the drain waits for their tasks.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}

impl Connection {
    /// Connect and start its task. Cancel safe: a half-made connection is closed.
    pub(super) async fn open(lease: &WorkerLease, shutdown: &Shutdown) -> io::Result<Self> {
        let read_bytes = Arc::new(AtomicU64::new(0));
        let io = Stream { io: Socket::connect(lease.address()).await?, read_bytes: read_bytes.clone() };
        let mut http = http1::Builder::new();
        http.max_headers(ANSWER_HEADERS_MAX);
        let (sender, connection) = http.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        shutdown.spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                // Whoever waits on this connection gets the error too, and is the one to report it.
                tracing::trace!(%error, "connection to a worker ended");
            }
        });
        Ok(Self { sender, worker: lease.name().into(), read_bytes })
    }

    /// Send a request over it.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        self.sender.try_send_request(request)
    }

    /// Whose it is.
    pub(super) fn worker(&self) -> &Rc<str> {
        &self.worker
    }

    /// Bytes read so far: tells an answer that broke off from one that never began.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Relaxed)
    }
}

/// A socket that counts what it reads. Atomic only because upgrades want `Send`.
#[derive(Debug)]
struct Stream {
    io: Socket,
    read_bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }
}

/// Call the same method on whichever socket it is.
macro_rules! either {
    ($self:ident, $socket:ident => $call:expr) => {
        match &mut $self.get_mut().io {
            Socket::Unix($socket) => $call,
            Socket::Tcp($socket) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = self.get_mut();
        let outcome = match &mut this.io {
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
        };
        this.read_bytes.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        outcome
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}
