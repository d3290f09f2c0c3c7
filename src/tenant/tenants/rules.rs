//! What an order means for one tenant, and what a tenant may be. Pure: data in, data or a problem out.

use std::sync::Arc;

use super::{
    super::{
        Change, Clear, CorsPolicy, Database, HostName, Status, Tenant, TenantError, TenantId, TenantLimits,
        error::SharedHost,
    },
    Defaults,
};

/// Keys of one tenant. Each is a caller that someone can name; more are a mistake of a script.
const KEYS_MAX: usize = 100;
/// Characters of a key's name.
const KEY_NAME_CHARS_MAX: usize = 64;

pub(super) fn invalid(id: &TenantId, problem: impl Into<String>) -> TenantError {
    TenantError::Invalid { id: id.clone(), problem: problem.into() }
}

/// Carry out a `set`. `database` is the change's, checked.
pub(super) fn change(
    tenant: &mut Tenant,
    change: &Change,
    database: Option<Database>,
    defaults: &Defaults,
) -> Result<(), TenantError> {
    for clear in &change.clear {
        match clear {
            Clear::Database => place(tenant, None),
            Clear::Backend => tenant.backend = None,
            Clear::Cors => tenant.cors = None,
            Clear::Limits => tenant.limits = TenantLimits::default(),
        }
    }
    let id = tenant.id.clone();
    take(&mut tenant.origins, &change.remove_origins)
        .map_err(|it| invalid(&id, format!("it has no origin `{it}`")))?;
    take(&mut tenant.hosts, &change.remove_hosts)
        .map_err(|it| invalid(&id, format!("it has no host `{it}`")))?;
    tenant.origins.extend_from_slice(&change.add_origins);
    tenant.hosts.extend_from_slice(&change.add_hosts);
    if database.is_some() {
        place(tenant, database);
    }
    if change.backend.is_some() {
        tenant.backend.clone_from(&change.backend);
    }
    if change.cors.is_some() {
        tenant.cors.clone_from(&change.cors);
    }
    if !change.add_methods.is_empty() || !change.add_headers.is_empty() {
        let policy = tenant.cors.get_or_insert_with(|| defaults.cors.clone());
        allow(policy, change);
    }
    if let Some(limits) = &change.limits {
        let TenantLimits { in_flight_max, requests_per_second, connections_max, connections_min } = limits;
        let ours = &mut tenant.limits;
        ours.in_flight_max = in_flight_max.or(ours.in_flight_max);
        ours.requests_per_second = requests_per_second.or(ours.requests_per_second);
        ours.connections_max = connections_max.or(ours.connections_max);
        ours.connections_min = connections_min.or(ours.connections_min);
    }
    Ok(())
}

/// Another database: tickets name it, so they end.
pub(super) fn place(tenant: &mut Tenant, database: Option<Database>) {
    if tenant.database != database {
        tenant.database = database;
        tenant.end_tickets();
    }
}

/// Another status. Tickets end with suspension, and stay dead after it.
pub(super) fn stand(tenant: &mut Tenant, status: Status) -> Result<(), TenantError> {
    match (tenant.status, status) {
        (Status::Suspended, Status::Paused) => {
            return Err(invalid(
                &tenant.id,
                "it is suspended; `gateway tenant resume` it before you pause it",
            ));
        }
        (Status::Active | Status::Paused, Status::Suspended) => tenant.end_tickets(),
        _ => {}
    }
    tenant.status = status;
    Ok(())
}

