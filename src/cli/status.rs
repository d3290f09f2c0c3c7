//! `gateway status`: the whole house on one screen.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{Client, Failure, cert, job, out};
use crate::admin::{self, HostCertificate, Replacement, WorkerStatus};

/// Show tenants, workers, doors, pools, certificates and listeners of the running gateway
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway status
  gateway status --json | jq .listeners")]
pub(crate) struct Status {
    #[command(flatten)]
    form: out::Form,
}

impl Status {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let status: admin::Status = client.show("/status").await?;
        if self.form.json {
            return out::json(&status);
        }
        out::line(text(&status, Timestamp::now()));
        Ok(())
    }
}

fn text(status: &admin::Status, now: Timestamp) -> String {
    let state = match (status.swapping, status.stopping) {
        (true, _) => "draining for a swap",
        (false, true) => "draining",
        (false, false) => "running",
    };
    let swaps = match (status.swaps, &status.swap_failure) {
        (0, None) => String::new(),
        (swaps, failure) => {
            let ended = match status.swap_websockets {
                0 => String::new(),
                ended => format!(" ({ended} WebSockets were told to come again)"),
            };
            let failed = failure.as_ref().map(|failure| format!("\nthe last swap failed: {failure}"));
            format!(", swapped {}{ended}{}", out::times(swaps), failed.unwrap_or_default())
        }
    };
    let uptime = out::duration(status.uptime_s);
    let tenants = status.tenants;
    let mut sections = vec![
        format!("gateway {} {state} for {uptime}, pid {}{swaps}", status.version, status.pid),
        format!(
            "tenants: {} ({} active, {} paused, {} suspended)",
            tenants.total, tenants.active, tenants.paused, tenants.suspended
        ),
    ];
    sections.extend(status.warnings.iter().map(|warning| format!("warning: {warning}")));
    let listeners = status.listeners.iter().map(|one| [one.kind.clone(), one.address.to_string()]);
    push(&mut sections, &["listener", "address"], listeners.collect());
    let sites = status.sites.iter().map(|one| [one.site.clone(), one.does.clone()]);
    push(&mut sections, &["site", "does"], sites.collect());
    let workers = status.backends.iter().flat_map(|backend| &backend.workers);
    push(&mut sections, &WORKER_HEAD, workers.map(|worker| worker_row(worker, now)).collect());
    sections.extend(status.backends.iter().filter(|backend| backend.stopped).map(super::backend::stopped));
    let workers = status.backends.iter().flat_map(|backend| &backend.workers);
    let mut down: Vec<_> = workers.filter(|worker| last_error(worker).is_some()).collect();
    down.dedup_by_key(|worker| &worker.name);
    let others = down.split_off(down.len().min(FAILURES_MAX));
    sections.extend(down.into_iter().map(|worker| failure(worker, now, telling(&worker.last_lines))));
    sections.extend(not_told(&others));
    // The newest of each backend: `backend describe` has all.
    let newest = status.backends.iter().filter_map(|backend| {
        backend.workers.iter().max_by_key(|worker| worker.replacements.last.as_ref().map(|last| last.at))
    });
    sections.extend(newest.filter_map(|worker| replaced(worker, now)));
    let nodes = status.backends.iter().filter_map(|backend| {
        let node = backend.node()?;
        let version = node.version.clone().unwrap_or_default();
        Some([backend.name.clone(), version, node.source.word().to_owned(), node.by.clone()])
    });
    push(&mut sections, &["backend", "node", "from", "by"], nodes.collect());
    let jobs = status.jobs.iter().map(|one| job::row(one, now));
    push(&mut sections, &job::HEAD, jobs.collect());
    let doors = status.doors.iter().map(|door| {
        [door.door.clone(), door.address.to_string(), door.connections.to_string(), door.streams.to_string()]
    });
    push(&mut sections, &["door", "address", "connections", "streams"], doors.collect());
    let pools = status.pools.iter().map(|pool| POOL_KEYS.map(|key| cell(&pool[key])));
    push(&mut sections, &POOL_HEAD, pools.collect());
    sections.extend(certificates(&status.certificates, now));
    sections.join("\n\n")
}

