//! Checks of declared tenants, by themselves and against each other.

use super::Check;
use crate::{
    config::file::secret,
    error::nearest,
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
            let (tenant, path, remedy) = self.claim(&conflict);
            let index = tenant.to_string();
            let key: Vec<&str> =
                ["tenant", &index].into_iter().chain(path.iter().map(String::as_str)).collect();
            self.problem(&key, conflict.to_string(), remedy);
        }
    }

    /// Where the later claim stands: the tenant's index, and the key below it.
    fn claim(&self, conflict: &Conflict) -> (usize, Vec<String>, &'static str) {
        let one_of_two = "take it from one of the two";
        match conflict {
            Conflict::Id(id) => {
                let (tenant, _) = self.last(id, |_| Some(0));
                (tenant, vec!["id".to_owned()], "give each `[[tenant]]` an id of its own")
            }
            Conflict::Origin { claimant, origin: text, .. }
            | Conflict::Covers { claimant, pattern: text, .. } => {
                let at = |tenant: &Declared| tenant.origins.iter().position(|own| own.as_str() == text);
                let (tenant, at) = self.last(claimant, at);
                (tenant, vec!["origins".to_owned(), at.to_string()], one_of_two)
            }
            Conflict::Host { claimant, host, .. } => {
                let at = |tenant: &Declared| tenant.hosts.iter().position(|own| own.as_str() == host);
                let (tenant, at) = self.last(claimant, at);
                (tenant, vec!["hosts".to_owned(), at.to_string()], one_of_two)
            }
            Conflict::Database { claimant, .. } => {
                let (tenant, _) = self.last(claimant, |tenant| tenant.database.as_ref().map(|_| 0));
                let tenant_index = tenant.to_string();
                let file = self.is_written(&["tenant", &tenant_index, "database_file"]);
                let key = if file { "database_file" } else { "database" };
                (tenant, vec![key.to_owned()], "give each tenant a database of its own")
            }
        }
    }

    /// The last tenant of that id that has what is looked for, and where it has it.
    fn last(&self, id: &TenantId, has: impl Fn(&Declared) -> Option<usize>) -> (usize, usize) {
        let tenants = self.config.tenant.iter().enumerate().rev().filter(|(_, tenant)| tenant.id == *id);
        tenants.filter_map(|(index, tenant)| Some((index, has(tenant)?))).next().unwrap_or_default()
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
