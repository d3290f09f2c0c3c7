//! All tenants' pools: opened on first use, closed when idle, when their tenant goes or changes, and at the
//! end. It must never give a lease to a tenant that the registry in force does not know or has suspended.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{OwnedRwLockWriteGuard, RwLock},
};

use super::{
    Access, Config, Lease, PoolError,
    budget::{Budget, Share},
    connect::Open,
    pool::{Claims, Pool, PoolParts, Settings},
};
use crate::{
    metrics::{Metrics, TenantLabels},
    shutdown::Shutdown,
    tenant::{Database, Registry, Status, Tenant, TenantId},
};

/// Interrupted statements end within milliseconds, a checkpoint at closing within a second or two.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// The pools of all tenants and the budget they share.
pub(crate) struct Pools {
    config: Config,
    state_dir: PathBuf,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    /// All SQLite files together are one server; the doors of other engines bring a budget per server.
    budget: Arc<Budget<Open>>,
    claims: Arc<Claims>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pools: HashMap<TenantId, Arc<Pool>>,
    /// Outlive a pool: whoever holds one keeps the tenant's next pool waiting too.
    gates: HashMap<TenantId, Arc<RwLock<()>>>,
    closed: bool,
}

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
pub(crate) struct PoolHold {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl Pools {
    /// Pools over that registry; they close by themselves when a tenant is removed, suspended or rotated.
    /// Call it on the runtime whose blocking threads shall run the statements.
    pub(crate) fn new(
        config: Config,
        state_dir: PathBuf,
        registry: Arc<Registry>,
        shutdown: Shutdown,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let runtime = Handle::current();
        let standard = Share { max: config.standard_max(), floor: config.tenant_min };
        let budget = Budget::new(config.budget, standard, runtime.clone());
        let (claims, state) = (Arc::default(), Mutex::default());
        let pools = Arc::new(Self { config, state_dir, registry, metrics, runtime, budget, claims, state });
        let (watcher, life) = (pools.clone(), shutdown.clone());
        shutdown.spawn(async move { watcher.watch(life).await });
        pools
    }

    /// Take out a connection to a tenant's database. Cancel safe; the wait is bounded.
    pub(crate) async fn lease(&self, tenant: &Tenant, access: Access) -> Result<Lease, PoolError> {
        let lease = self.pool_of(tenant)?.lease(access).await;
        if let Err(PoolError::Wait { .. } | PoolError::Crowd { .. }) = &lease {
            self.metrics.lease_timeouts_total.get_or_create(&labels(&tenant.id)).inc();
        }
        lease
    }

    /// Every open pool, by tenant.
    pub(crate) fn status(&self) -> Vec<PoolStatus> {
        let mut all: Vec<_> = self.state().pools.values().map(|pool| self.status_of(pool)).collect();
        all.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        all
    }

    /// Wait until no lease of that tenant is out, close its connections, and give out none while held.
    /// Cancel safe.
    pub(crate) async fn drain(&self, tenant: &TenantId) -> Result<PoolHold, PoolError> {
        let gate = self.state().gates.entry(tenant.clone()).or_default().clone();
        let since = Instant::now();
        // A lease lives no longer than a transaction may.
        let longest = self.config.transaction_timeout + CLOSE_TIME;
        let drained = tokio::time::timeout(longest, async {
            let gate = gate.write_owned().await;
            self.budget.close_idle(tenant);
            self.budget.emptied(Some(tenant)).await;
            gate
        });
        let waited = |_| PoolError::Wait {
            tenant: tenant.clone(),
            waited: since.elapsed(),
            limit: "its transactions did not end (`pool.transaction_timeout`)".to_owned(),
        };
        drained.await.map(|gate| PoolHold { _gate: gate }).map_err(waited)
    }

    /// Close every pool: running statements are interrupted, open transactions rolled back.
    pub(crate) async fn close(&self) {
        let pools: Vec<_> = {
            let mut state = self.state();
            state.closed = true;
            state.pools.drain().map(|(_, pool)| pool).collect()
        };
        for pool in pools {
            self.end(&pool);
        }
        if tokio::time::timeout(CLOSE_TIME, self.budget.emptied(None)).await.is_err() {
            tracing::warn!(
                open = self.open(),
                "database connections were still open at the end of the drain"
            );
        }
    }

    /// The file of a SQLite database; relative paths are below the state directory's `tenants/`.
    pub(crate) fn path_of(&self, database: &Database) -> PathBuf {
        // Joining an absolute path gives that path.
        self.state_dir.join("tenants").join(database.path())
    }

    /// Connections open over all tenants: never more than `pool.budget`.
    pub(crate) fn open(&self) -> u32 {
        self.budget.open()
    }

    /// Bytes of one answer: rows and values beyond that are refused where they are written.
    pub(crate) fn response_bytes_max(&self) -> usize {
        self.config.sqlite.response_bytes_max
    }

