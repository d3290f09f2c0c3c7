//! The tenants as they would be after an order: edits on plain data over the snapshot in force, checked as a whole
//! before anything is written. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::{Snapshot, Tenant, TenantError, TenantId, store::Batch};

/// A snapshot and what an order changes in it.
#[derive(Debug)]
pub(super) struct Roll {
    base: Arc<Snapshot>,
    put: BTreeMap<TenantId, Arc<Tenant>>,
    gone: BTreeSet<TenantId>,
}

impl Roll {
    pub(super) fn over(base: Arc<Snapshot>) -> Self {
        Self { base, put: BTreeMap::new(), gone: BTreeSet::new() }
    }

    /// The tenant as it stands in this roll.
    pub(super) fn find(&self, id: &TenantId) -> Option<&Tenant> {
        if self.gone.contains(id) {
            return None;
        }
        self.put.get(id).or_else(|| self.base.by_id(id.as_str())).map(Arc::as_ref)
    }

    /// The same, where there has to be one; a copy to change and [`put`](Self::put) back.
    pub(super) fn tenant(&self, id: &TenantId) -> Result<Tenant, TenantError> {
        self.find(id).cloned().ok_or_else(|| self.base.unknown(id))
    }

    /// All tenants before this order.
    pub(super) fn before(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.base.tenants()
    }

    /// Add or replace. What is as it was is no change, and keeps what it remembers.
    pub(super) fn put(&mut self, tenant: Tenant) {
        if self.find(&tenant.id).is_some_and(|old| old.same_record(&tenant)) {
            return;
        }
        self.gone.remove(&tenant.id);
        self.put.insert(tenant.id.clone(), Arc::new(tenant));
    }

    /// Take away.
    pub(super) fn remove(&mut self, id: &TenantId) {
        self.put.remove(id);
        if self.base.by_id(id.as_str()).is_some() {
            self.gone.insert(id.clone());
        }
    }

    pub(super) fn is_unchanged(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    /// All tenants after this order; those who stay as they are come first.
    pub(super) fn after(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        let untouched =
            |tenant: &&Arc<Tenant>| !self.gone.contains(&tenant.id) && !self.put.contains_key(&tenant.id);
        self.base.tenants().filter(untouched).chain(self.put.values())
    }

    /// The snapshot that would be in force, or every conflict; those who stay hold what newcomers claim.
    pub(super) fn snapshot(&self) -> Result<Snapshot, TenantError> {
        Snapshot::of(self.after().cloned()).map_err(TenantError::Conflicts)
    }

    /// What to write.
    pub(super) fn batch(&self) -> Batch {
        Batch { put: self.put.values().cloned().collect(), gone: self.gone.iter().cloned().collect() }
    }
}
