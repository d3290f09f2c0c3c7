//! What a backend tells about itself: for `gateway status`, the admin API and the dashboard. No secrets:
//! neither environment nor command line is part of it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{node::NodeStatus, outlook, sandbox::Sandbox};

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackendStatus {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Who runs it.
    pub(crate) kind: BackendKind,
    /// What its workers are kept to; none for what something else runs.
    #[serde(default)]
    pub(crate) isolation: Option<Isolation>,
    /// Its workers by slot; while a reload rolls, a slot shows two.
    pub(crate) workers: Vec<WorkerStatus>,
    /// It has been told to stop: no worker is started, and requests get 503.
    #[serde(default)]
    pub(crate) stopped: bool,
    /// How many workers it should have; 0 for an upstream.
    #[serde(default)]
    pub(crate) wanted: usize,
    /// The order that is being carried out, such as `reload`.
    #[serde(default)]
    pub(crate) order: Option<String>,
    /// What it waits for before it replaces anybody.
    #[serde(default)]
    pub(crate) held_up: Option<String>,
    /// The deploy under way.
    #[serde(default)]
    pub(crate) deploy: Option<DeployStatus>,
    /// A deploy runs an install command, and so needs no dependencies in its package.
    #[serde(default)]
    pub(crate) installs: bool,
    /// The generation from which its workers are started; 0 for an upstream.
    #[serde(default)]
    pub(crate) generation: u64,
    /// It was gone back to: it stays in force, over new starts of the gateway too, until the backend is reloaded, a
    /// release deployed, or the configuration says something else.
    #[serde(default)]
    pub(crate) rolled_back: bool,
    /// Those that a rollback can go back to, this one included, oldest first.
    #[serde(default)]
    pub(crate) generations: Vec<GenerationStatus>,
    /// The Nodes that its processes run: workers, those that drain among them, jobs, an install command.
    #[serde(default)]
    pub(crate) nodes_in_use: Vec<PathBuf>,
}

/// A deploy under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeployStatus {
    /// Who holds it.
    pub(crate) by: String,
    /// Since when.
    pub(crate) since: Timestamp,
    /// What it does now: `receive`, `unpack`, `install` or `reload`.
    pub(crate) step: String,
}

/// What one reload started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationStatus {
    /// Counts up from 1.
    pub(crate) number: u64,
    /// When it was resolved.
    pub(crate) made: Timestamp,
    /// Where its workers run, behind all symbolic links.
    pub(crate) directory: PathBuf,
    /// The Node that they run.
    #[serde(default)]
    pub(crate) node: Option<NodeStatus>,
}

/// What a backend's workers are kept to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Isolation {
    /// Whose processes they are.
    pub(crate) user: String,
    /// Whether the kernel restricts their files.
    pub(crate) sandbox: Sandbox,
    /// Settings of the system that have been replaced since they were started, and that they cannot see as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lost: Vec<String>,
}

/// What a kernel cannot do of a sandbox; said once in the log, and in every status.
pub(super) fn falls_short(sandbox: Sandbox) -> Option<&'static str> {
    match sandbox {
        Sandbox::On | Sandbox::Off => None,
        Sandbox::Partial => Some(OLD_LANDLOCK),
        Sandbox::Unsupported => Some(NO_LANDLOCK),
    }
}

const OLD_LANDLOCK: &str = "this kernel's Landlock is an early one: what a worker may only read it can still empty \
    (truncate), if its user may write it; use Linux 6.2 or newer, or workers of a `user` of their own";

const NO_LANDLOCK: &str = "this kernel has no Landlock: workers can read and write whatever their user \
    can; use Linux 5.13 or newer with `landlock` in its list of security modules (lsm=)";

impl BackendStatus {
    /// The Node of the generation in force.
    pub(crate) fn node(&self) -> Option<&NodeStatus> {
        self.generations.iter().find(|one| one.number == self.generation)?.node.as_ref()
    }

