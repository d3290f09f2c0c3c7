//! The assembly: builds every room, binds, announces the addresses, runs, and drains in order. It holds no
//! behaviour of its own: what happens to a request, a worker or a connection is decided in the rooms.

mod defaults;
mod error;
mod life;
mod notify;
mod places;
mod reload;
mod rooms;
mod signals;
mod successor;

use crate::{
    backend,
    config::{self, Flags, Loaded, Past},
    edge::Inherited,
    privileges,
    shutdown::Shutdown,
    telemetry,
};

pub(crate) use self::{
    defaults::{certificate_files, tenant_defaults},
    error::GatewayError,
};
use self::{
    life::{Beginning, End, Life},
    reload::Reloader,
    rooms::Runtimes,
    signals::Signals,
    successor::Successor,
};

/// Run a gateway until SIGTERM or SIGINT, then drain it.
///
/// The calling thread must be the process's main thread: workers die with the thread that started them, and
/// that one lives as long as the process.
pub(crate) fn run(loaded: Loaded, flags: Flags) -> Result<(), GatewayError> {
    // This thread supervises, and so keeps what it may, with the one that starts others; those that it starts do not.
    backend::start_hands();
    let main = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(privileges::give_up)
        .build()?;
    let signals = main.block_on(async { Signals::new() })?;
    let data = tokio::runtime::Builder::new_multi_thread()
        .thread_name("data")
        .enable_all()
        .on_thread_start(privileges::give_up)
        .build()?;
    let runtimes = Runtimes { data: data.handle().clone() };
    let outcome = main.block_on(lives(loaded, flags, &runtimes, signals));
    // Everything was drained or given up on: a stuck statement must not hold the exit.
    data.shutdown_background();
    main.shutdown_background();
    telemetry::flush();
    outcome
}

/// One life after the other: each ends the process, or hands its listeners to the program that comes next. Only when
/// that cannot be become is there another life here.
async fn lives(
    mut loaded: Loaded,
    flags: Flags,
    runtimes: &Runtimes,
    mut signals: Signals,
) -> Result<(), GatewayError> {
    telemetry::start(&loaded.config.log, privileges::give_up);
    let handed_over = config::handed_over().map_err(GatewayError::HandedOver)?;
    let named = |(name, listener)| Inherited { name, listener };
    let mut beginning = Beginning {
        past: handed_over.past.unwrap_or_default(),
        swapped: handed_over.past.is_some(),
        swap_failure: None,
        inherited: handed_over.listeners.into_iter().map(named).collect(),
    };
    let (reloader, successor) = (Reloader::new(flags.clone()), Successor::of_this_process(flags)?);
    loop {
        let (past, directory) = (beginning.past, loaded.directory.clone());
        let life = Life::begin(loaded, runtimes, beginning).await?;
        let (config, inherited, websockets) = match life.lead(&reloader, &successor, &mut signals).await {
            End::Stopped => return Ok(()),
            End::Handed { config, inherited, websockets } => (config, inherited, websockets),
        };
        if signals.hold_back().await? {
            tracing::info!("stopped in the middle of a swap");
            return Ok(());
        }
        let past = Past { websockets, ..past };
        telemetry::flush();
        let error = successor.become_it(&inherited, Past { swaps: past.swaps + 1, ..past });
        Signals::let_through()?;
        let path = successor.path().display();
        let failure = format!("`{path}` could not be executed: {error}");
        tracing::error!(%error, program = %path, "the swap failed: this program goes on");
        loaded = Loaded { config: (*config).clone(), directory, files: Vec::new(), warnings: Vec::new() };
        beginning = Beginning { past, swapped: true, swap_failure: Some(failure), inherited };
    }
}

/// Separate lives, ended one after the other: requests first, what they stand on last.
#[derive(Debug, Default)]
struct Lives {
    edge: Shutdown,
    backends: Shutdown,
    doors: Shutdown,
    pools: Shutdown,
}
