//! Every host and its certificate, as the operator sees it: chosen by the same function that answers clients, so
//! that what is shown is what is served. It never shows a key.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metrics, SourceLabels, StateLabels};

use super::super::acme::{HostState, State};
use super::{Certificates, Source, pair::Leaf, resolver::Chosen, vault::KeptCertificate};

/// Warnings in words before the rest is only counted.
const WARNINGS_MAX: usize = 5;

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostCertificateState {
    /// Its certificate is served.
    Served,
    /// It is served, and ends soon.
    EndsSoon,
    /// It is served, and has ended: browsers refuse it.
    Ended,
    /// There is none: clients that ask for it are turned away.
    Missing,
    /// There is a certificate, but no host of this name.
    Unused,
}

impl HostCertificateState {
    /// As it is shown.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::EndsSoon => "ends soon",
            Self::Ended => "ended",
            Self::Missing => "missing",
            Self::Unused => "unused",
        }
    }

    fn metric(self) -> &'static str {
        match self {
            Self::EndsSoon => "ends_soon",
            other => other.word(),
        }
    }
}

/// The words for where certificates come from.
const SOURCES: [&str; 4] = ["imported", "acme", "file", "local"];

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostCertificate {
    /// Its name.
    pub(crate) host: String,
    /// Where it stands.
    pub(crate) state: HostCertificateState,
    /// What is served, if anything is.
    pub(crate) certificate: Option<CertificateView>,
    /// Where it stands with ACME, if it orders for this host.
    pub(crate) order: Option<HostState>,
}

impl HostCertificate {
    /// The word for where it stands: trouble and work with an order come before what is served meanwhile.
    pub(crate) fn word(&self) -> &'static str {
        match self.order.as_ref().map(|order| order.state) {
            Some(state @ (State::Ordering | State::Failing | State::Elsewhere)) => state.as_str(),
            Some(state @ (State::Waiting | State::Unfit)) if self.certificate.is_none() => state.as_str(),
            _ => self.state.word(),
        }
    }

    /// Does it need the operator's care? Also one that is served and warned of: a part of its clients is led elsewhere.
    pub(crate) fn needs_care(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.last_error.is_some() || order.warning.is_some())
            || !matches!(self.state, HostCertificateState::Served | HostCertificateState::Unused)
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateView {
    /// `imported`, `acme`, `file` or `local`.
    pub(crate) source: String,
    /// The names it is good for.
    pub(crate) names: Vec<String>,
    /// Who signed it.
    pub(crate) issuer: String,
    /// From when it is good.
    pub(crate) not_before: Timestamp,
    /// Until when.
    pub(crate) not_after: Timestamp,
    /// SHA-256 of the certificate, as browsers show it.
    pub(crate) sha256: String,
    /// Its name in the vault.
    pub(crate) id: Option<String>,
    /// The file it came from.
    pub(crate) file: Option<PathBuf>,
}

/// Every one of these hosts, then what is kept for no host, by name.
pub(super) fn inventory(
    certificates: &Certificates,
    hosts: &BTreeSet<String>,
    orders: Vec<HostState>,
    now: Timestamp,
) -> Vec<HostCertificate> {
    let mut orders: HashMap<_, _> = orders.into_iter().map(|order| (order.host.clone(), order)).collect();
    let served = |host: &String| {
        let chosen = certificates.choose(Some(host), || true, now);
        let state = match &chosen {
            None => HostCertificateState::Missing,
            Some(chosen) if chosen.life().1 <= now => HostCertificateState::Ended,
            Some(chosen) if certificates.nears_end(chosen, now) => HostCertificateState::EndsSoon,
            Some(_) => HostCertificateState::Served,
        };
        let certificate = chosen.as_ref().and_then(view);
        HostCertificate { host: host.clone(), state, certificate, order: orders.remove(host) }
    };
    let mut all: Vec<_> = hosts.iter().map(served).collect();
    for (name, chosen) in unused(certificates, hosts) {
        let state = HostCertificateState::Unused;
        all.push(HostCertificate { host: name, state, certificate: view(&chosen), order: None });
    }
    all
}

/// Names in certificates that lead to no host; a wildcard that covers one is of use.
fn unused(certificates: &Certificates, hosts: &BTreeSet<String>) -> BTreeMap<String, Chosen> {
    let bases: BTreeSet<&str> =
        hosts.iter().filter_map(|host| host.split_once('.')).map(|(_, base)| base).collect();
    let is_used = |name: &str| match name.strip_prefix("*.") {
        Some(base) => bases.contains(base),
        None => hosts.contains(name),
    };
    let mut found = BTreeMap::new();
    let files: Vec<_> = match &**certificates.source.load() {
        Source::Files(files) => files.all().cloned().collect(),
        Source::Off | Source::Acme | Source::Local(_) => Vec::new(),
    };
    for file in files {
        for name in file.pair.leaf.names.iter().filter(|name| !is_used(name)) {
            found.entry(name.clone()).or_insert_with(|| Chosen::File(file.clone()));
        }
    }
    for kept in certificates.vault.all() {
        for name in kept.names.iter().filter(|name| !is_used(name)) {
            found.insert(name.clone(), Chosen::Kept(kept.clone()));
        }
    }
    found
}

