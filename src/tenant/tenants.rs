//! The tenants as a service: every order that changes one. Each is a line: plan on plain data, check the whole by
//! building the new snapshot, write it, put it in force. So memory never holds what is not on disk, and a refused
//! order changes neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use tokio::sync::Mutex;

use self::roll::Roll;
use super::{
    Change, CorsPolicy, Database, DatabaseText, HostName, KeyHash, KeyView, NewTenant, Registry, SealKey,
    Snapshot, Status, Tenant, TenantError, TenantId, TenantKey, TenantPaths, TenantView,
    error::{SealProblem, StoreProblem},
    store::{Store, Written},
};
use crate::shutdown::Shutdown;

mod declare;
mod roll;
mod rules;

/// How often an order is planned anew because another process wrote meanwhile.
const TRIES_MAX: usize = 5;
/// How long `close` waits for an order under way: longer than the store waits for a busy file.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// What the configuration says of tenants in general.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    /// The policy of tenants without one of their own.
    pub(crate) cors: CorsPolicy,
    /// The backends a tenant may name; none: any.
    pub(crate) backends: Vec<String>,
    /// The hosts that serve every tenant, and who holds each (such as ``backend `api` ``): nobody's own.
    pub(crate) shared_hosts: BTreeMap<HostName, String>,
    /// The hosts that sites have for themselves: nobody's own either.
    pub(crate) site_hosts: BTreeSet<HostName>,
}

/// All orders on tenants; one is carried out at a time.
pub(crate) struct Tenants {
    core: Arc<Core>,
    /// Orders run in tasks of their own: a caller that goes away leaves nothing half done.
    life: Shutdown,
}

struct Core {
    registry: Arc<Registry>,
    store: Store,
    key: SealKey,
    paths: TenantPaths,
    defaults: ArcSwap<Defaults>,
    /// The revision that the snapshot in force has on disk; held by the order under way.
    revision: Mutex<i64>,
}

impl Tenants {
    /// Open the registry and the sealing key, or make them; put what is of record in force.
    pub(crate) async fn open(paths: TenantPaths) -> Result<Self, TenantError> {
        refuse_emptied(&paths)?;
        let store = Store::open(&paths.registry_db).await?;
        let key = open_key(&store, &paths).await?;
        let loaded = store.load(&key).await?;
        let snapshot = Snapshot::build(loaded.tenants).map_err(TenantError::Conflicts)?;
        let core = Core {
            registry: Arc::new(Registry::new(snapshot)),
            store,
            key,
            paths,
            defaults: ArcSwap::default(),
            revision: Mutex::new(loaded.revision),
        };
        Ok(Self { core: Arc::new(core), life: Shutdown::new() })
    }

