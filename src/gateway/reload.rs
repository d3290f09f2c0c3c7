//! Reload: the whole new configuration is checked first; a bad one changes nothing and says why.

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    defaults::{host_names, own_files, own_files_of, tenant_defaults},
    rooms::Rooms,
};
use crate::{
    admin::{InForce, Problem, ReloadOrder, Reloaded},
    backend,
    config::{self, Config, Flags},
    edge::TlsMode,
    tenant::{ApplyReport, HostName},
};

/// Keys that take effect without a new start. Everything else is named in the answer, never passed over.
const AT_ONCE: [&str; 5] = ["edge", "tls", "cors", "tenant", "job"];

/// Keys below those that are made once, at the start.
const BOUND: [&str; 1] = ["edge.threads"];

/// What is said beside what failed.
const PARTLY: &str =
    "\neverything else of the new configuration is in force, but for the jobs, which go on as they were";

/// Reads the configuration anew as this process was told to.
pub(super) struct Reloader {
    flags: Flags,
    /// Whoever reads the configuration, or puts something of it in force, does so alone; how often the whole was.
    wholes: Mutex<u64>,
}

impl Reloader {
    /// With the flags of the start.
    pub(super) fn new(flags: Flags) -> Self {
        Self { flags, wholes: Mutex::default() }
    }

    /// Reload, for whoever ordered it; without an order it was a signal, and the log hears of it. Cancel safe:
    /// what has begun in a room is ended there.
    pub(super) async fn carry_out(&self, rooms: &Rooms, order: Option<ReloadOrder>) {
        let outcome = self.reload(rooms).await;
        match (&outcome, order) {
            // Whoever asked may have gone away; the reload stands all the same.
            (_, Some(order)) => drop(order.send(outcome)),
            (Ok(InForce { reloaded, .. }), None) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(restart_needed = ?reloaded.restart_needed, "reloaded");
            }
            (Err(problem), None) => tracing::error!(problem = %problem.detail, "the reload failed"),
        }
    }

    /// Reload one backend, for whoever ordered it. Cancel safe, as [`Self::carry_out`].
    pub(super) async fn carry_out_for(&self, rooms: &Rooms, backend: &str, order: ReloadOrder) {
        let outcome = self.reload_one(rooms, backend).await;
        // Whoever asked may have gone away; the reload stands all the same.
        drop(order.send(outcome));
    }

    fn load(&self) -> Result<config::Loaded, Problem> {
        config::load(&self.flags).map_err(|problems| {
            Problem::new(422, "configuration", problems.to_string()).hint("`gateway check` shows the same")
        })
    }

    async fn reload(&self, rooms: &Rooms) -> Result<InForce, Problem> {
        let mut turn = self.wholes.lock().await;
        let mut loaded = self.load()?;
        let before = rooms.house().config.load_full();
        let mut restart_needed = restart_needed(&before, &loaded.config);
        // What takes a new start goes on where it is until then.
        let hidden = [own_files(&loaded), own_files_of(&before)].concat();
        keep_bound(&before, &mut loaded.config);
        if let Some(problem) = homeless(&loaded.config) {
            return Err(problem);
        }
        // Whatever can fail comes before anything changes: the edge gets ready, then the registry takes the tenants or
        // refuses them, and what is left cannot fail.
        let prepared = rooms.house().prepare(&loaded.config).map_err(|error| Problem::of(&error))?;
        let (declared, defaults) = (loaded.config.tenant.clone(), tenant_defaults(&loaded.config));
        let report =
            rooms.tenants().declare(declared, defaults).await.map_err(|error| Problem::of(&error))?;
        let supervised = supervised(&before, &loaded.config);
        rooms.house().hide(&hidden);
        rooms.house().put_in_force(loaded.config, prepared);
        *turn += 1;
        drop(turn);
        // One that fails, or waits, keeps none of the others from what is asked of them.
        let adopted = join_all(supervised.iter().map(|name| rooms.house().adopt(name))).await;
        let (mut drains, mut failures) = (Vec::new(), Vec::new());
        for outcome in adopted {
            match outcome {
                Ok(drain) => drains.push(drain),
                Err(error) => failures.push(Problem::of(&error)),
            }
        }
        if let Some(mut problem) = together(failures) {
            problem.detail.push_str(PARTLY);
            return Err(problem);
        }
        // After the backends: what they run beside is the new release.
        let left_out = rooms.house().reload_jobs().await;
        restart_needed.extend(left_out.into_iter().map(|name| format!("job.{name}")));
        let mut warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(surprises(&report));
        Ok(InForce { reloaded: Reloaded { restart_needed, warnings }, drains })
    }

    /// The file as a whole must be sound, but only this backend's table is taken from it.
    async fn reload_one(&self, rooms: &Rooms, name: &str) -> Result<InForce, Problem> {
        let house = rooms.house();
        if house.runs_elsewhere(name) {
            let detail = format!("backend {name} is run by something else, and so reloaded there");
            return Err(Problem::new(409, "backend-not-supervised", detail));
        }
        let turn = self.wholes.lock().await;
        let loaded = self.load()?;
        let Some(table) = loaded.config.backend.get(name) else {
            let detail = format!("the configuration has no backend `{name}` any more");
            return Err(
                Problem::new(422, "configuration", detail).hint("it goes with a new start of the gateway")
            );
        };
        let before = house.config.load_full();
        let after = with_table(&before, name, table)?;
        let restart_needed = restart_needed(&before, &after);
        // What can fail at the edge comes before its workers are replaced.
        drop(house.prepare(&after).map_err(|error| Problem::of(&error))?);
        house.hide(&[own_files(&loaded), own_files_of(&before)].concat());
        let seen = *turn;
        drop(turn);
        let drain = house.reload(name, table.clone()).await.map_err(|error| Problem::of(&error))?;
        let turn = self.wholes.lock().await;
        // Where the whole file was put in force meanwhile, it says something newer.
        if *turn == seen {
            let now = with_table(&house.config.load_full(), name, table)?;
            let prepared = house.prepare(&now).map_err(|error| Problem::of(&error))?;
            house.put_in_force(now, prepared);
        }
        drop(turn);
        let concerns = |warning: &&config::Problem| warning.to_string().contains(&format!("backend.{name}"));
        let warnings = loaded.warnings.iter().filter(concerns).map(ToString::to_string).collect();
        Ok(InForce { reloaded: Reloaded { restart_needed, warnings }, drains: vec![drain] })
    }
}

