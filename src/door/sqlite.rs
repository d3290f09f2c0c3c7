//! The SQLite door: Hrana 2 and 3 (JSON) over HTTP.

use std::{net::SocketAddr, path::Path, sync::Arc};

use serde::Serialize;

use super::{DoorError, Sqlite};
use crate::{
    metrics::Metrics,
    pool::Pools,
    shutdown::Shutdown,
    tenant::{Registry, Tickets},
};

/// A bound SQLite door.
pub(crate) struct SqliteDoor;

/// What the door works with.
pub(crate) struct DoorParts {
    /// Judges tickets.
    pub(crate) tickets: Arc<Tickets>,
    /// Knows tenants.
    pub(crate) registry: Arc<Registry>,
    /// Has the connections.
    pub(crate) pools: Arc<Pools>,
    /// Counts.
    pub(crate) metrics: Arc<Metrics>,
    /// Ends the door; begin it only after the workers have stopped.
    pub(crate) shutdown: Shutdown,
}

/// The door at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DoorStatus {
    /// `sqlite`.
    pub(crate) door: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Open connections.
    pub(crate) connections: usize,
    /// Open streams.
    pub(crate) streams: usize,
}

impl SqliteDoor {
    /// Bind the loopback address and `sqlite.sock` in the runtime directory.
    pub(crate) async fn bind(_config: &Sqlite, _runtime_dir: &Path) -> Result<Self, DoorError> {
        todo!()
    }

    /// The address tickets lead to.
    pub(crate) fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Serve until the shutdown begins and every connection has ended.
    pub(crate) async fn run(self: Arc<Self>, _parts: DoorParts) {
        todo!()
    }

    /// How busy it is.
    pub(crate) fn status(&self) -> DoorStatus {
        todo!()
    }
}
