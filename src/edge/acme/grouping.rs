//! Which hosts share a certificate: those under one registered domain, by age. Pure; it says what would be ordered,
//! not whether there is time for it.
//!
//! A new host gets a certificate of its own at once, with whoever else is new: no large certificate is made again for
//! it. When the time of any certificate comes, the small ones of its domain are taken into the new one.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::schedule::{Facts, Proposal};

/// One wanted host as the schedule sees it now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) host: &'a str,
    /// When it was first seen.
    pub(crate) since: Timestamp,
    /// The best certificate with it, by its place among those held.
    pub(crate) certificate: Option<usize>,
    /// When that is to be renewed.
    pub(crate) due_at: Timestamp,
    /// Has it none, or is its time over?
    pub(crate) due: bool,
    /// Did the operator ask for it?
    pub(crate) asked: bool,
    /// With how many names its order may be made.
    pub(crate) share_max: Option<usize>,
    /// Not before then.
    pub(crate) blocked_until: Option<Timestamp>,
}

impl Want<'_> {
    /// To be ordered now?
    pub(crate) fn is_ready(&self) -> bool {
        self.due && self.is_free()
    }

    /// Could it be ordered now?
    fn is_free(&self) -> bool {
        self.blocked_until.is_none()
    }
}

/// The name that a registrar sells: what authorities count by. A public suffix itself stands for itself.
pub(crate) fn registered_domain(host: &str) -> &str {
    psl::domain_str(host).unwrap_or(host)
}

/// The orders that one domain's hosts need, renewals first.
pub(crate) fn group(facts: Facts<'_>, wants: &[Want<'_>]) -> Vec<Proposal> {
    let mut wants: Vec<&Want<'_>> = wants.iter().collect();
    wants.sort_by_key(|want| (want.since, want.host));
    let names_max = facts.rules.names_max.max(1);
    let mut orders = Vec::new();
    let mut taken: HashSet<&str> = HashSet::new();
    for certificate in due_certificates(&wants) {
        let due: Vec<_> = sharing(&wants, &taken).filter(|w| w.certificate == Some(certificate)).collect();
        if due.is_empty() {
            continue;
        }
        let asked = due.iter().any(|want| want.asked);
        let mut names: Vec<&str> = due.iter().map(|want| want.host).take(names_max).collect();
        let new = sharing(&wants, &taken).filter(|want| want.is_ready() && want.certificate.is_none());
        let room = names_max.saturating_sub(names.len());
        names.extend(new.map(|want| want.host).take(room));
        take_in(facts, &wants, (certificate, &taken), &mut names);
        taken.extend(&names);
        let old = &facts.held[certificate];
        let same = names.iter().copied().collect::<BTreeSet<_>>()
            == old.names.iter().map(String::as_str).collect::<BTreeSet<_>>();
        orders.push(Proposal {
            names: names.into_iter().map(str::to_owned).collect(),
            replaces: Some(old.id.clone()),
            renewal: same && !asked,
            resumes: None,
        });
    }
    let rest: Vec<_> = wants.iter().filter(|want| want.is_ready() && !taken.contains(want.host)).collect();
    // Those that must stand in small orders stay among themselves.
    let mut sizes: Vec<_> =
        rest.iter().map(|want| want.share_max.unwrap_or(names_max).min(names_max)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes.into_iter().rev() {
        let alike: Vec<_> = rest
            .iter()
            .filter(|want| want.share_max.unwrap_or(names_max).min(names_max) == size)
            .map(|want| want.host.to_owned())
            .collect();
        let lone = |names: &[String]| Proposal {
            names: names.to_vec(),
            replaces: None,
            renewal: false,
            resumes: None,
        };
        orders.extend(alike.chunks(size.max(1)).map(lone));
    }
    orders
}

/// The certificates of ready hosts, the one whose time came first first.
fn due_certificates(wants: &[&Want<'_>]) -> Vec<usize> {
    let ready = wants.iter().filter(|want| want.is_ready());
    let mut due: Vec<_> = ready.filter_map(|want| Some((want.due_at, want.certificate?))).collect();
    due.sort_unstable();
    due.dedup();
    due.into_iter().map(|(_, certificate)| certificate).collect()
}

/// Hosts that may share an order and are in none yet.
fn sharing<'w, 'a>(
    wants: &'w [&'w Want<'a>],
    taken: &'w HashSet<&'a str>,
) -> impl Iterator<Item = &'w Want<'a>> {
    let may = |want: &&Want<'a>| want.is_free() && want.share_max.is_none() && !taken.contains(want.host);
    wants.iter().copied().filter(may)
}

/// Add the hosts of other certificates that are not full, whole certificates alone: what is left of one would have
/// to be renewed on its own again.
fn take_in<'a>(
    facts: Facts<'_>,
    wants: &[&Want<'a>],
    (certificate, taken): (usize, &HashSet<&str>),
    names: &mut Vec<&'a str>,
) {
    let names_max = facts.rules.names_max;
    let mut others: Vec<_> = wants
        .iter()
        .filter_map(|want| Some((want.due_at, want.certificate?)))
        .filter(|(_, other)| *other != certificate && facts.held[*other].names.len() < names_max)
        .collect();
    others.sort_unstable();
    others.dedup();
    for (_, other) in others {
        let members: Vec<_> = wants.iter().filter(|want| want.certificate == Some(other)).collect();
        let all = members
            .iter()
            .all(|want| want.is_free() && want.share_max.is_none() && !taken.contains(want.host));
        if all && names.len() + members.len() <= names_max {
            names.extend(members.iter().map(|want| want.host));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_what_a_registrar_sells() {
        for (host, domain) in [
            ("api.example.com", "example.com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("shop.github.io", "shop.github.io"),
            ("github.io", "github.io"),
            ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
            ("api.internal", "api.internal"),
        ] {
            assert_eq!(registered_domain(host), domain, "{host}");
        }
    }
}