/// What is in force, with this table of one backend; none, if one of its hosts is somebody else's there.
fn with_table(in_force: &Config, name: &str, table: &backend::Config) -> Result<Config, Problem> {
    let mut after = in_force.clone();
    after.backend.insert(name.to_owned(), table.clone());
    match clash(&after, name) {
        None => Ok(after),
        Some(host) => {
            let detail =
                format!("the host `{host}` of backend {name} is another's until the rest is reloaded");
            let problem = Problem::new(409, "host-taken", detail);
            Err(problem.hint("`gateway reload` takes over the whole file"))
        }
    }
}

/// A host of this backend that leads to another one, or is a tenant's own.
fn clash(config: &Config, name: &str) -> Option<String> {
    let own = &config.backend.get(name)?.hosts;
    let of_backends = config.backend.iter().filter(|(other, _)| *other != name);
    let mut others = of_backends.flat_map(|(_, other)| host_names(&other.hosts)).map(|host| host.to_string());
    let of_tenants = config.tenant.iter().flat_map(|tenant| &tenant.hosts).map(ToString::to_string);
    let taken: Vec<String> = others.by_ref().chain(of_tenants).collect();
    host_names(own).into_iter().map(|host| host.to_string()).find(|host| taken.contains(host))
}

/// Several failures as one problem: the first one's code, everyone's words.
fn together(failures: Vec<Problem>) -> Option<Problem> {
    failures.into_iter().reduce(|mut all, next| {
        all.detail = format!("{}\n{}", all.detail, next.detail);
        all.hint = all.hint.or(next.hint);
        all
    })
}

/// What happened to tenants whose `[[tenant]]` has gone, or has come over one that an order had added: nobody
/// shall learn of it from a customer.
pub(super) fn surprises(report: &ApplyReport) -> Vec<String> {
    let gone = |id| format!("tenant `{id}` is declared no longer: it is removed, its database stays");
    let taken_over = |id| {
        format!(
            "tenant `{id}`, added on the command line, is declared now: its origins, hosts, database and settings \
             are those of its `[[tenant]]`, and it is removed when that goes"
        )
    };
    let adopted = report.adopted.iter().map(taken_over);
    adopted.chain(report.removed.iter().map(gone)).collect()
}

/// The changed keys that only a new start brings into force, as dotted paths.
fn restart_needed(before: &Config, after: &Config) -> Vec<String> {
    let (Ok(old), Ok(new)) = (serde_json::to_value(before), serde_json::to_value(after)) else {
        return Vec::new();
    };
    let mut changed = Vec::new();
    differences("", &old, &new, &mut changed);
    let reloaded: Vec<String> =
        supervised(before, after).into_iter().map(|name| format!("backend.{name}")).collect();
    let below = |key: &str, root: &str| {
        key == root || key.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'))
    };
    changed.retain(|key| {
        let at_once =
            AT_ONCE.iter().any(|root| below(key, root)) && !BOUND.iter().any(|root| below(key, root));
        let rolled = reloaded.iter().any(|root| below(key, root)) && !key.ends_with(".background_access");
        !(at_once && !(key == "tls.mode" && turns_tls(before, after)) || rolled)
    });
    changed
}

