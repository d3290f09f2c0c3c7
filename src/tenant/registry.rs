//! The registry in memory: a snapshot of all tenants with its indexes, rebuilt from plain data on change and
//! swapped whole, so that the request path reads it without a lock.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::{
    KeyHash, Tenant, TenantError, TenantId,
    host::is_dns_name,
    origin::{same_owner, without_port},
};
use crate::error::nearest;

/// All tenants at one moment. Lookups are hashes, whatever the number of tenants.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    ids: HashMap<TenantId, Arc<Tenant>>,
    origins: HashMap<Box<str>, Arc<Tenant>>,
    /// Keyed by the pattern's text, such as `https://*.acme.example:8443`.
    wildcards: HashMap<Box<str>, Arc<Tenant>>,
    hosts: HashMap<Box<str>, Arc<Tenant>>,
    keys: HashMap<KeyHash, Arc<Tenant>>,
}

/// Two tenants claim one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Conflict {
    /// The id twice.
    #[error("there are two tenants `{0}`")]
    Id(TenantId),
    /// One origin, two tenants.
    #[error("`{origin}` belongs to tenant `{holder}` already; `{claimant}` cannot have it too")]
    Origin {
        /// The origin.
        origin: String,
        /// Who has it.
        holder: TenantId,
        /// Who wants it.
        claimant: TenantId,
    },
    /// A wildcard over another tenant's origin.
    #[error("`{pattern}` of tenant `{claimant}` would cover `{origin}` of tenant `{holder}`")]
    Covers {
        /// The wildcard.
        pattern: String,
        /// The origin it covers.
        origin: String,
        /// Whose origin that is.
        holder: TenantId,
        /// Whose wildcard that is.
        claimant: TenantId,
    },
    /// One host, two tenants.
    #[error("host `{host}` belongs to tenant `{holder}` already; `{claimant}` cannot have it too")]
    Host {
        /// The host.
        host: String,
        /// Who has it.
        holder: TenantId,
        /// Who wants it.
        claimant: TenantId,
    },
    /// One database, two tenants.
    #[error("tenants `{holder}` and `{claimant}` name the same database; each needs one of its own")]
    Database {
        /// Who has it.
        holder: TenantId,
        /// Who wants it.
        claimant: TenantId,
    },
}

impl Snapshot {
    /// Build the indexes, or say every conflict. Of two tenants with one claim the earlier one holds.
    pub(crate) fn build(tenants: impl IntoIterator<Item = Tenant>) -> Result<Self, Vec<Conflict>> {
        Self::of(tenants.into_iter().map(Arc::new))
    }

    /// The same, of tenants that are shared with an earlier snapshot.
    pub(super) fn of(tenants: impl IntoIterator<Item = Arc<Tenant>>) -> Result<Self, Vec<Conflict>> {
        let mut snapshot = Self::default();
        let mut conflicts = Vec::new();
        let tenants: Vec<_> = tenants.into_iter().collect();
        let mut places = HashMap::new();
        for tenant in &tenants {
            snapshot.index(tenant, &mut conflicts);
            if let Some(database) = &tenant.database {
                match places.entry((database.engine(), database.path())) {
                    Entry::Vacant(place) => _ = place.insert(&tenant.id),
                    Entry::Occupied(place) => {
                        let (holder, claimant) = ((*place.get()).clone(), tenant.id.clone());
                        conflicts.push(Conflict::Database { holder, claimant });
                    }
                }
            }
        }
        for tenant in &tenants {
            snapshot.check_covered(tenant, &mut conflicts);
        }
        if conflicts.is_empty() { Ok(snapshot) } else { Err(conflicts) }
    }

    fn index(&mut self, tenant: &Arc<Tenant>, conflicts: &mut Vec<Conflict>) {
        let claimant = || tenant.id.clone();
        if self.ids.insert(tenant.id.clone(), tenant.clone()).is_some() {
            conflicts.push(Conflict::Id(tenant.id.clone()));
        }
        for origin in &tenant.origins {
            let index = if origin.is_wildcard() { &mut self.wildcards } else { &mut self.origins };
            if let Some(holder) = index.insert(origin.as_str().into(), tenant.clone())
                && holder.id != tenant.id
            {
                let (origin, holder) = (origin.to_string(), holder.id.clone());
                conflicts.push(Conflict::Origin { origin, holder, claimant: claimant() });
            }
        }
        for host in &tenant.hosts {
            if let Some(holder) = self.hosts.insert(host.as_str().into(), tenant.clone())
                && holder.id != tenant.id
            {
                let (host, holder) = (host.to_string(), holder.id.clone());
                conflicts.push(Conflict::Host { host, holder, claimant: claimant() });
            }
        }
        for key in &tenant.keys {
            self.keys.insert(key.hash, tenant.clone());
        }
    }