/// Failures that are told at length: the same build fails in the same way everywhere.
const FAILURES_MAX: usize = 3;

/// Lines of each; `backend describe` has all of them.
const FAILURE_LINES: usize = 8;

/// The lines that say why: not the places of the stack; the last, from the last error on if it stands before them.
fn telling(written: &[String]) -> Vec<&String> {
    let is_place = |line: &str| line.trim().is_empty() || line.trim_start().starts_with("at ");
    let said: Vec<_> = written.iter().filter(|line| !is_place(line)).collect();
    let last = said.len().saturating_sub(FAILURE_LINES);
    let error = said.iter().rposition(|line| line.contains("Error")).unwrap_or(last);
    said.into_iter().skip(last.min(error)).take(FAILURE_LINES).collect()
}

/// A word of those for whom there is no room.
fn not_told(others: &[&WorkerStatus]) -> Option<String> {
    let backend = |worker: &&WorkerStatus| worker.name.split('/').next().unwrap_or_default().to_owned();
    let backends: BTreeSet<_> = others.iter().map(backend).collect();
    let backends = backends.into_iter().collect::<Vec<_>>().join(", ");
    let (noun, verb) = if others.len() == 1 { ("worker", "fails") } else { ("workers", "fail") };
    let count = others.len();
    (!others.is_empty())
        .then(|| format!("{count} more {noun} {verb} ({backends}): `gateway backend describe` shows why"))
}

/// Why a worker failed last. One that serves has put it behind it: `backend describe` still knows it.
fn last_error(worker: &WorkerStatus) -> Option<&str> {
    let behind = ["ready", "draining", "finished"].contains(&worker.state.as_str());
    worker.last_error.as_deref().filter(|_| !behind)
}

/// What of it stands in a table; the whole of it stands below.
const ERROR_CHARS: usize = 40;

/// Why a worker failed last, and when, with lines that it wrote before.
pub(super) fn failure<'a>(
    worker: &WorkerStatus,
    now: Timestamp,
    written: impl IntoIterator<Item = &'a String>,
) -> String {
    let ago = worker.last_error_at.map(|at| format!(" ({} ago)", out::duration(seconds(at, now))));
    let well = if worker.state == "ready" { "; it is ready now" } else { "" };
    let reason = worker.last_error.as_deref().unwrap_or_default();
    let mut lines = vec![format!("{}: {reason}{}{well}", worker.name, ago.unwrap_or_default())];
    lines.extend(worker.last_facts.iter().map(|fact| format!("  {fact}")));
    lines.extend(written.into_iter().map(|line| format!("  | {line}")));
    lines.join("\n")
}

fn seconds(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_second() - since.as_second()).unwrap_or(0)
}

/// The columns of a worker.
pub(super) const WORKER_HEAD: [&str; 10] = [
    "worker",
    "pid",
    "state",
    "since",
    "restarts",
    "replaced",
    "in flight",
    "memory",
    "health",
    "last error",
];

/// The row of a worker.
pub(super) fn worker_row(worker: &WorkerStatus, now: Timestamp) -> [String; 10] {
    [
        worker.name.clone(),
        worker.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        worker.state.clone(),
        out::duration(seconds(worker.since, now)),
        worker.restarts.to_string(),
        worker.replacements.count().to_string(),
        worker.in_flight.to_string(),
        worker.memory_mb.map(|mb| format!("{mb} MB")).unwrap_or_default(),
        worker.health_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
        last_error(worker).map(beginning).unwrap_or_default(),
    ]
}

