//! What systemd is told (sd_notify(3)): ready, reloading, stopping, that the edge lives, and which listeners to keep
//! for the next start. Without systemd nothing is told to nobody. It must never fail the gateway.

use std::{
    env, io,
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use sd_notify::NotifyState;

use crate::edge::Edge;

/// What is awaited once more each time. No more than the watchdog's limit, which systemd extends with it.
const LASTING_USEC: u32 = 30_000_000;

/// A third of it, so that two may be late.
const LASTING_INTERVAL: Duration = Duration::from_secs(10);

/// Serving, or serving again.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Not to be disturbed; [`ready`] ends it.
pub(super) fn reloading(status: &str) {
    // systemd wants the moment with it, to tell this reload from the one before (systemd.service(5), notify-reload).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status(status)]),
        Err(error) => tracing::warn!(%error, "no clock to tell systemd of"),
    }
}

/// What was announced lasts: systemd waits on, whatever TimeoutStartSec says, for as long as it hears of it. Never ends.
pub(super) async fn lasting() {
    loop {
        remind(&NotifyState::ExtendTimeoutUsec(LASTING_USEC));
        tokio::time::sleep(LASTING_INTERVAL).await;
    }
}

/// Draining, for good.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Let systemd keep our listeners over a restart: their queues stay open meanwhile. Those of a socket unit it keeps
/// anyway, and those that it has already it knows.
pub(super) fn keep(edge: &Edge) {
    edge.each_listener(|bound| {
        if !bound.is_ours() {
            return;
        }
        let name = bound.name();
        for listener in bound.sockets() {
            let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
            told(sd_notify::notify_with_fds(&states, &[listener.as_fd()]));
        }
    });
}

/// Listeners that are listed no longer need not be kept.
pub(super) fn forget(names: &[String]) {
    for name in names {
        tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }
}

/// Tell systemd's watchdog that we live, for as long as every edge thread does. Never ends.
pub(super) async fn watchdog(edge: &Edge) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // One late look is no death: the next still comes in time.
    let every = (limit / 3).max(Duration::from_millis(200));
    loop {
        match edge.threads_stuck() {
            0 => remind(&NotifyState::Watchdog),
            stuck => tracing::error!(stuck, "edge threads hang: the watchdog is not fed"),
        }
        tokio::time::sleep(every).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    told(sd_notify::notify(states));
}

/// What is told again and again waits for nobody: a systemd that does not read at the moment has others of it to read, and
/// the workers are not to wait with it.
fn remind(state: &NotifyState<'_>) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        // An `@` stands for the zero byte of an abstract name (sd_notify(3)).
        let address = match path.as_encoded_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        socket.send_to_addr(format!("{state}\n").as_bytes(), &address)
    });
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        outcome => told(outcome.map(drop)),
    }
}

fn told(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "systemd could not be told");
    }
}