    /// The snapshot's owner, which the edge and the doors read.
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.core.registry
    }

    /// The sealing key, for a backup that wraps it.
    pub(crate) fn seal_key(&self) -> &SealKey {
        &self.core.key
    }

    /// Tell what the configuration says, for orders on a registry at rest; [`declare`](Self::declare) does it for
    /// a gateway that runs.
    pub(crate) fn update_defaults(&self, defaults: Defaults) {
        self.core.defaults.store(Arc::new(defaults));
    }

    /// All tenants, by id.
    pub(crate) fn list(&self) -> Vec<TenantView> {
        let snapshot = self.core.registry.snapshot();
        let mut views: Vec<_> = snapshot.tenants().map(|tenant| TenantView::from(tenant.as_ref())).collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        views
    }

    /// One tenant.
    pub(crate) fn show(&self, id: &TenantId) -> Result<TenantView, TenantError> {
        let snapshot = self.core.registry.snapshot();
        let tenant = snapshot.by_id(id.as_str()).ok_or_else(|| snapshot.unknown(id))?;
        Ok(TenantView::from(tenant.as_ref()))
    }

    /// `gateway tenant add`. Cancel safe, as all orders here: it is carried out whole, whoever still listens.
    pub(crate) async fn add(&self, new: NewTenant) -> Result<TenantView, TenantError> {
        self.edit(move |core, roll| {
            if roll.find(&new.id).is_some() {
                return Err(TenantError::Exists(new.id.clone()));
            }
            let mut tenant = Tenant::new(new.id.clone());
            tenant.origins.clone_from(&new.origins);
            tenant.hosts.clone_from(&new.hosts);
            tenant.database = core.settle(&new.id, new.database.as_ref())?;
            tenant.backend.clone_from(&new.backend);
            tenant.cors.clone_from(&new.cors);
            tenant.limits = new.limits.clone();
            core.checked_put(roll, tenant)
        })
        .await
    }

    /// `gateway tenant set`. Another database ends the tenant's tickets.
    pub(crate) async fn set(&self, id: &TenantId, change: Change) -> Result<TenantView, TenantError> {
        let id = id.clone();
        self.edit(move |core, roll| {
            let mut tenant = undeclared(roll, &id)?;
            let database = core.settle(&id, change.database.as_ref())?;
            rules::change(&mut tenant, &change, database, &core.defaults.load())?;
            core.checked_put(roll, tenant)
        })
        .await
    }

    /// 403 from now on, and every ticket dead. Of a declared tenant too: the file does not say its status.
    pub(crate) async fn suspend(&self, id: &TenantId) -> Result<TenantView, TenantError> {
        self.stand(id, Status::Suspended).await
    }

    /// Active again, from paused or suspended.
    pub(crate) async fn resume(&self, id: &TenantId) -> Result<TenantView, TenantError> {
        self.stand(id, Status::Active).await
    }

    /// 503 for a while; tickets stay good.
    pub(crate) async fn pause(&self, id: &TenantId) -> Result<TenantView, TenantError> {
        self.stand(id, Status::Paused).await
    }

    async fn stand(&self, id: &TenantId, status: Status) -> Result<TenantView, TenantError> {
        let id = id.clone();
        self.edit(move |_, roll| {
            let mut tenant = roll.tenant(&id)?;
            rules::stand(&mut tenant, status)?;
            Ok(put(roll, tenant))
        })
        .await
    }

    /// Forget a tenant. Its tickets end; its database's file stays.
    pub(crate) async fn remove(&self, id: &TenantId) -> Result<(), TenantError> {
        let id = id.clone();
        self.edit(move |_, roll| {
            undeclared(roll, &id)?;
            roll.remove(&id);
            Ok(())
        })
        .await
    }

    /// End every ticket of a tenant; new ones are issued at once.
    pub(crate) async fn rotate(&self, id: &TenantId) -> Result<TenantView, TenantError> {
        let id = id.clone();
        self.edit(move |_, roll| {
            let mut tenant = roll.tenant(&id)?;
            tenant.end_tickets();
            Ok(put(roll, tenant))
        })
        .await
    }

    /// Make a key. It is returned this once; only its hash is kept.
    pub(crate) async fn key_add(&self, id: &TenantId, name: &str) -> Result<String, TenantError> {
        let (id, name) = (id.clone(), name.to_owned());
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TenantError::Invalid {
            id: id.clone(),
            problem: "the system gives no randomness; try again".into(),
        })?;
        // The prefix lets scanners for leaked secrets know it.
        let key = format!("gwk_{}", URL_SAFE_NO_PAD.encode(bytes));
        let hash = KeyHash::of(&key);
        self.edit(move |_, roll| {
            let mut tenant = roll.tenant(&id)?;
            rules::check_key_name(&tenant, &name)?;
            let created_unix_s = Timestamp::now().as_second();
            tenant.keys.push(TenantKey { name: name.clone(), hash, created_unix_s });
            roll.put(tenant);
            Ok(())
        })
        .await?;
        Ok(key)
    }

    /// A tenant's keys, by name and age.
    pub(crate) fn key_list(&self, id: &TenantId) -> Result<Vec<KeyView>, TenantError> {
        self.show(id).map(|view| view.keys)
    }

    /// Take a key away; it opens nothing from now on.
    pub(crate) async fn key_remove(&self, id: &TenantId, name: &str) -> Result<(), TenantError> {
        let (id, name) = (id.clone(), name.to_owned());
        self.edit(move |_, roll| {
            let mut tenant = roll.tenant(&id)?;
            let before = tenant.keys.len();
            tenant.keys.retain(|key| key.name != name);
            if tenant.keys.len() == before {
                return Err(TenantError::KeyUnknown { id: id.clone(), name: name.clone() });
            }
            roll.put(tenant);
            Ok(())
        })
        .await
    }

    /// A consistent copy of the registry in a new 0600 file, while it is in use.
    pub(crate) async fn copy_to(&self, to: &Path) -> Result<(), TenantError> {
        Ok(self.core.store.copy_to(to).await?)
    }

    /// Let the order under way end, then close the file. The registry can be read on.
    pub(crate) async fn close(&self) {
        if !self.life.drained(CLOSE_TIMEOUT).await {
            tracing::warn!("an order on tenants did not end in time; the registry is closed under it");
        }
        self.core.store.close().await;
    }

    /// Plan, check, write, put in force: in a task of its own, one at a time. The plan may run several times.
    async fn edit<T, P>(&self, plan: P) -> Result<T, TenantError>
    where
        T: Send + 'static,
        P: Fn(&Core, &mut Roll) -> Result<T, TenantError> + Send + 'static,
    {
        let core = self.core.clone();
        let task = self.life.spawn(async move { core.carry_out(plan).await });
        task.await.unwrap_or(Err(TenantError::Stopping))
    }
}