/// How often, for what and why last a worker was replaced while it ran; nothing, if it never was.
pub(super) fn replaced(worker: &WorkerStatus, now: Timestamp) -> Option<String> {
    let replacements = &worker.replacements;
    let Replacement { at, reason } = replacements.last.as_ref()?;
    let causes = [
        ("memory", replacements.memory),
        ("requests", replacements.requests),
        ("age", replacements.age),
        ("health", replacements.health),
    ];
    let causes = causes.iter().filter(|(_, count)| *count > 0);
    let causes: Vec<_> = causes.map(|(cause, count)| format!("{cause} {count}")).collect();
    let times = out::times(replacements.count());
    let ago = out::duration(seconds(*at, now));
    Some(format!("{} replaced {times} ({}), last {ago} ago: {reason}", worker.name, causes.join(", ")))
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn push<const N: usize>(sections: &mut Vec<String>, head: &[&str; N], rows: Vec<[String; N]>) {
    if !rows.is_empty() {
        sections.push(out::table(head, rows));
    }
}

/// The columns of a pool, and the keys that its room tells them by.
const POOL_HEAD: [&str; 6] = ["pool", "engine", "open", "in use", "waiting", "max"];
const POOL_KEYS: [&str; 6] = ["tenant", "engine", "open", "in_use", "waiting", "max"];

/// Hosts shown before only those that need care are.
const HOSTS_MAX: usize = 10;

/// Every host with its certificate where they are few; else how they stand, and those that need care.
fn certificates(all: &[HostCertificate], now: Timestamp) -> Option<String> {
    let table = |rows: Vec<&HostCertificate>| {
        (!rows.is_empty()).then(|| out::table(&cert::HEAD, rows.into_iter().map(|one| cert::row(one, now))))
    };
    if all.len() <= HOSTS_MAX {
        return table(all.iter().collect());
    }
    let care: Vec<_> = all.iter().filter(|one| one.needs_care()).collect();
    let summary = format!("certificates: {} hosts, {} in need of care", all.len(), care.len());
    let table = table(care.into_iter().take(HOSTS_MAX).collect());
    Some([Some(summary), table].into_iter().flatten().collect::<Vec<_>>().join("\n\n"))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_shows_every_part_of_the_house() {
        let status: admin::Status = serde_json::from_value(json!({
            "version": "0.1.0", "pid": 17, "started": "2026-01-01T00:00:00Z", "uptime_s": 3700,
            "stopping": false, "local_ca": null,
            "listeners": [{"kind": "https", "address": "127.0.0.1:8443"}],
            "sites": [{"site": "www.example/docs", "does": "files in /srv/docs"}],
            "doors": [{"door": "sqlite", "address": "127.0.0.1:4000", "connections": 3, "streams": 1}],
            "backends": [{"name": "api", "kind": "command", "workers": [{
                "name": "api/0", "pid": 18, "state": "ready", "since": "2026-01-01T00:00:05Z",
                "restarts": 2, "in_flight": 1, "last_error": "long ago", "last_lines": [], "replacements": {"memory": 2,
                "requests": 0, "age": 1, "health": 0, "last": {"at": "2026-01-01T00:00:03Z", "reason": "it is large"}}}, {
                "name": "api/1", "pid": null, "state": "back-off", "since": "2026-01-01T00:00:05Z",
                "restarts": 7, "in_flight": 0, "last_error": "it ended with exit code 3", "last_facts": ["user: app"],
                "last_lines": ["1", "2", "3", "4", "5", "6", "7", "8", "Error: no"]}]},
                {"name": "shop", "kind": "command", "stopped": true, "workers": []}],
            "pools": [{"tenant": "navaja", "engine": "sqlite", "open": 2, "in_use": 1, "waiting": 0, "max": 9}],
            "tenants": {"total": 2, "active": 1, "paused": 0, "suspended": 1},
            "warnings": ["`b.example` has no certificate"],
            "certificates": [
                {"host": "a.example", "state": "served", "certificate": {"names": ["a.example"], "source": "local",
                    "issuer": "CN=CA", "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-03-01T10:11:12Z",
                    "sha256": "00", "id": null, "file": null}, "order": null},
                {"host": "b.example", "state": "missing", "certificate": null, "order": null}],
        }))
        .unwrap();
        let text = text(&status, "2026-01-01T00:00:10Z".parse().unwrap());
        for part in [
            "gateway 0.1.0 running for 1 h 1 min, pid 17",
            "tenants: 2 (1 active, 0 paused, 1 suspended)",
            "127.0.0.1:8443",
            "127.0.0.1:4000",
            "api/0",
            "5 s",
            "warning: `b.example` has no certificate",
            "api/1: it ended with exit code 3\n  user: app\n  | 2\n",
            "\n  | Error: no",
            "\n\napi/0 replaced 3 times (memory 2, age 1), last 7 s ago: it is large\n\n",
            "\n\nbackend shop is stopped: `gateway backend start shop`\n\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("long ago"), "it is well again\n{text}");
        assert_eq!(beginning(&"ä".repeat(ERROR_CHARS)), "ä".repeat(ERROR_CHARS));
        assert_eq!(beginning(&"ä".repeat(ERROR_CHARS + 1)), format!("{}…", "ä".repeat(ERROR_CHARS)));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = text.lines().map(words).collect();
        for pair in [
            ["SITE DOES", "www.example/docs files in /srv/docs"],
            ["DOOR ADDRESS CONNECTIONS STREAMS", "sqlite 127.0.0.1:4000 3 1"],
            ["POOL ENGINE OPEN IN USE WAITING MAX", "navaja sqlite 2 1 0 9"],
            ["HOST SOURCE ISSUER ENDS STATE", "a.example local CA 2026-03-01 (in 59 days) served"],
            ["a.example local CA 2026-03-01 (in 59 days) served", "b.example - - - missing"],
        ] {
            assert!(lines.windows(2).any(|two| two == pair), "{pair:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_failure_is_told_by_its_error_and_not_by_its_stack_and_those_left_out_are_counted() {
        let frames = (0..12).map(|n| format!("    at f{n} (node:internal/modules/esm/resolve:{n}:5)"));
        let head = ["  throw new ERR_MODULE_NOT_FOUND(", "", "Error: Cannot find package 'fastify'"];
        let tail = ["  code: 'ERR_MODULE_NOT_FOUND'", "}", "", "Node.js v22.1.0"];
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let crash = [owned(&head), frames.collect(), owned(&tail)].concat();
        let said = [head[0], head[2], tail[0], tail[1], tail[3]];
        assert_eq!(telling(&crash), said, "{crash:?}");
        let talkative = [crash, (0..20).map(|n| format!("  config: {n}")).collect()].concat();
        assert_eq!(telling(&talkative)[..2], [head[2], tail[0]], "from the error on");
        assert_eq!(telling(&talkative).len(), FAILURE_LINES);
        let plain: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(telling(&plain), plain[12..].iter().collect::<Vec<_>>());

        let down = |name: &str| -> WorkerStatus {
            serde_json::from_value(json!({"name": name, "pid": null, "state": "back-off", "restarts": 7,
                "since": "2026-01-01T00:00:05Z", "in_flight": 0, "last_error": "no", "last_lines": []}))
            .unwrap()
        };
        let others = ["b/0", "a/1", "b/1"].map(down);
        let told = "3 more workers fail (a, b): `gateway backend describe` shows why";
        assert_eq!(not_told(&others.iter().collect::<Vec<_>>()).as_deref(), Some(told));
        assert_eq!(not_told(&[]), None);
    }

    #[test]
    fn among_many_hosts_those_are_shown_that_need_care_or_lead_elsewhere_in_part() {
        let host = |name: &str, warning: Option<&str>| {
            let order = json!({"host": name, "state": "valid", "certificate": null, "not_after": null, "attempts": 0,
                "last_error": null, "next_try": null, "warning": warning});
            serde_json::from_value(
                json!({"host": name, "state": "served", "certificate": null, "order": order}),
            )
            .unwrap()
        };
        let mut all: Vec<HostCertificate> = (0..20).map(|n| host(&format!("{n}.example"), None)).collect();
        all.push(host("half.example", Some("192.0.2.1 does not lead here")));
        let text = certificates(&all, "2026-01-01T00:00:10Z".parse().unwrap()).unwrap();
        assert!(text.contains("21 hosts, 1 in need of care"), "{text}");
        assert!(text.contains("half.example") && text.contains("warning: 192.0.2.1 does not"), "{text}");
        assert!(!text.contains("1.example "), "{text}");
    }
}
