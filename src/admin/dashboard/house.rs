//! The status as a page shows it: judged, the worst first, and bounded whatever a gateway has. Pure.

mod judgement;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use self::judgement::Judgement;
use crate::{
    admin::{Counts, DoorView, HostCertificate, Listening, SiteView, Status},
    backend::{BackendStatus, WorkerStatus},
    job::{JobView, RunView},
};

/// Rows of a list: more than anybody reads, and less than a browser minds.
const ROWS_MAX: usize = 100;

/// What is shown of why something failed, and of each last line of a worker.
const REASON_CHARS_MAX: usize = 600;

/// The whole house.
#[derive(Debug, Serialize)]
pub(super) struct House {
    judgement: Judgement,
    state: &'static str,
    version: String,
    pid: u32,
    uptime_s: u64,
    swaps: u64,
    listeners: Vec<Listening>,
    sites: Vec<SiteView>,
    doors: Vec<DoorView>,
    backends: Vec<BackendRow>,
    jobs: Vec<JobRow>,
    pools: Part<Value>,
    certificates: Part<CertificateRow>,
    tenants: Counts,
}

/// The first of more.
#[derive(Debug, Serialize)]
struct Part<T> {
    total: usize,
    shown: Vec<T>,
}

#[derive(Debug, Serialize)]
struct BackendRow {
    /// Its Node, if it is known.
    node: Option<String>,
    /// Workers that take traffic.
    ready: usize,
    /// The rest of it.
    #[serde(flatten)]
    status: BackendStatus,
}

#[derive(Debug, Serialize)]
struct JobRow {
    name: String,
    /// None for what runs always.
    schedule: Option<String>,
    timezone: Option<String>,
    each_tenant: bool,
    next: Option<Timestamp>,
    state: String,
    last_started: Option<Timestamp>,
    /// The last outcome's word.
    outcome: Option<&'static str>,
    good: bool,
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct CertificateRow {
    host: String,
    state: &'static str,
    care: bool,
    source: Option<String>,
    not_after: Option<Timestamp>,
    trouble: Option<String>,
}

impl House {
    /// That house at that moment.
    pub(super) fn of(status: Status, now: Timestamp) -> Self {
        let judgement = Judgement::of(&status);
        let state = match (status.swapping, status.stopping) {
            (true, _) => "draining for a swap",
            (false, true) => "draining",
            (false, false) => "running",
        };
        let mut pools = status.pools;
        let number = |pool: &Value, key: &str| pool[key].as_u64().unwrap_or(0);
        pools.sort_by_key(|pool| std::cmp::Reverse((number(pool, "waiting"), number(pool, "in_use"))));
        let mut certificates: Vec<_> = status.certificates.iter().map(CertificateRow::of).collect();
        certificates.sort_by_key(|row| (!row.care, row.not_after.unwrap_or(now)));
        Self {
            judgement,
            state,
            version: status.version,
            pid: status.pid,
            uptime_s: status.uptime_s,
            swaps: status.swaps,
            listeners: status.listeners,
            sites: first(status.sites).shown,
            doors: status.doors,
            backends: status.backends.into_iter().map(BackendRow::of).collect(),
            jobs: status.jobs.iter().map(JobRow::of).collect(),
            pools: first(pools),
            certificates: first(certificates),
            tenants: status.tenants,
        }
    }
}

impl BackendRow {
    fn of(mut status: BackendStatus) -> Self {
        status.workers.iter_mut().for_each(shorten);
        let node = status.node().and_then(|node| node.version.clone());
        // What it could go back to is the command line's.
        status.generations.clear();
        let ready = status.workers.iter().filter(|worker| worker.state == "ready").count();
        Self { node, ready, status }
    }
}

fn shorten(worker: &mut WorkerStatus) {
    let texts = worker.last_error.iter_mut().chain(&mut worker.last_facts).chain(&mut worker.last_lines);
    texts.for_each(|text| *text = clipped(text, REASON_CHARS_MAX));
}

impl JobRow {
    fn of(job: &JobView) -> Self {
        let state = match (&job.under_way, &job.program) {
            (Some(run), _) => format!("run {} ({}/{})", run.number, run.ended, run.total),
            (None, Some(program)) => program.state.clone(),
            (None, None) => "waiting".to_owned(),
        };
        let last = job.runs.first();
        let error = job.program.as_ref().and_then(|program| program.last_error.as_deref());
        Self {
            name: job.name.clone(),
            schedule: job.schedule.clone(),
            timezone: job.timezone.clone(),
            each_tenant: job.each_tenant,
            next: job.next,
            state,
            last_started: last.map(|run| run.started),
            outcome: last.map(|run| run.outcome.word()),
            good: job.warning().is_none(),
            detail: last.and_then(wrong).or(error.map(|error| clipped(error, REASON_CHARS_MAX))),
        }
    }
}

/// What went wrong in a run: the one verdict's sentence, and of how many it is one.
fn wrong(run: &RunView) -> Option<String> {
    let mut bad = run.verdicts.iter().filter(|verdict| !verdict.outcome.is_good());
    let first = bad.next()?;
    let of = first.tenant.as_ref().map(|tenant| format!("{tenant}: ")).unwrap_or_default();
    let more = bad.count();
    let and = if more > 0 { format!(", and {more} more of {}", run.verdicts.len()) } else { String::new() };
    Some(clipped(&format!("{of}{}{and}", first.detail), REASON_CHARS_MAX))
}

impl CertificateRow {
    fn of(one: &HostCertificate) -> Self {
        let (certificate, order) = (one.certificate.as_ref(), one.order.as_ref());
        let trouble = order.and_then(|order| order.last_error.as_deref().or(order.warning.as_deref()));
        Self {
            host: one.host.clone(),
            state: one.word(),
            care: one.needs_care(),
            source: certificate.map(|certificate| certificate.source.clone()),
            not_after: certificate.map(|certificate| certificate.not_after),
            trouble: trouble.map(|text| clipped(text, REASON_CHARS_MAX)),
        }
    }
}

fn first<T>(mut all: Vec<T>) -> Part<T> {
    let total = all.len();
    all.truncate(ROWS_MAX);
    Part { total, shown: all }
}

/// The beginning of a text.
pub(super) fn clipped(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