fn view(chosen: &Chosen) -> Option<CertificateView> {
    let der = chosen.certified().end_entity_cert().ok()?;
    let leaf = Leaf::read(der).ok()?;
    let (id, file) = match chosen {
        Chosen::Kept(kept) => (Some(kept.id.clone()), None),
        Chosen::File(file) => (None, Some(file.path.clone())),
        Chosen::Local(_) => (None, None),
    };
    Some(CertificateView { id, file, ..described(chosen.source(), leaf, der) })
}

/// A kept certificate, whether it is served or not.
pub(super) fn kept(kept: &KeptCertificate) -> CertificateView {
    let leaf = Leaf {
        names: kept.names.clone(),
        issuer: kept.issuer.clone(),
        not_before: kept.not_before,
        not_after: kept.not_after,
    };
    CertificateView { id: Some(kept.id.clone()), ..described(kept.kept.word(), leaf, &kept.leaf_der) }
}

fn described(source: &str, leaf: Leaf, der: &[u8]) -> CertificateView {
    let sha256: Vec<_> = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    CertificateView {
        source: source.to_owned(),
        names: leaf.names,
        issuer: leaf.issuer,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        sha256: sha256.join(":"),
        id: None,
        file: None,
    }
}

/// Set the metrics: the first end of each source, and how many hosts need care.
pub(crate) fn observe(all: &[HostCertificate], metrics: &Metrics) {
    let mut ends: BTreeMap<&'static str, i64> = BTreeMap::new();
    let in_use = all.iter().filter(|one| one.state != HostCertificateState::Unused);
    for certificate in in_use.filter_map(|one| one.certificate.as_ref()) {
        let Some(source) = SOURCES.into_iter().find(|source| *source == certificate.source) else { continue };
        let end = ends.entry(source).or_insert(i64::MAX);
        *end = (*end).min(certificate.not_after.as_second());
    }
    metrics.certificate_not_after_seconds.clear();
    for (source, end) in ends {
        metrics.certificate_not_after_seconds.get_or_create(&SourceLabels { source }).set(end);
    }
    for state in [HostCertificateState::EndsSoon, HostCertificateState::Ended, HostCertificateState::Missing]
    {
        let count = all.iter().filter(|one| one.state == state).count();
        let labels = StateLabels { state: state.metric() };
        metrics
            .certificate_hosts_in_need
            .get_or_create(&labels)
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// What the operator must know without asking for it.
pub(crate) fn warnings(all: &[HostCertificate], now: Timestamp) -> Vec<String> {
    let mut warnings: Vec<_> = all.iter().filter_map(|one| warning(one, now)).collect();
    let more = warnings.len().saturating_sub(WARNINGS_MAX);
    warnings.truncate(WARNINGS_MAX);
    if more > 0 {
        warnings.push(format!("{more} more certificates need care: `gateway cert list` shows them"));
    }
    warnings
}

fn warning(one: &HostCertificate, now: Timestamp) -> Option<String> {
    let host = &one.host;
    if let Some(order) = one.order.as_ref().filter(|order| order.last_error.is_some()) {
        let served = if one.certificate.is_some() { "no new" } else { "no" };
        let why = order.last_error.as_deref().unwrap_or_default();
        let when = order.next_try.map(|next| format!("; next try {next:.0}")).unwrap_or_default();
        return Some(format!("{served} certificate for `{host}`: {why}{when}"));
    }
    // What is being ordered needs nobody's care yet.
    if one.order.as_ref().is_some_and(|order| matches!(order.state, State::Ordering | State::Waiting)) {
        return None;
    }
    let certificate = match (&one.certificate, one.state) {
        (Some(certificate), HostCertificateState::EndsSoon | HostCertificateState::Ended) => certificate,
        (None, HostCertificateState::Missing) => {
            return Some(format!("`{host}` has no certificate: nobody can reach it over https"));
        }
        _ => return None,
    };
    let days = (certificate.not_after.as_second() - now.as_second()) / 86_400;
    let when = match (one.state, days) {
        (HostCertificateState::Ended, _) => "has ended".to_owned(),
        (_, 0) => "ends today".to_owned(),
        (_, 1) => "ends in 1 day".to_owned(),
        (_, days) => format!("ends in {days} days"),
    };
    let remedy = match certificate.source.as_str() {
        "imported" => {
            format!("import its successor: `gateway cert import {host} --cert FILE --key FILE`")
        }
        "file" => "put its successor into its files: it is taken at once".to_owned(),
        _ => format!("`gateway cert show {host}` tells why it was not renewed"),
    };
    Some(format!("the {} certificate of `{host}` {when}; {remedy}", certificate.source))
}