    fn pool_of(&self, tenant: &Tenant) -> Result<Arc<Pool>, PoolError> {
        let closed = || PoolError::Closed(tenant.id.clone());
        let database = tenant.database.as_ref().ok_or_else(|| PoolError::NoDatabase(tenant.id.clone()))?;
        // The caller's tenant may be from before a suspension: the snapshot in force decides.
        let in_force = self.registry.snapshot().by_id(tenant.id.as_str()).is_some_and(|current| {
            current.epoch == tenant.epoch
                && current.status != Status::Suspended
                && current.database.as_ref() == Some(database)
        });
        if !in_force {
            return Err(closed());
        }
        let mut state = self.state();
        if state.closed {
            return Err(closed());
        }
        if let Some(pool) = state.pools.get(&tenant.id)
            && pool.epoch == tenant.epoch
            && pool.database == *database
        {
            return Ok(pool.clone());
        }
        let gate = state.gates.entry(tenant.id.clone()).or_default().clone();
        let pool = Pool::new(PoolParts {
            tenant: tenant.id.clone(),
            epoch: tenant.epoch,
            database: database.clone(),
            path: self.path_of(database),
            settings: self.settings(tenant),
            runtime: self.runtime.clone(),
            budget: self.budget.clone(),
            claims: self.claims.clone(),
            gate,
        });
        if let Some(old) = state.pools.insert(tenant.id.clone(), pool.clone()) {
            self.end(&old);
        }
        Ok(pool)
    }

    fn settings(&self, tenant: &Tenant) -> Settings {
        let config = &self.config;
        Settings {
            wait_timeout: config.wait_timeout,
            waiting_max: config.waiting_max,
            statement_timeout: config.statement_timeout,
            transaction_timeout: config.transaction_timeout,
            readers: config.sqlite.readers_max.min(self.share(tenant).max.saturating_sub(1)).max(1),
            budget: config.budget,
            sqlite: config.sqlite.clone(),
        }
    }

    fn share(&self, tenant: &Tenant) -> Share {
        let max = tenant.limits.connections_max.unwrap_or_else(|| self.config.standard_max()).max(1);
        let floor = tenant.limits.connections_min.unwrap_or(self.config.tenant_min).min(max);
        Share { max, floor }
    }

    async fn watch(self: Arc<Self>, life: Shutdown) {
        // Often enough that nothing is idle for much longer than it may.
        let tick = (self.config.idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let mut ticks = tokio::time::interval(tick);
        let mut changes = self.registry.watch();
        self.follow_registry();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.budget.expire(self.config.idle_timeout);
                    self.count();
                }
                changed = changes.changed() => match changed {
                    Ok(()) => self.follow_registry(),
                    Err(_) => return,
                },
                () = life.begun() => return,
            }
        }
    }

    /// Close the pools whose tenant is gone, suspended, rotated or moved, and take over everybody's shares.
    fn follow_registry(&self) {
        let snapshot = self.registry.snapshot();
        let with_database = || snapshot.tenants().filter(|tenant| tenant.database.is_some());
        let floors = with_database().map(|tenant| tenant.limits.connections_min);
        if let Some(problem) = self.config.floors_problem(floors) {
            tracing::error!(%problem, "no reserved connections are kept");
        }
        self.budget.declare(with_database().map(|tenant| (tenant.id.clone(), self.share(tenant))).collect());
        let mut state = self.state();
        let stays = |pool: &Pool| {
            snapshot.by_id(pool.tenant.as_str()).is_some_and(|tenant| {
                tenant.epoch == pool.epoch
                    && tenant.status != Status::Suspended
                    && tenant.database.as_ref() == Some(&pool.database)
            })
        };
        let ended: Vec<_> = state.pools.extract_if(|_, pool| !stays(pool)).map(|(_, pool)| pool).collect();
        state
            .gates
            .retain(|tenant, gate| snapshot.by_id(tenant.as_str()).is_some() || Arc::strong_count(gate) > 1);
        drop(state);
        for pool in ended {
            self.end(&pool);
        }
    }

    fn end(&self, pool: &Pool) {
        pool.closed.cancel();
        self.budget.close_idle(&pool.tenant);
        self.claims.release(&pool.tenant);
        self.metrics.pool_connections.remove(&labels(&pool.tenant));
        tracing::debug!(tenant = %pool.tenant, "pool closed");
    }

    fn count(&self) {
        for pool in self.state().pools.values() {
            let open = self.budget.counts(&pool.tenant).open;
            self.metrics.pool_connections.get_or_create(&labels(&pool.tenant)).set(i64::from(open));
        }
    }

    fn status_of(&self, pool: &Pool) -> PoolStatus {
        let counts = self.budget.counts(&pool.tenant);
        PoolStatus {
            tenant: pool.tenant.clone(),
            engine: pool.database.engine().as_str(),
            open: counts.open,
            in_use: counts.in_use,
            waiting: pool.waiting(),
            max: self.budget.max(&pool.tenant),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn labels(tenant: &TenantId) -> TenantLabels {
    TenantLabels { tenant: tenant.to_string() }
}
