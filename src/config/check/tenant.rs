//! Checks of declared tenants, by themselves and against each other.

use super::Check;
use crate::{
    config::{explain::nearest, file::secret},
    tenant::{Conflict, Database, DatabaseProblem, Declared, OriginPattern, Snapshot, Tenant, TenantId},
};

impl Check<'_> {
    pub(super) fn tenants(&mut self) {
        let config = self.config;
        for (index, tenant) in config.tenant.iter().enumerate() {
            let index = index.to_string();
            self.backend_of(&index, tenant);
            self.database_of(&index, tenant);
            if let Some(policy) = &tenant.cors {
                self.cors(&["tenant", &index, "cors"], policy);
            }
            for (at, origin) in tenant.origins.iter().enumerate() {
                if is_open_http(origin) {
                    let message = "a page on plain http can be changed on its way, and then calls in this tenant's name";
                    let at = at.to_string();
                    self.warn(&["tenant", &index, "origins", &at], message, "use https outside development");
                }
            }
            if tenant.origins.is_empty() && tenant.hosts.is_empty() {
                let message = "no origin and no host leads to this tenant: only a key can name it";
                self.warn(&["tenant", &index], message, "add `origins`");
            }
        }
        self.conflicts();
    }

    fn backend_of(&mut self, index: &str, tenant: &Declared) {
        let backends = &self.config.backend;
        match &tenant.backend {
            Some(name) if !backends.contains_key(name) => {
                let message = format!("there is no backend `{name}`");
                let remedy = match nearest(name, backends.keys().map(String::as_str)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("add `[backend.{name}]`, or leave the key out"),
                };
                self.problem(&["tenant", index, "backend"], message, remedy);
            }
            None if backends.len() > 1 => {
                let host_decides = backends.values().any(|backend| !backend.hosts.is_empty());
                if !tenant.hosts.is_empty() || !host_decides {
                    let message =
                        "there are several backends, and neither host nor tenant says which one serves it";
                    self.problem(&["tenant", index], message, "add `backend = …`");
                }
            }
            _ => {}
        }
    }

    fn database_of(&mut self, index: &str, tenant: &Declared) {
        let file = ["tenant", index, "database_file"];
        let inline = ["tenant", index, "database"];
        let parsed: Option<Result<Database, DatabaseProblem>> =
            tenant.database.as_ref().map(|text| text.parse());
        let Some(path) = &tenant.database_file else {
            if let Some(Err(problem)) = parsed {
                self.problem(&inline, problem.to_string(), "write it like \"sqlite://acme.db\"");
            }
            return;
        };
        if self.is_written(&inline) {
            let message = "the database is named twice, here and by `database`";
            self.contradiction(&file, &[&inline], message, "keep one of the two");
        } else if let Err(reason) = secret(path) {
            self.problem(
                &file,
                reason,
                "name a file that only the gateway's user can read, with the URL in it",
            );
        } else if let Some(Err(problem)) = parsed {
            let message = format!("what {} holds is no database URL: {problem}", path.display());
            self.problem(&file, message, "write one URL into the file and nothing else");
        }
    }

    /// What the registry would refuse: two tenants with one id, origin, host or database.
    fn conflicts(&mut self) {
        let tenants = self.config.tenant.iter().map(|declared| {
            let mut tenant = Tenant::new(declared.id.clone());
            tenant.origins.clone_from(&declared.origins);
            tenant.hosts.clone_from(&declared.hosts);
            tenant.database = declared.database.as_ref().and_then(|text| text.parse().ok());
            tenant
        });
        let Err(conflicts) = Snapshot::build(tenants) else { return };
        for conflict in conflicts {
            let (claimant, list) = match &conflict {
                Conflict::Id(id) => (id, "id"),
                Conflict::Origin { claimant, .. } | Conflict::Covers { claimant, .. } => {
                    (claimant, "origins")
                }
                Conflict::Host { claimant, .. } => (claimant, "hosts"),
                Conflict::Database { claimant, .. } => (claimant, "database"),
            };
            let index = self.last_of(claimant).to_string();
            let remedy = match list {
                "id" => "give each `[[tenant]]` an id of its own",
                "database" => "give each tenant a database of its own",
                _ => "take it from one of the two",
            };
            self.problem(&["tenant", &index, list], conflict.to_string(), remedy);
        }
    }

    fn last_of(&self, id: &TenantId) -> usize {
        self.config.tenant.iter().rposition(|tenant| tenant.id == *id).unwrap_or_default()
    }
}

/// Plain http is fine on this machine alone.
fn is_open_http(origin: &OriginPattern) -> bool {
    let Some(rest) = origin.as_str().strip_prefix("http://") else { return false };
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    };
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    !loopback && host != "localhost" && !host.ends_with(".localhost")
}