/// Is this a tenant that can be served? Doubled entries of lists go first.
pub(super) fn check(tenant: &mut Tenant, defaults: &Defaults) -> Result<(), TenantError> {
    once(&mut tenant.origins);
    once(&mut tenant.hosts);
    let id = &tenant.id;
    let problems = tenant.cors.as_ref().map(CorsPolicy::problems).unwrap_or_default();
    if !problems.is_empty() {
        return Err(TenantError::Cors { id: id.clone(), problems });
    }
    let TenantLimits { in_flight_max, requests_per_second, connections_max, connections_min } = tenant.limits;
    for (name, value) in [
        ("in_flight_max", in_flight_max),
        ("requests_per_second", requests_per_second),
        ("connections_max", connections_max),
    ] {
        if value == Some(0) {
            return Err(invalid(
                id,
                format!("`{name} = 0` lets nothing through; suspend the tenant instead"),
            ));
        }
    }
    if let (Some(least), Some(most)) = (connections_min, connections_max)
        && least > most
    {
        return Err(invalid(
            id,
            format!("`connections_min = {least}` is more than `connections_max = {most}`"),
        ));
    }
    let shared = shared(tenant, defaults);
    if !shared.is_empty() {
        let is_site = |one: &SharedHost| defaults.site_hosts.contains(&one.host);
        let remedy = if shared.iter().all(is_site) {
            "leave the host out, or give the site a `path` so that the rest of its host is free".to_owned()
        } else {
            format!("leave the host out: pages of `{id}` are served there already, known by their origin")
        };
        return Err(TenantError::HostShared { shared, remedy });
    }
    match &tenant.backend {
        Some(name) if !defaults.backends.is_empty() && !defaults.backends.contains(name) => {
            let known = defaults.backends.join("`, `");
            Err(invalid(id, format!("there is no backend `{name}`; the configuration has `{known}`")))
        }
        _ => Ok(()),
    }
}

/// Can those who are of record live with the configuration? What they hold was checked against an earlier one.
pub(super) fn check_standing<'a>(
    tenants: impl Iterator<Item = &'a Arc<Tenant>>,
    defaults: &Defaults,
) -> Result<(), TenantError> {
    let mut all: Vec<_> = tenants.flat_map(|tenant| shared(tenant, defaults)).collect();
    all.sort_by(|a, b| (&a.claimant, &a.host).cmp(&(&b.claimant, &b.host)));
    let remove =
        |one: &SharedHost| format!("`gateway tenant set {} --remove-host {}`", one.claimant, one.host);
    let remedy = all.iter().map(remove).collect::<Vec<_>>().join(", ");
    if all.is_empty() { Ok(()) } else { Err(TenantError::HostShared { shared: all, remedy }) }
}

/// The hosts that a tenant claims for itself although they serve every tenant, or are a site: others would be shut out.
fn shared(tenant: &Tenant, defaults: &Defaults) -> Vec<SharedHost> {
    let shared = |host: &HostName| {
        let shared = defaults
            .shared_hosts
            .get(host)
            .map(|holder| format!("{holder} and is shared by all its tenants"));
        let site = || defaults.site_hosts.contains(host).then(|| "a site (`[[edge.site]]`)".to_owned());
        Some(SharedHost { host: host.clone(), holder: shared.or_else(site)?, claimant: tenant.id.clone() })
    };
    tenant.hosts.iter().filter_map(shared).collect()
}

/// May a key have that name?
pub(super) fn check_key_name(tenant: &Tenant, name: &str) -> Result<(), TenantError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > KEY_NAME_CHARS_MAX || !name.chars().all(plain) {
        return Err(invalid(
            &tenant.id,
            format!(
                "name a key with 1 to {KEY_NAME_CHARS_MAX} letters, digits and `-_.@`, such as `mobile-app`"
            ),
        ));
    }
    if tenant.keys.iter().any(|key| key.name == name) {
        return Err(TenantError::KeyExists { id: tenant.id.clone(), name: name.to_owned() });
    }
    if tenant.keys.len() >= KEYS_MAX {
        return Err(invalid(
            &tenant.id,
            format!("it has {KEYS_MAX} keys, the most there can be; remove some"),
        ));
    }
    Ok(())
}

fn allow(policy: &mut CorsPolicy, change: &Change) {
    for method in &change.add_methods {
        if !policy.methods.contains(method) {
            policy.methods.push(method.clone());
        }
    }
    for header in &change.add_headers {
        if !policy.headers.iter().any(|allowed| allowed.eq_ignore_ascii_case(header)) {
            policy.headers.push(header.to_ascii_lowercase());
        }
    }
}

/// Take those out of the list; the first that is not in it is returned.
fn take<T: PartialEq + Clone>(list: &mut Vec<T>, those: &[T]) -> Result<(), T> {
    match those.iter().find(|it| !list.contains(it)) {
        Some(missing) => Err(missing.clone()),
        None => {
            list.retain(|it| !those.contains(it));
            Ok(())
        }
    }
}

fn once<T: Clone + Eq + std::hash::Hash>(list: &mut Vec<T>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|it| seen.insert(it.clone()));
}
