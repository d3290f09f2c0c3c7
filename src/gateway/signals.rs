//! The signals that a gateway obeys. Held back while one program becomes the next: before the new one listens for them,
//! each would end the process. It must never lose one that says stop.

use std::io;

use futures_util::FutureExt;
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

/// The signals, as they come.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    swap: tokio::signal::unix::Signal,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR2, as nginx has it.
    Swap,
}

impl Signals {
    /// Listen for them, and let through those that were held back. Before any thread is started, which would hold
    /// them back too.
    pub(super) fn new() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            swap: signal(SignalKind::user_defined2())?,
        };
        ours().thread_unblock()?;
        Ok(signals)
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Said {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Said::Stop,
            _ = self.interrupt.recv() => Said::Stop,
            _ = self.hang_up.recv() => Said::Reload,
            _ = self.swap.recv() => Said::Swap,
        }
    }

    /// Resolves when the gateway shall stop. Cancel safe.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Resolves when a person does not want to wait: Ctrl-C once more. Cancel safe.
    pub(super) async fn impatience(&mut self) {
        self.interrupt.recv().await;
    }

    /// Hold all back for the program that comes next. True when one that says stop had come before.
    pub(super) async fn hold_back(&mut self) -> io::Result<bool> {
        ours().thread_block()?;
        // What the handler has noted already reaches us with the runtime's next look.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        Ok(self.stop().now_or_never().is_some())
    }

    /// There is no program that comes next.
    pub(super) fn let_through() -> io::Result<()> {
        Ok(ours().thread_unblock()?)
    }
}

fn ours() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2])
}