    /// What the operator should know.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> + use<'_> {
        let isolation = self.isolation.as_ref();
        let warning = isolation.and_then(|isolation| falls_short(isolation.sandbox));
        let landlock = warning.map(|warning| format!("backend {}: {warning}", self.name));
        let lost = isolation.map(|isolation| &isolation.lost).filter(|lost| !lost.is_empty());
        let lost = lost.map(|lost| format!("backend {}: {}", self.name, outlook::warning(lost)));
        // While an order is carried out there are two of them, and that is as it should be.
        let strays = self.workers.iter().filter(|worker| {
            self.order.is_none()
                && worker.state == "ready"
                && ![0, self.generation].contains(&worker.generation)
        });
        let stray = |worker: &WorkerStatus| {
            format!(
                "{} serves generation {}, though {} is in force: it could not be put back (`gateway backend reload \
                 {}`)",
                worker.name, worker.generation, self.generation, self.name
            )
        };
        landlock.into_iter().chain(lost).chain(strays.map(stray))
    }
}

/// Who runs a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendKind {
    /// We do.
    Command,
    /// Something else does.
    Upstream,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerStatus {
    /// Such as `api/0`.
    pub(crate) name: String,
    /// Its process, if it has one.
    pub(crate) pid: Option<u32>,
    /// `starting`, `ready`, `unwell`, `draining`, `ended`, `back-off`, `finished`; an upstream is `starting`, `ready`
    /// or `unreachable`.
    pub(crate) state: String,
    /// The generation that its process was started from; 0 without a process, and for an upstream.
    #[serde(default)]
    pub(crate) generation: u64,
    /// Since when it is in that state.
    pub(crate) since: Timestamp,
    /// How often it was started again after it had failed.
    pub(crate) restarts: u64,
    /// How often another took over from it though it ran.
    #[serde(default)]
    pub(crate) replacements: Replacements,
    /// Requests it has not finished.
    pub(crate) in_flight: usize,
    /// What its process group holds resident: what `memory_max_mb` is held against.
    pub(crate) memory_mb: Option<u64>,
    /// How long the last good answer of its health path took.
    pub(crate) health_ms: Option<u64>,
    /// Lines of its output that were dropped, because there were too many at a time.
    #[serde(default)]
    pub(crate) lines_dropped: u64,
    /// Why it failed last.
    pub(crate) last_error: Option<String>,
    /// When.
    #[serde(default)]
    pub(crate) last_error_at: Option<Timestamp>,
    /// What else there is to know about that: user, directory, program, files it cannot read.
    #[serde(default)]
    pub(crate) last_facts: Vec<String>,
    /// The last lines it wrote before that.
    pub(crate) last_lines: Vec<String>,
}

/// How often workers of one place were replaced while they ran, by cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replacements {
    /// More memory than `memory_max_mb`.
    pub(crate) memory: u64,
    /// As many requests as `max_requests`.
    pub(crate) requests: u64,
    /// Older than `max_age`.
    pub(crate) age: u64,
    /// Not well `unhealthy_after` times in a row.
    pub(crate) health: u64,
    /// The last one.
    pub(crate) last: Option<Replacement>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replacement {
    /// When its successor took over.
    pub(crate) at: Timestamp,
    /// One sentence.
    pub(crate) reason: String,
}

impl Replacements {
    /// Of all causes.
    pub(crate) fn count(&self) -> u64 {
        self.memory + self.requests + self.age + self.health
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_worker_of_another_generation_is_told_but_for_while_an_order_is_carried_out() {
        let worker = |name: &str, generation: u64| {
            json!({"name": name, "pid": 7, "state": "ready", "since": "2026-01-01T00:00:05Z", "restarts": 0,
                "in_flight": 0, "last_error": null, "last_lines": [], "generation": generation})
        };
        let mut status: BackendStatus = serde_json::from_value(json!({
            "name": "api", "kind": "command", "generation": 2,
            "workers": [worker("api/0", 2), worker("api/1", 3)],
        }))
        .unwrap();
        let told: Vec<_> = status.warnings().collect();
        assert!(told.len() == 1 && told[0].starts_with("api/1 serves generation 3, though 2 is"), "{told:?}");
        status.order = Some("reload".to_owned());
        assert_eq!(status.warnings().count(), 0);
    }
}
