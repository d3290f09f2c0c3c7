//! All tenants' pools.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::{Config, PoolError};
use crate::{
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{Database, Registry, TenantId},
};

/// The pools of all tenants and the budget they share.
pub(crate) struct Pools;

/// One tenant's pool at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PoolStatus {
    /// Whose.
    pub(crate) tenant: TenantId,
    /// `sqlite`.
    pub(crate) engine: &'static str,
    /// Connections open.
    pub(crate) open: u32,
    /// Connections leased out.
    pub(crate) in_use: u32,
    /// Requests waiting for one.
    pub(crate) waiting: u32,
    /// Most connections it may have.
    pub(crate) max: u32,
}

/// While it lives, nobody gets a lease of that tenant.
#[derive(Debug)]
pub(crate) struct PoolHold;

impl Pools {
    /// Pools over that registry; they close by themselves when a tenant is removed, suspended or rotated.
    pub(crate) fn new(
        _config: Config,
        _state_dir: PathBuf,
        _registry: Arc<Registry>,
        _shutdown: Shutdown,
        _metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        todo!()
    }

    /// Every open pool.
    pub(crate) fn status(&self) -> Vec<PoolStatus> {
        todo!()
    }

    /// Wait until no lease of that tenant is out, close its connections, and give out none while held.
    pub(crate) async fn drain(&self, _tenant: &TenantId) -> Result<PoolHold, PoolError> {
        todo!()
    }

    /// Close every pool.
    pub(crate) async fn close(&self) {
        todo!()
    }

    /// The file of a SQLite database.
    pub(crate) fn path_of(&self, _database: &Database) -> PathBuf {
        todo!()
    }
}
