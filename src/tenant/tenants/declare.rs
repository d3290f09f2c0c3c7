//! Many tenants at once: the `[[tenant]]` tables of the configuration, and `apply` and `export`. All or nothing.

use std::{collections::HashSet, sync::Arc};

use super::{
    super::{
        ApplyReport, Conflict, DatabaseText, Declared, Engine, Tenant, TenantError, TenantId, TenantSpec,
    },
    Core, Defaults, Tenants,
    roll::Roll,
    rules,
};

impl Tenants {
    /// Make the declared tenants what the file says: at start and at each reload. Those declared no longer are
    /// removed, their files stay. A tenant of the same name that was added by hand becomes the file's, and the report
    /// names it. Status, keys and tickets stay, since the file does not say them. `defaults` count from now on, if all tenants of record
    /// can live with them.
    pub(crate) async fn declare(
        &self,
        declared: Vec<Declared>,
        defaults: Defaults,
    ) -> Result<ApplyReport, TenantError> {
        let defaults = Arc::new(defaults);
        let new = defaults.clone();
        let report = self
            .edit(move |core, roll| {
                let named = no_id_twice(declared.iter().map(|table| &table.id))?;
                let mut report = ApplyReport::default();
                for table in &declared {
                    if roll.find(&table.id).is_some_and(|tenant| !tenant.declared) {
                        report.adopted.push(table.id.clone());
                    }
                    let mut tenant = existing_or_new(roll, &table.id);
                    if table.database.is_none() && table.database_file.is_some() {
                        // The configuration reads it. Going on would take the tenant's database away.
                        return Err(rules::invalid(
                            &table.id,
                            "its `database_file` was not read; check the file",
                        ));
                    }
                    rules::place(&mut tenant, core.settle(&table.id, table.database.as_ref())?);
                    tenant.declared = true;
                    tenant.origins.clone_from(&table.origins);
                    tenant.hosts.clone_from(&table.hosts);
                    tenant.backend.clone_from(&table.backend);
                    tenant.cors.clone_from(&table.cors);
                    tenant.limits = table.limits.clone();
                    core.put_and_note(roll, tenant, &new, &mut report)?;
                }
                remove_others(roll, &mut report, |tenant| tenant.declared && !named.contains(&tenant.id));
                rules::check_standing(roll.after(), &new)?;
                Ok(report)
            })
            .await?;
        self.core.defaults.store(defaults);
        Ok(report)
    }

    /// Make tenants what the specs say; with `prune`, remove all others. Declared tenants are the file's: one in the
    /// specs is refused unless it is so already, and none is pruned.
    pub(crate) async fn apply(
        &self,
        specs: Vec<TenantSpec>,
        prune: bool,
    ) -> Result<ApplyReport, TenantError> {
        self.edit(move |core, roll| {
            let named = no_id_twice(specs.iter().map(|spec| &spec.id))?;
            let mut report = ApplyReport::default();
            for spec in &specs {
                let mut tenant = existing_or_new(roll, &spec.id);
                if let Some(database) = core.settle(&spec.id, spec.database.as_ref())? {
                    rules::place(&mut tenant, Some(database));
                }
                if let Some(status) = spec.status.filter(|status| *status != tenant.status) {
                    rules::stand(&mut tenant, status)?;
                }
                tenant.origins.clone_from(&spec.origins);
                tenant.hosts.clone_from(&spec.hosts);
                tenant.backend.clone_from(&spec.backend);
                tenant.cors.clone_from(&spec.cors);
                tenant.limits = spec.limits.clone();
                core.put_and_note(roll, tenant, &core.defaults.load(), &mut report)?;
                if report.changed.last() == Some(&spec.id) && roll.tenant(&spec.id)?.declared {
                    return Err(TenantError::Declared(spec.id.clone()));
                }
            }
            if prune {
                remove_others(roll, &mut report, |tenant| !tenant.declared && !named.contains(&tenant.id));
            }
            Ok(report)
        })
        .await
    }

    /// All tenants that the configuration does not declare, as `apply` takes them, by id.
    pub(crate) fn export(&self) -> Vec<TenantSpec> {
        let snapshot = self.core.registry.snapshot();
        let mut specs: Vec<_> =
            snapshot.tenants().filter(|tenant| !tenant.declared).map(|tenant| spec(tenant)).collect();
        specs.sort_by(|a, b| a.id.cmp(&b.id));
        specs
    }
}

impl Core {
    fn put_and_note(
        &self,
        roll: &mut Roll,
        tenant: Tenant,
        defaults: &Defaults,
        report: &mut ApplyReport,
    ) -> Result<(), TenantError> {
        let id = tenant.id.clone();
        let before = roll.find(&id).cloned();
        self.check_and_put(roll, tenant, defaults)?;
        let noted = match (&before, roll.find(&id)) {
            (None, _) => &mut report.added,
            (Some(before), Some(after)) if before.same_record(after) => &mut report.unchanged,
            _ => &mut report.changed,
        };
        noted.push(id);
        Ok(())
    }
}

fn spec(tenant: &Tenant) -> TenantSpec {
    TenantSpec {
        id: tenant.id.clone(),
        origins: tenant.origins.clone(),
        hosts: tenant.hosts.clone(),
        // Of an engine with passwords, this is left out: an export is a file that travels.
        database: tenant.database.as_ref().map(|database| match database.engine() {
            Engine::Sqlite => DatabaseText::from(database.expose()),
        }),
        backend: tenant.backend.clone(),
        status: Some(tenant.status),
        limits: tenant.limits.clone(),
        cors: tenant.cors.clone(),
    }
}

fn existing_or_new(roll: &Roll, id: &TenantId) -> Tenant {
    roll.find(id).cloned().unwrap_or_else(|| Tenant::new(id.clone()))
}

fn no_id_twice<'a>(ids: impl Iterator<Item = &'a TenantId>) -> Result<HashSet<&'a TenantId>, TenantError> {
    let mut seen = HashSet::new();
    let twice: Vec<_> = ids.filter(|id| !seen.insert(*id)).cloned().map(Conflict::Id).collect();
    if twice.is_empty() { Ok(seen) } else { Err(TenantError::Conflicts(twice)) }
}

fn remove_others(roll: &mut Roll, report: &mut ApplyReport, unwanted: impl Fn(&Tenant) -> bool) {
    let mut gone: Vec<_> =
        roll.before().filter(|tenant| unwanted(tenant)).map(|tenant| tenant.id.clone()).collect();
    gone.sort();
    for id in &gone {
        roll.remove(id);
    }
    report.removed = gone;
}
