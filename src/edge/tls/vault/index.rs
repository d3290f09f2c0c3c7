//! Kept certificates by name, made anew from the plain list at each change and then only read. Two hash look-ups a
//! handshake, whatever the number of names.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::{Kept, KeptCertificate, nears_end};

/// What a name leads to.
pub(super) struct Index {
    all: Vec<Arc<KeptCertificate>>,
    exact: HashMap<Box<str>, Candidates>,
    /// `*.base`, by base.
    below: HashMap<Box<str>, Candidates>,
}

/// Those of a name: ACME's, newest first, and the longest-living imported one.
#[derive(Default)]
struct Candidates {
    acme: Vec<Arc<KeptCertificate>>,
    imported: Option<Arc<KeptCertificate>>,
}

impl Index {
    pub(super) fn new(all: impl Iterator<Item = Arc<KeptCertificate>>) -> Self {
        let mut index = Self { all: all.collect(), exact: HashMap::new(), below: HashMap::new() };
        for one in &index.all {
            for name in &one.names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(base) => (&mut index.below, base),
                    None => (&mut index.exact, name.as_str()),
                };
                map.entry(key.into()).or_default().take(one);
            }
        }
        let candidates = index.exact.values_mut().chain(index.below.values_mut());
        candidates.for_each(|candidates| candidates.acme.sort_by(|a, b| age(b).cmp(&age(a))));
        index
    }

    pub(super) fn all(&self) -> &[Arc<KeptCertificate>] {
        &self.all
    }

    /// The certificate to serve.
    pub(super) fn best(&self, name: &str, now: Timestamp, warning_s: i64) -> Option<&Arc<KeptCertificate>> {
        let places = self.places(name);
        let imported = places.iter().flatten().filter_map(|one| one.imported.as_ref());
        let fresh = |one: &&Arc<KeptCertificate>| !nears_end(one.not_before, one.not_after, now, warning_s);
        let acme = places.iter().flatten().filter_map(|one| one.newest(now));
        imported.clone().find(fresh).or_else(|| acme.chain(imported).max_by_key(|one| one.not_after))
    }

    /// The longest-living imported one.
    pub(super) fn imported(&self, name: &str) -> Option<&Arc<KeptCertificate>> {
        let imported = self.places(name).into_iter().flatten().filter_map(|one| one.imported.as_ref());
        imported.max_by_key(|one| one.not_after)
    }

    /// The name itself, then the wildcard above it.
    fn places(&self, name: &str) -> [Option<&Candidates>; 2] {
        let base = name.split_once('.').map(|(_, base)| base);
        [self.exact.get(name), base.and_then(|base| self.below.get(base))]
    }
}

impl Candidates {
    fn take(&mut self, one: &Arc<KeptCertificate>) {
        match one.kept {
            Kept::Acme => self.acme.push(one.clone()),
            Kept::Imported => {
                if self.imported.as_ref().is_none_or(|other| other.not_after < one.not_after) {
                    self.imported = Some(one.clone());
                }
            }
        }
    }

    /// The newest of ACME's that lives, and not the one that lives longest: an authority that wants one replaced, because
    /// it will revoke it, may sign for a shorter time than it did.
    fn newest(&self, now: Timestamp) -> Option<&Arc<KeptCertificate>> {
        self.acme.iter().find(|one| one.not_after > now).or(self.acme.first())
    }
}

/// Larger for what came later, as the schedule has it; the id, which has the moment in it, decides between two of one
/// second.
fn age(one: &KeptCertificate) -> (Timestamp, Timestamp, &str) {
    (one.not_before, one.not_after, &one.id)
}