impl Core {
    async fn carry_out<T>(
        &self,
        plan: impl Fn(&Self, &mut Roll) -> Result<T, TenantError>,
    ) -> Result<T, TenantError> {
        let mut revision = self.revision.lock().await;
        for _ in 0..TRIES_MAX {
            let mut roll = Roll::over(Arc::clone(&self.registry.snapshot()));
            let outcome = plan(self, &mut roll)?;
            if roll.is_unchanged() {
                return Ok(outcome);
            }
            let snapshot = roll.snapshot()?;
            match self.store.write(&self.key, &roll.batch(), *revision).await? {
                Written::Done(now) => {
                    *revision = now;
                    self.registry.replace(snapshot);
                    return Ok(outcome);
                }
                Written::Stale => {
                    let loaded = self.store.load(&self.key).await?;
                    let snapshot = Snapshot::build(loaded.tenants).map_err(TenantError::Conflicts)?;
                    *revision = loaded.revision;
                    self.registry.replace(snapshot);
                }
            }
        }
        Err(StoreProblem::Busy(self.paths.registry_db.clone()).into())
    }

    fn settle(&self, id: &TenantId, text: Option<&DatabaseText>) -> Result<Option<Database>, TenantError> {
        text.map(|text| self.paths.settle(id, text)).transpose()
    }

    fn checked_put(&self, roll: &mut Roll, tenant: Tenant) -> Result<TenantView, TenantError> {
        self.check_and_put(roll, tenant, &self.defaults.load())
    }

    fn check_and_put(
        &self,
        roll: &mut Roll,
        mut tenant: Tenant,
        defaults: &Defaults,
    ) -> Result<TenantView, TenantError> {
        rules::check(&mut tenant, defaults)?;
        Ok(put(roll, tenant))
    }
}

fn put(roll: &mut Roll, tenant: Tenant) -> TenantView {
    let view = TenantView::from(&tenant);
    roll.put(tenant);
    view
}

/// A tenant that may be edited here.
fn undeclared(roll: &Roll, id: &TenantId) -> Result<Tenant, TenantError> {
    let tenant = roll.tenant(id)?;
    if tenant.declared { Err(TenantError::Declared(id.clone())) } else { Ok(tenant) }
}

/// The key is made after the registry, so an empty registry beside a key is no first start that was cut short but
/// a registry whose content is gone; going on would shut every tenant out without a word.
fn refuse_emptied(paths: &TenantPaths) -> Result<(), StoreProblem> {
    let bytes = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len()).ok();
    let mut log = paths.registry_db.clone().into_os_string();
    log.push("-wal");
    // What SQLite can still bring back from its log is not lost.
    let lost = bytes(&paths.registry_db) == Some(0) && bytes(Path::new(&log)).unwrap_or(0) == 0;
    if lost && paths.seal_key_file.exists() {
        let (path, key) = (paths.registry_db.clone(), paths.seal_key_file.clone());
        return Err(StoreProblem::Emptied { path, key });
    }
    Ok(())
}

/// The key that the registry was sealed with; made only for a registry that is new. A second key would leave what
/// was sealed with the first unreadable for ever.
async fn open_key(store: &Store, paths: &TenantPaths) -> Result<SealKey, TenantError> {
    let credential = paths.seal_credential.as_deref().filter(|path| path.exists());
    let gone = || SealProblem::Gone(paths.seal_key_file.clone());
    let mark = store.seal_mark().await?;
    let found = match credential {
        Some(path) => Some(SealKey::of_credential(path)?),
        None => SealKey::of_file(&paths.seal_key_file)?,
    };
    let key = match (found, &mark) {
        (Some(key), _) => key,
        (None, Some(_)) => return Err(gone().into()),
        (None, None) => SealKey::make(&paths.seal_key_file)?,
    };
    if mark.is_none() {
        store.put_seal_mark(&key.mark().ok_or_else(gone)?).await?;
    }
    // Read again: another process may have been first.
    let mark = store.seal_mark().await?;
    if mark.is_some_and(|mark| key.made(&mark)) { Ok(key) } else { Err(gone().into()) }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenants(..)")
    }
}

#[cfg(test)]
mod tests;