/// What cannot change under a running gateway stays as it is.
fn keep_bound(before: &Config, after: &mut Config) {
    after.edge.threads = before.edge.threads;
    if turns_tls(before, after) {
        after.tls.clone_from(&before.tls);
    }
    keep_backends(before, after);
}

/// A backend is made at the start. One that runs keeps its table though the file does not know it any more, or its hosts
/// would be nobody's; one that does not run yet has none, or the next reload would take it for one that does.
fn keep_backends(before: &Config, after: &mut Config) {
    after.backend.retain(|name, _| before.backend.contains_key(name));
    let of_backends = after.backend.values().flat_map(|backend| host_names(&backend.hosts));
    let of_tenants = after.tenant.iter().flat_map(|tenant| tenant.hosts.iter().cloned());
    let taken: Vec<HostName> = of_backends.chain(of_tenants).collect();
    for (name, running) in &before.backend {
        after.backend.entry(name.clone()).or_insert_with(|| {
            let mut kept = running.clone();
            // Whom the file gives them to has them.
            kept.hosts.retain(|host| !host.parse().is_ok_and(|host: HostName| taken.contains(&host)));
            kept
        });
    }
}

/// A declared tenant whose backend does not run.
fn homeless(config: &Config) -> Option<Problem> {
    let (id, backend) = config.tenant.iter().find_map(|tenant| {
        let backend = tenant.backend.as_ref().filter(|name| !config.backend.contains_key(*name))?;
        Some((&tenant.id, backend))
    })?;
    let detail =
        format!("tenant `{id}` names backend `{backend}`, which begins with a new start of the gateway");
    Some(
        Problem::new(409, "backend-not-running", detail)
            .hint("`gateway swap` is a new start that refuses nobody; nothing was changed"),
    )
}

/// Is TLS turned on or off?
fn turns_tls(before: &Config, after: &Config) -> bool {
    (before.tls.mode == TlsMode::Off) != (after.tls.mode == TlsMode::Off)
}

/// The supervised backends that are there before and after.
fn supervised(before: &Config, after: &Config) -> Vec<String> {
    let is = |backend: &backend::Config| backend.upstream.is_none();
    let both = |(name, new): (&String, &backend::Config)| {
        (is(before.backend.get(name)?) && is(new)).then(|| name.clone())
    };
    after.backend.iter().filter_map(both).collect()
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
    fn a_supervised_backend_is_rolled_and_a_new_one_needs_a_start() {
        let worker =
            |command: &str| backend::Config { command: vec![command.to_owned()], ..Default::default() };
        let with = |name: &str, backend| Config {
            backend: [(name.to_owned(), backend)].into(),
            ..Config::default()
        };
        let (before, after) = (with("api", worker("node")), with("api", worker("bun")));
        assert_eq!(supervised(&before, &after), ["api"]);
        assert_eq!(restart_needed(&before, &after), Vec::<String>::new());
        let added = with("other", worker("node"));
        assert_eq!(supervised(&before, &added), Vec::<String>::new());
        assert_eq!(restart_needed(&before, &added), ["backend.api", "backend.other"]);
    }

    #[test]
    fn what_runs_keeps_its_table_and_what_does_not_has_none() {
        let hosts = |hosts: &[&str]| backend::Config {
            command: vec!["node".to_owned()],
            hosts: hosts.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let with = |backends: &[(&str, &[&str])]| Config {
            backend: backends.iter().map(|(name, of)| ((*name).to_owned(), hosts(of))).collect(),
            ..Config::default()
        };
        let before = with(&[("api", &["a.example", "b.example"]), ("shop", &["s.example"])]);
        // `api` has become `web`, and one of its hosts the shop's.
        let mut after = with(&[("web", &["a.example"]), ("shop", &["b.example"])]);
        assert_eq!(restart_needed(&before, &after), ["backend.api", "backend.web"]);
        keep_backends(&before, &mut after);
        let in_force = with(&[("api", &["a.example"]), ("shop", &["b.example"])]);
        assert_eq!(after.backend, in_force.backend);
    }

    #[test]
    fn a_change_that_needs_a_new_start_is_named_and_others_are_not() {
        let before = Config::default();
        let mut after = before.clone();
        after.edge.limits.body_bytes_max += 1;
        after.cors.credentials = true;
        assert_eq!(restart_needed(&before, &after), Vec::<String>::new());
        after.pool.budget += 1;
        after.edge.https.clear();
        after.edge.http_mode = crate::edge::HttpMode::Serve;
        assert_eq!(restart_needed(&before, &after), ["pool.budget"]);
        after.edge.threads = 7;
        after.tls.mode = TlsMode::Off;
        assert_eq!(restart_needed(&before, &after), ["edge.threads", "pool.budget", "tls.mode"]);
        keep_bound(&before, &mut after);
        assert_eq!((after.edge.threads, after.tls), (before.edge.threads, before.tls));
        assert!(after.edge.https.is_empty(), "a list of addresses is put in force at once");
    }
}
