//! The assembly: builds every room, binds, announces the addresses, runs, and drains in order. It holds no
//! behaviour of its own: what happens to a request, a worker or a connection is decided in the rooms.

mod defaults;
mod error;
mod places;
mod reload;
mod rooms;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

pub(crate) use self::{
    defaults::{certificate_files, tenant_defaults},
    error::GatewayError,
};
use self::{
    reload::Reloader,
    rooms::{Rooms, Runtimes},
};
use crate::{
    config::{Flags, Loaded},
    shutdown::Shutdown,
    telemetry,
};

/// Orders to reload that may wait; a second one behind them would load the same files.
const RELOADS_WAITING_MAX: usize = 4;

/// Run a gateway until SIGTERM or SIGINT, then drain it.
///
/// The calling thread must be the process's main thread: workers die with the thread that started them, and
/// that one lives as long as the process.
pub(crate) fn run(loaded: Loaded, flags: Flags) -> Result<(), GatewayError> {
    let main = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let data = tokio::runtime::Builder::new_multi_thread().thread_name("data").enable_all().build()?;
    let runtimes = Runtimes { data: data.handle().clone() };
    let outcome = main.block_on(live(loaded, flags, &runtimes));
    // Everything was drained or given up on: a stuck statement must not hold the exit.
    data.shutdown_background();
    main.shutdown_background();
    outcome
}

/// One life: build, announce, serve, drain.
async fn live(loaded: Loaded, flags: Flags, runtimes: &Runtimes) -> Result<(), GatewayError> {
    telemetry::start(&loaded.config.log);
    let grace = loaded.config.shutdown_grace;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (orders, mut reloads) = mpsc::channel(RELOADS_WAITING_MAX);
    let rooms = Rooms::build(loaded, runtimes, orders).await?;
    rooms.announce();
    let reloader = Reloader::new(flags);
    loop {
        let order = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => None,
            Some(order) = reloads.recv() => Some(order),
        };
        // A rolling reload takes as long as its workers; the end does not wait for it.
        tokio::select! {
            () = reloader.carry_out(&rooms, order) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!(grace_s = grace.as_secs(), "stopping: no new connections, draining");
    tokio::select! {
        () = rooms.drain(grace) => tracing::info!("stopped"),
        // A second Ctrl-C is a person who does not want to wait.
        _ = interrupt.recv() => tracing::warn!("stopped without draining"),
    }
    Ok(())
}

/// Separate lives, ended one after the other: requests first, what they stand on last.
#[derive(Debug, Default)]
struct Lives {
    edge: Shutdown,
    backends: Shutdown,
    doors: Shutdown,
    pools: Shutdown,
}
