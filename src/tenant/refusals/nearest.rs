//! Which tenant an unlisted origin most likely belongs to: names of the same registrable domain first, then names
//! a typing mistake away. Pure; it must stay fast with a hundred thousand tenants, so whole distances are
//! computed only where a comparison of two words says that they may be small.

use std::collections::HashMap;

use super::super::{Snapshot, TenantId};

/// Names further apart than this are different names, not typing mistakes.
const DISTANCE_MAX: usize = 2;

/// All names that tenants call from, prepared for many searches.
pub(super) struct Neighbours<'a> {
    names: Vec<Name<'a>>,
    domains: HashMap<&'a str, Vec<usize>>,
}

struct Name<'a> {
    host: &'a str,
    letters: u64,
    tenant: &'a TenantId,
}

impl<'a> Neighbours<'a> {
    /// The names in a snapshot's origins.
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut names: Vec<_> = snapshot
            .tenants()
            .flat_map(|tenant| tenant.origins.iter().map(move |origin| (origin.host(), &tenant.id)))
            .map(|(host, tenant)| Name { host, letters: letters(host), tenant })
            .collect();
        // So that the answer does not depend on the order of a hash map.
        names.sort_by(|a, b| (a.tenant, a.host).cmp(&(b.tenant, b.host)));
        let mut domains: HashMap<_, Vec<_>> = HashMap::new();
        for (index, name) in names.iter().enumerate() {
            domains.entry(registrable(name.host)).or_default().push(index);
        }
        Self { names, domains }
    }

    /// The nearest tenant to a name, if one is near. Where several share its domain (shops below one platform's
    /// domain), only a name a typing mistake away decides: the wrong tenant would be worse than none.
    pub(super) fn nearest(&self, host: &str) -> Option<&'a TenantId> {
        let same_domain = self.domains.get(registrable(host)).map(Vec::as_slice).unwrap_or_default();
        let same_domain = same_domain.iter().map(|index| &self.names[*index]);
        let owners = same_domain.clone().map(|name| name.tenant);
        match owners.clone().next() {
            Some(owner) if owners.clone().all(|other| other == owner) => Some(owner),
            Some(_) => closest(host, same_domain),
            None => closest(host, self.names.iter()),
        }
    }
}

fn closest<'a: 'n, 'n>(host: &str, names: impl Iterator<Item = &'n Name<'a>>) -> Option<&'a TenantId> {
    let letters = letters(host);
    let near = names.filter(|name| {
        // One edit changes at most two letters of the set.
        (name.letters ^ letters).count_ones() as usize <= 2 * DISTANCE_MAX
            && name.host.len().abs_diff(host.len()) <= DISTANCE_MAX
    });
    let near: Vec<_> = near
        .map(|name| (distance(name.host, host), name.tenant))
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .collect();
    let least = near.iter().map(|(distance, _)| *distance).min()?;
    let mut nearest = near.iter().filter(|(distance, _)| *distance == least).map(|(_, tenant)| *tenant);
    let first = nearest.next()?;
    // Two shops on `localhost` are equally near to a third.
    nearest.all(|other| other == first).then_some(first)
}

/// The registrable domain, or the name itself where there is none (`localhost`, addresses).
fn registrable(host: &str) -> &str {
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_address { host } else { psl::domain_str(host).unwrap_or(host) }
}

/// Which letters a name has, as a set of 64.
fn letters(host: &str) -> u64 {
    host.bytes().fold(0, |set, byte| set | 1 << (byte & 63))
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_insertions_deletions_and_changes() {
        for (a, b, want) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("acme", "amce", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (want, want), "{a} {b}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_quick_comparison_never_hides_a_near_name(a in "[a-z0-9.-]{1,12}", b in "[a-z0-9.-]{1,12}") {
            let differing = (letters(&a) ^ letters(&b)).count_ones() as usize;
            proptest::prop_assert!(differing <= 2 * distance(&a, &b));
        }
    }
}
