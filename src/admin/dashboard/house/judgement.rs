//! What a status amounts to: does everything serve, what does not, and what wants care. The same facts that `gateway
//! status` tells, in the order in which somebody who has just been woken needs them.

use serde::Serialize;

use super::{REASON_CHARS_MAX, clipped};
use crate::{
    admin::{HostCertificate, Status},
    backend::{BackendKind, BackendStatus},
    edge::HostCertificateState,
};

/// Findings told; where there are more, there is one reason for most of them.
const FINDINGS_MAX: usize = 20;

/// How bad it is. Later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weight {
    /// Nothing to do.
    Well,
    /// It serves, and somebody should look at it.
    Care,
    /// It does not serve.
    Ill,
}

/// The whole of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Judgement {
    weight: Weight,
    headline: String,
    findings: Vec<Finding>,
    /// How many are not told.
    left_out: usize,
}

/// One thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    weight: Weight,
    text: String,
    /// What does not serve.
    #[serde(skip)]
    subject: String,
}

impl Judgement {
    /// Of that status.
    pub(super) fn of(status: &Status) -> Self {
        let mut findings: Vec<_> = status.backends.iter().flat_map(of_backend).collect();
        findings.extend(of_certificates(&status.certificates));
        let draining = status.stopping.then(|| care("the gateway is draining: it takes no new connections"));
        let swap = status.swap_failure.as_ref().map(|why| care(&format!("the last swap failed: {why}")));
        findings.extend(draining.into_iter().chain(swap));
        findings.extend(status.warnings.iter().map(|warning| care(warning)));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
        let weight = findings.first().map_or(Weight::Well, |finding| finding.weight);
        let headline = headline(&findings);
        let left_out = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        Self { weight, headline, findings, left_out }
    }
}

fn headline(findings: &[Finding]) -> String {
    let ill = findings.iter().filter(|finding| finding.weight == Weight::Ill);
    let subjects: Vec<_> = ill.map(|finding| finding.subject.as_str()).collect();
    match (&subjects[..], findings.len()) {
        ([], 0) => "Everything serves".to_owned(),
        ([], 1) => "Everything serves, one thing wants care".to_owned(),
        ([], care) => format!("Everything serves, {care} things want care"),
        ([one], _) => format!("{one} does not serve"),
        ([one, other], _) => format!("{one} and {other} do not serve"),
        ([one, other, more @ ..], _) => format!("{one}, {other} and {} more do not serve", more.len()),
    }
}

fn of_backend(backend: &BackendStatus) -> Vec<Finding> {
    let name = &backend.name;
    if backend.stopped {
        return vec![care(&format!("backend {name} is stopped by order: `gateway backend start {name}`"))];
    }
    let ready = backend.workers.iter().filter(|worker| worker.state == "ready").count();
    let failed = backend.workers.iter().filter(|worker| {
        // One that serves has put it behind it, and one that is on its way out has nothing to put right.
        !["ready", "draining", "finished"].contains(&worker.state.as_str()) && worker.last_error.is_some()
    });
    let failures: Vec<_> = failed
        .map(|worker| {
            let why = worker.last_error.as_deref().unwrap_or_default();
            format!("{} is in state {}: {why}", worker.name, worker.state)
        })
        .collect();
    if ready > 0 {
        return failures.iter().map(|text| care(text)).collect();
    }
    let why = match (backend.kind, failures.first()) {
        (_, Some(failure)) => failure.clone(),
        (BackendKind::Command, None) => "its workers are starting".to_owned(),
        (BackendKind::Upstream, None) => "none of its addresses answers".to_owned(),
    };
    vec![ill(name, &format!("backend {name} does not serve: {why}"))]
}

/// Hosts that no browser takes; what is being ordered needs nobody's care yet, and a host that leads elsewhere is
/// somebody else's to put right.
fn of_certificates(all: &[HostCertificate]) -> Vec<Finding> {
    let dark = |one: &&HostCertificate| {
        matches!(one.state, HostCertificateState::Missing | HostCertificateState::Ended)
            && ["missing", "ended", "failing"].contains(&one.word())
    };
    let hosts: Vec<_> = all.iter().filter(dark).map(|one| one.host.as_str()).collect();
    match hosts[..] {
        [] => Vec::new(),
        [host] => {
            vec![ill(host, &format!("{host} cannot be reached over https: it has no valid certificate"))]
        }
        [host, ..] => {
            let count = hosts.len();
            let text = format!(
                "{count} hosts cannot be reached over https: {host} and others have no valid certificate"
            );
            vec![ill(&format!("the https of {count} hosts"), &text)]
        }
    }
}

fn care(text: &str) -> Finding {
    Finding { weight: Weight::Care, text: clipped(text, REASON_CHARS_MAX), subject: String::new() }
}

fn ill(subject: &str, text: &str) -> Finding {
    let text = clipped(text, REASON_CHARS_MAX);
    Finding { weight: Weight::Ill, text, subject: clipped(subject, REASON_CHARS_MAX) }
}
