//! Reload: the whole new configuration is checked first; a bad one changes nothing and says why.

use serde_json::Value;

use super::rooms::{Rooms, tenant_defaults};
use crate::{
    admin::{Problem, ReloadOrder, Reloaded},
    config::{self, Config, Flags},
};

/// Keys that take effect without a new start. Everything else is named in the answer, never passed over.
const AT_ONCE: [&str; 4] = ["edge", "tls", "cors", "tenant"];

/// Keys below those that are bound once.
const BOUND: [&str; 5] = ["edge.https", "edge.http", "edge.http_mode", "edge.threads", "edge.access_log"];

/// Reads the configuration anew as this process was told to.
pub(super) struct Reloader {
    flags: Flags,
}

impl Reloader {
    /// With the flags of the start.
    pub(super) fn new(flags: Flags) -> Self {
        Self { flags }
    }

    /// A reload by signal, with nobody to answer to.
    pub(super) async fn reload_and_log(&self, rooms: &Rooms) {
        match self.reload(rooms).await {
            Ok(reloaded) => tracing::info!(restart_needed = ?reloaded.restart_needed, "reloaded"),
            Err(problem) => tracing::error!(problem = %problem.detail, "not reloaded: nothing has changed"),
        }
    }

    /// A reload by order.
    pub(super) async fn obey(&self, rooms: &Rooms, order: ReloadOrder) {
        let outcome = self.reload(rooms).await;
        // Whoever asked may have gone away; the reload stands all the same.
        let _gone = order.send(outcome);
    }

    async fn reload(&self, rooms: &Rooms) -> Result<Reloaded, Problem> {
        let loaded = config::load(&self.flags).map_err(|problems| {
            Problem::new(422, "configuration", problems.to_string()).hint("`gateway check` shows the same")
        })?;
        let before = rooms.house().config.load_full();
        let restart_needed = restart_needed(&before, &loaded.config);
        // Tenants first: they can be refused by the registry, and then nothing else may have changed.
        rooms.tenants().update_defaults(tenant_defaults(&loaded.config));
        let declared = loaded.config.tenant.clone();
        rooms.tenants().declare(declared).await.map_err(|error| Problem::of(&error))?;
        rooms.house().reconfigure(loaded.config).map_err(|error| Problem::of(&error))?;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        Ok(Reloaded { restart_needed, warnings })
    }
}

/// The changed keys that only a new start brings into force, as dotted paths.
fn restart_needed(before: &Config, after: &Config) -> Vec<String> {
    let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) else {
        return Vec::new();
    };
    let mut changed = Vec::new();
    differences("", &before, &after, &mut changed);
    changed.retain(|key| {
        let below = |root: &&str| key == *root || key.starts_with(&format!("{root}."));
        !AT_ONCE.iter().any(|root| below(&root)) || BOUND.iter().any(|root| below(&root))
    });
    changed
}

fn differences(path: &str, before: &Value, after: &Value, changed: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        changed.push(path.to_owned());
        return;
    };
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let dotted = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let null = Value::Null;
        differences(&dotted, old.get(key).unwrap_or(&null), new.get(key).unwrap_or(&null), changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_needs_a_new_start_is_named_and_others_are_not() {
        let before = Config::default();
        let mut after = before.clone();
        after.edge.limits.body_bytes_max += 1;
        after.cors.credentials = true;
        assert_eq!(restart_needed(&before, &after), Vec::<String>::new());
        after.pool.budget += 1;
        after.edge.https.clear();
        assert_eq!(restart_needed(&before, &after), ["edge.https", "pool.budget"]);
    }
}
