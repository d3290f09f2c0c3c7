//! The listeners of the admin side, on a thread and runtime of their own: they answer even when the data plane
//! chokes. They must never be bound to anything that strangers can reach.

use std::{
    io,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, net::UnixListener as BlockingUnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use axum::{Router, body::Body, serve::Listener};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::Gid;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};
use tower::ServiceExt;

use super::{
    AdminError, Config, Parts, Peer,
    key::{Bond, Key},
    routes::{Guard, guarded_router, metrics_router},
    scratch,
};
use crate::{privileges, shutdown::Shutdown};

/// A caller that connects and says nothing is let go after this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's head must fit into it; bodies come and go in pieces of it.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Answers on their way out get this long when the admin side stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);

/// The admin side as it runs.
pub(crate) struct Admin {
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
    socket: PathBuf,
    metrics: Option<SocketAddr>,
}

impl Admin {
    /// Bind, and answer from a thread of its own. The state directory's lock must be held.
    pub(crate) fn start(config: &Config, runtime_dir: &Path, parts: Parts) -> Result<Self, AdminError> {
        let socket = config.socket_in(runtime_dir);
        let group = config.group.as_deref().map(group_id).transpose()?;
        let unlaid = |source| AdminError::Socket { path: socket.clone(), source };
        // Before anybody can come and find none.
        let key = Some(Key::lay(&socket, group).map_err(unlaid)?);
        let unix = bind_socket(&socket, group)?;
        let tcp = config.metrics_listen.map(bind_metrics).transpose()?;
        let metrics = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        scratch::sweep(&parts.scratch_dir());

        let (parts, shutdown) = (Arc::new(parts), Shutdown::new());
        let guard = Guard { group: config.group.clone(), key, life: shutdown.clone(), metrics };
        let routers = (guarded_router(parts.clone(), guard), metrics_router(parts));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("admin")
            .build()
            .map_err(AdminError::Thread)?;
        let (life, connections_max) = (shutdown.clone(), config.connections_max);
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                privileges::give_up();
                let listeners = Listeners { unix, tcp, routers, connections_max };
                if let Err(error) = runtime.block_on(listeners.serve(&life)) {
                    tracing::error!(%error, "the admin side ended early");
                }
            })
            .map_err(AdminError::Thread)?;
        Ok(Self { shutdown, thread: Some(thread), socket, metrics })
    }

    /// The socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where metrics are served over TCP.
    pub(crate) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Stop accepting, let answers out, remove the socket. Last of all rooms, so that `gateway status` sees the
    /// drain.
    pub(crate) async fn stop(mut self) {
        self.shutdown.begin();
        let thread = self.thread.take();
        // The thread ends within its grace by itself; joining it must not block this runtime meanwhile.
        let _joined = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.shutdown.begin();
        let _gone = std::fs::remove_file(&self.socket);
    }
}

fn group_id(name: &str) -> Result<Gid, AdminError> {
    let found = nix::unistd::Group::from_name(name).ok().flatten();
    found.map(|group| group.gid).ok_or_else(|| AdminError::NoGroup(name.to_owned()))
}

fn bind_socket(path: &Path, gid: Option<Gid>) -> Result<BlockingUnixListener, AdminError> {
    let unusable = |source: io::Error| AdminError::Socket { path: path.to_owned(), source };
    // The state directory's lock says that no other gateway lives: what is there was left by a crash.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let listener = BlockingUnixListener::bind(path).map_err(unusable)?;
    // Until here the mode is 0755 at most, and connecting needs the right to write: nobody slipped in.
    let mode = if gid.is_some() { 0o660 } else { 0o600 };
    if let Some(gid) = gid {
        nix::unistd::chown(path, None, Some(gid)).map_err(|errno| unusable(errno.into()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(unusable)?;
    listener.set_nonblocking(true).map_err(unusable)?;
    Ok(listener)
}

fn bind_metrics(address: SocketAddr) -> Result<std::net::TcpListener, AdminError> {
    if !address.ip().is_loopback() {
        return Err(AdminError::NotLoopback(address));
    }
    let listener = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| AdminError::Metrics { address, source })
}

struct Listeners {
    unix: BlockingUnixListener,
    tcp: Option<std::net::TcpListener>,
    routers: (Router, Router),
    connections_max: usize,
}

impl Listeners {
    async fn serve(self, shutdown: &Shutdown) -> io::Result<()> {
        let (orders, metrics) = self.routers;
        if let Some(tcp) = self.tcp {
            let tcp = TcpListener::from_std(tcp)?;
            let door = Accept { router: metrics, connections_max: self.connections_max, who: |_| None };
            let life = shutdown.clone();
            shutdown.spawn(async move { door.serve(tcp, &life).await });
        }
        let who = |stream: &UnixStream| Some((Peer::of(stream).ok()?, Bond::of(stream)));
        let door = Accept { router: orders, connections_max: self.connections_max, who };
        door.serve(UnixListener::from_std(self.unix)?, shutdown).await;
        shutdown.drained(STOP_GRACE).await;
        Ok(())
    }
}

/// Takes connections in, so many at a time.
pub(super) struct Accept<Io> {
    /// What answers.
    pub(super) router: Router,
    /// Open connections; further ones wait in the kernel's queue.
    pub(super) connections_max: usize,
    /// Who is at the other end, where the kernel knows.
    pub(super) who: fn(&Io) -> Option<(Peer, Bond)>,
}

impl<Io: Send + Unpin + 'static> Accept<Io> {
    /// Until the end begins. Its connections are tasks of `shutdown`.
    pub(super) async fn serve<L>(&self, mut listener: L, shutdown: &Shutdown)
    where
        L: Listener<Io = Io>,
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    {
        let permits = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let next = async {
                let permit = permits.clone().acquire_owned().await;
                (permit, listener.accept().await.0)
            };
            let (permit, stream) = tokio::select! {
                () = shutdown.begun() => return,
                next = next => next,
            };
            let (router, peer, life) = (self.router.clone(), (self.who)(&stream), shutdown.clone());
            shutdown.spawn(async move {
                let _permit = permit;
                connection(stream, router, peer, &life).await;
            });
        }
    }
}

async fn connection<Io>(stream: Io, router: Router, peer: Option<(Peer, Bond)>, shutdown: &Shutdown)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some((peer, bond)) = peer {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(bond);
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A command that was interrupted: nobody's fault.
        tracing::debug!(%error, "an admin connection broke off");
    }
}

#[cfg(test)]
mod tests;
