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

/// The longest-living one of each kind.
#[derive(Default)]
struct Candidates {
    acme: Option<Arc<KeptCertificate>>,
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
                let candidates = map.entry(key.into()).or_default();
                let slot = match one.kept {
                    Kept::Acme => &mut candidates.acme,
                    Kept::Imported => &mut candidates.imported,
                };
                if slot.as_ref().is_none_or(|other| other.not_after < one.not_after) {
                    *slot = Some(one.clone());
                }
            }
        }
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
        let acme = places.iter().flatten().filter_map(|one| one.acme.as_ref());
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