    /// Does another tenant's wildcard cover an origin of this one? Walks up the labels: linear in the name,
    /// not in the number of tenants.
    fn check_covered(&self, tenant: &Arc<Tenant>, conflicts: &mut Vec<Conflict>) {
        for origin in &tenant.origins {
            let text = origin.as_str().replacen("://*.", "://", usize::from(origin.is_wildcard()));
            for pattern in wildcards_over(&text) {
                if let Some(owner) = self.wildcards.get(pattern.as_str())
                    && owner.id != tenant.id
                {
                    conflicts.push(Conflict::Covers {
                        pattern,
                        origin: origin.to_string(),
                        holder: tenant.id.clone(),
                        claimant: owner.id.clone(),
                    });
                }
            }
        }
    }

    /// The tenant whose whitelist holds a request's `Origin`: exact beats wildcard, a longer base beats a
    /// shorter one.
    pub(crate) fn by_origin(&self, origin: &str) -> Option<&Arc<Tenant>> {
        if let Some(tenant) = self.origins.get(origin) {
            return Some(tenant);
        }
        if self.wildcards.is_empty() || !is_plain_origin(origin) {
            return None;
        }
        let name = without_port(origin.split_once("://").map_or("", |(_, host)| host));
        wildcards_over(origin).find_map(|pattern| {
            let tenant = self.wildcards.get(pattern.as_str())?;
            let base = without_port(pattern.split_once("://*.").map_or("", |(_, base)| base));
            same_owner(name, base).then_some(tenant)
        })
    }

    /// The tenant that owns a host (lower-case, without port).
    pub(crate) fn by_host(&self, host: &str) -> Option<&Arc<Tenant>> {
        self.hosts.get(host)
    }

    /// The tenant of that name.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.ids.get(id)
    }

    /// The tenant that holds a key.
    pub(crate) fn by_key(&self, key: &KeyHash) -> Option<&Arc<Tenant>> {
        self.keys.get(key)
    }

    /// All tenants, in no order.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.ids.values()
    }

    /// What to say where somebody names a tenant that is not there.
    pub(crate) fn unknown(&self, id: &TenantId) -> TenantError {
        let near = nearest(id.as_str(), self.ids.values().map(|tenant| tenant.id.as_str()));
        let near = near.and_then(|near| near.parse().ok());
        TenantError::Unknown { id: id.clone(), near }
    }

    /// How many tenants there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Only what a browser can send may match a wildcard: lower-case scheme, name and port, nothing else.
fn is_plain_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    host.is_some_and(|host| {
        let name = without_port(host);
        // A colon and five digits, the first of which is not 0.
        let port = &host[name.len()..];
        let port_is_plain = port.is_empty() || (matches!(port.len(), 2..=6) && !port.starts_with(":0"));
        port_is_plain && is_dns_name(name)
    })
}

/// `https://a.b.c:1` → `https://*.b.c:1`, `https://*.c:1`: longest base first.
fn wildcards_over(origin: &str) -> impl Iterator<Item = String> + '_ {
    let (scheme, host) = origin.split_once("://").unwrap_or(("", ""));
    host.match_indices('.').map(move |(dot, _)| format!("{scheme}://*{}", &host[dot..]))
}

/// The one owner of the snapshot in force.
#[derive(Debug)]
pub(crate) struct Registry {
    current: ArcSwap<Snapshot>,
    changes: watch::Sender<u64>,
}

impl Registry {
    /// A registry with that snapshot in force.
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot), changes: watch::channel(0).0 }
    }

    /// The snapshot in force; cheap, lock-free, for one request's use.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Put a new snapshot in force and tell the watchers.
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hear of each change; the value counts them.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests;
