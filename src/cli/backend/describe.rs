//! `gateway backend describe`: everything about one backend on one screen.

use jiff::Timestamp;

use super::{Client, Failure, out, path_of, status, stopped, the_one};
use crate::admin::{BackendKind, BackendStatus};

/// Show one backend: its workers, why they failed, and the generations a rollback can go back to
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend describe
  gateway backend describe api --json")]
pub(crate) struct Describe {
    /// The backend; not needed if there is only one
    name: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

impl Describe {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        let backend: BackendStatus = client.show(&path_of(&name, "")).await?;
        if self.form.json {
            return out::json(&backend);
        }
        out::line(text(&backend, Timestamp::now()));
        Ok(())
    }
}

/// The workers of these backends.
pub(super) fn table(backends: &[BackendStatus]) -> String {
    let now = Timestamp::now();
    let workers = backends.iter().flat_map(|backend| &backend.workers);
    let mut text = out::table(&status::WORKER_HEAD, workers.map(|worker| status::worker_row(worker, now)));
    for backend in backends.iter().filter(|backend| backend.stopped) {
        text.push('\n');
        text.push_str(&stopped(backend));
    }
    text
}

fn text(backend: &BackendStatus, now: Timestamp) -> String {
    let mut sections = vec![summary(backend)];
    sections.push(table(std::slice::from_ref(backend)));
    // Failures of both processes of a slot are the same one.
    let mut failed: Vec<_> = backend.workers.iter().filter(|worker| worker.last_error.is_some()).collect();
    failed.dedup_by_key(|worker| &worker.name);
    sections.extend(failed.into_iter().map(|worker| status::failure(worker, now, &worker.last_lines)));
    let mut replaced: Vec<_> =
        backend.workers.iter().filter_map(|worker| status::replaced(worker, now)).collect();
    replaced.dedup();
    if !replaced.is_empty() {
        sections.push(replaced.join("\n"));
    }
    let mut floods: Vec<_> = backend.workers.iter().filter(|worker| worker.lines_dropped > 0).collect();
    floods.dedup_by_key(|worker| &worker.name);
    sections.extend(floods.iter().map(|worker| {
        format!(
            "{}: {} lines of output dropped, it writes too many at a time",
            worker.name, worker.lines_dropped
        )
    }));
    if !backend.generations.is_empty() {
        let rows = backend.generations.iter().rev().map(|one| {
            let seconds = u64::try_from(now.as_second() - one.made.as_second()).unwrap_or(0);
            let mark = if one.number == backend.generation { "in force" } else { "" };
            [
                one.number.to_string(),
                out::duration(seconds),
                one.directory.display().to_string(),
                one.node.as_ref().and_then(|node| node.version.clone()).unwrap_or_default(),
                mark.to_owned(),
            ]
        });
        sections.push(out::table(&["generation", "age", "directory", "node", "state"], rows));
    }
    sections.join("\n\n")
}

fn summary(backend: &BackendStatus) -> String {
    let name = &backend.name;
    if backend.kind == BackendKind::Upstream {
        return format!("backend {name}: an upstream that something else runs");
    }
    let ready = backend.workers.iter().filter(|worker| worker.state == "ready").count();
    let mut text = match backend.stopped {
        true => format!("backend {name}: stopped, to have {} workers", backend.wanted),
        false => format!("backend {name}: {ready} of {} workers ready", backend.wanted),
    };
    if let Some(order) = &backend.order {
        text.push_str(&format!(", {order} under way"));
    }
    if let Some(why) = &backend.held_up {
        text.push_str(&format!("\nwaiting: {why}"));
    }
    if let Some(node) = backend.node() {
        let version = node.version.as_deref().unwrap_or("of an unknown version");
        let (source, by, program) = (node.source.word(), &node.by, node.program.display());
        text.push_str(&format!("\nnode {version} from {source}, by {by}: {program}"));
    }
    if backend.rolled_back {
        text.push('\n');
        text.push_str(&held(backend));
    }
    if let Some(deploy) = &backend.deploy {
        text.push_str(&format!("\ndeploy by {} since {}: {}", deploy.by, deploy.since, deploy.step));
    }
    text
}

/// How long a rollback holds.
pub(super) fn held(backend: &BackendStatus) -> String {
    let BackendStatus { name, generation, .. } = backend;
    format!(
        "rolled back: generation {generation} stays until `gateway backend reload {name}`, a deploy, or another \
         configuration"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_shows_workers_failures_and_generations() {
        let backend: BackendStatus = serde_json::from_value(json!({
            "name": "api", "kind": "command", "wanted": 2, "order": "reload", "generation": 2, "held_up": "3 drain",
            "workers": [
                {"name": "api/0", "pid": 18, "state": "ready", "since": "2026-01-01T00:00:05Z", "restarts": 2,
                    "in_flight": 1, "last_error": "it ended with exit code 3", "last_lines": ["Error: no"],
                    "last_error_at": "2026-01-01T00:30:00Z"},
                {"name": "api/1", "pid": 19, "state": "starting", "since": "2026-01-01T00:00:05Z", "restarts": 0,
                    "in_flight": 0, "lines_dropped": 77, "last_error": null, "last_lines": [], "replacements": {
                    "memory": 0, "requests": 1, "age": 0, "health": 0, "last": {"at": "2026-01-01T01:59:00Z",
                    "reason": "it was given 5 requests (max_requests)"}}}],
            "generations": [
                {"number": 1, "made": "2026-01-01T00:00:00Z", "directory": "/srv/api/releases/1"},
                {"number": 2, "made": "2026-01-01T01:00:00Z", "directory": "/srv/api/releases/2", "node": {
                    "version": "v22.1.0", "program": "/state/node/v22.1.0/bin/node", "source": "gateway",
                    "by": ".nvmrc (22)"}}],
        }))
        .unwrap();
        let text = text(&backend, "2026-01-01T02:00:00Z".parse().unwrap());
        let words: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "backend api: 1 of 2 workers ready, reload under way",
            "waiting: 3 drain",
            "api/1 replaced once (requests 1), last 1 min 0 s ago: it was given 5 requests (max_requests)",
            "api/0: it ended with exit code 3 (1 h 30 min ago); it is ready now",
            "| Error: no",
            "node v22.1.0 from gateway, by .nvmrc (22): /state/node/v22.1.0/bin/node",
            "api/1: 77 lines of output dropped, it writes too many at a time",
            "2 1 h 0 min /srv/api/releases/2 v22.1.0 in force",
            "1 2 h 0 min /srv/api/releases/1 - -",
        ] {
            assert!(words.iter().any(|one| one == line), "{line:?} is not in\n{text}");
        }
        let back = summary(&BackendStatus { rolled_back: true, ..backend.clone() });
        assert!(
            back.contains("\nrolled back: generation 2 stays until `gateway backend reload api`"),
            "{back}"
        );
        let stopped = BackendStatus { stopped: true, order: None, ..backend };
        assert!(summary(&stopped).starts_with("backend api: stopped, to have 2 workers\n"));
    }
}
