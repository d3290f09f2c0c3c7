//! One tenant's pool: whose turn it is at the one writer and the readers, and the connections behind them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{AcquireError, RwLock, Semaphore},
};
use tokio_util::sync::CancellationToken;

use super::{
    Access, PoolError, Sqlite,
    budget::{Budget, Grant, Permit},
    connect::{self, FileIdentity, Open},
    lease::{Lease, LeaseParts},
};
use crate::tenant::{Database, Epoch, TenantId};

/// The limits of one tenant's pool.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) wait_timeout: Duration,
    pub(super) waiting_max: u32,
    pub(super) statement_timeout: Duration,
    pub(super) transaction_timeout: Duration,
    /// Readers at a time; the writer always finds room beside them.
    pub(super) readers: u32,
    pub(super) budget: u32,
    pub(super) sqlite: Sqlite,
}

/// One tenant's pool. It ends with the tenant's epoch, its database's place, or its suspension.
pub(super) struct Pool {
    pub(super) tenant: TenantId,
    pub(super) epoch: Epoch,
    pub(super) database: Database,
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    pub(super) runtime: Handle,
    pub(super) closed: CancellationToken,
    pub(super) budget: Arc<Budget<Open>>,
    pub(super) claims: Arc<Claims>,
    /// Held shared by each lease, alone by maintenance.
    pub(super) gate: Arc<RwLock<()>>,
    writer: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    waiting: AtomicU32,
}

/// What a pool is made of.
pub(super) struct PoolParts {
    pub(super) tenant: TenantId,
    pub(super) epoch: Epoch,
    pub(super) database: Database,
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    pub(super) runtime: Handle,
    pub(super) budget: Arc<Budget<Open>>,
    pub(super) claims: Arc<Claims>,
    pub(super) gate: Arc<RwLock<()>>,
}

/// Which tenant has which file open, so that no second path, link or spelling lets another tenant in.
#[derive(Debug, Default)]
pub(super) struct Claims {
    files: Mutex<HashMap<FileIdentity, (TenantId, PathBuf)>>,
}

/// What a request for a lease is waiting for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    Gate,
    Turn,
    Budget,
    Open,
}

/// Counts a waiting request while it lives.
struct Waiting<'a>(&'a AtomicU32);

impl Pool {
    pub(super) fn new(parts: PoolParts) -> Arc<Self> {
        let PoolParts { tenant, epoch, database, path, settings, runtime, budget, claims, gate } = parts;
        Arc::new(Self {
            writer: Arc::new(Semaphore::new(1)),
            readers: Arc::new(Semaphore::new(settings.readers.max(1) as usize)),
            waiting: AtomicU32::new(0),
            closed: CancellationToken::new(),
            tenant,
            epoch,
            database,
            path,
            settings,
            runtime,
            budget,
            claims,
            gate,
        })
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Take out a connection. Cancel safe; the wait is bounded in number and time.
    pub(super) async fn lease(self: &Arc<Self>, access: Access) -> Result<Lease, PoolError> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if waiting >= self.settings.waiting_max {
            return Err(PoolError::Crowd { tenant: self.tenant.clone(), waiting });
        }
        let mut wait = Wait::Gate;
        let since = Instant::now();
        let taken = tokio::select! {
            taken = tokio::time::timeout(self.settings.wait_timeout, self.take(access, &mut wait)) => taken,
            () = self.closed.cancelled() => return Err(self.is_closed()),
        };
        taken.unwrap_or_else(|_| {
            let (tenant, waited) = (self.tenant.clone(), since.elapsed());
            Err(PoolError::Wait { tenant, waited, limit: self.limit_of(wait, access) })
        })
    }

    async fn take(self: &Arc<Self>, access: Access, wait: &mut Wait) -> Result<Lease, PoolError> {
        let gate = self.gate.clone().read_owned().await;
        *wait = Wait::Turn;
        let turns = if access == Access::Write { &self.writer } else { &self.readers };
        let turn = turns.clone().acquire_owned().await.map_err(|_: AcquireError| self.is_closed())?;
        *wait = Wait::Budget;
        let grant = self.budget.acquire(&self.tenant).await.ok_or_else(|| self.is_closed())?;
        *wait = Wait::Open;
        let (mut open, permit) = self.connection(grant).await?;
        if self.closed.is_cancelled() {
            return Err(self.is_closed());
        }
        let sqlite_error = |source| PoolError::Sqlite { path: self.path.clone(), source };
        open.set_writes(access == Access::Write).map_err(sqlite_error)?;
        Ok(Lease::new(LeaseParts { open, permit, turn, gate, pool: self.clone(), access }))
    }

    async fn connection(self: &Arc<Self>, grant: Grant<Open>) -> Result<(Open, Permit<Open>), PoolError> {
        let Grant { connection, permit } = grant;
        if let Some(open) = connection {
            return Ok((open, permit));
        }
        let pool = self.clone();
        // The permit travels along: if nobody waits any more, it is freed once the connection is closed.
        let opened = self.runtime.spawn_blocking(move || {
            let identity = connect::prepare_file(&pool.path)?;
            pool.claims.claim(identity, &pool.tenant, &pool.path)?;
            Ok((connect::open(&pool.path, &pool.settings.sqlite)?, permit))
        });
        opened.await.unwrap_or_else(|error| Err(PoolError::Thread(error.to_string())))
    }

    fn is_closed(&self) -> PoolError {
        PoolError::Closed(self.tenant.clone())
    }

    fn limit_of(&self, wait: Wait, access: Access) -> String {
        match (wait, access) {
            (Wait::Gate, _) => "its pool is held for maintenance".to_owned(),
            (Wait::Turn, Access::Write) => {
                "SQLite has one writer per file, and it was busy (`pool.wait_timeout`)".to_owned()
            }
            (Wait::Turn, Access::Read) => {
                format!(
                    "all {} readers of its file were busy (`pool.sqlite.readers_max`)",
                    self.settings.readers
                )
            }
            (Wait::Budget, _) => format!(
                "it may have {} connections (`pool.tenant_max`), all tenants together {} (`pool.budget`)",
                self.budget.max(&self.tenant),
                self.settings.budget
            ),
            (Wait::Open, _) => "opening the file took too long".to_owned(),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Claims {
    fn claim(&self, file: FileIdentity, tenant: &TenantId, path: &Path) -> Result<(), PoolError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((holder, held_path)) = files.get(&file)
            && holder != tenant
        {
            // The holder's file may be gone and its inode used again.
            if connect::identity(held_path) == Some(file) {
                let (tenant, holder) = (tenant.clone(), holder.clone());
                return Err(PoolError::Shared { tenant, holder, path: path.to_owned() });
            }
        }
        files.insert(file, (tenant.clone(), path.to_owned()));
        Ok(())
    }

    /// The tenant's files are closed.
    pub(super) fn release(&self, tenant: &TenantId) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, (holder, _)| holder != tenant);
    }
}
