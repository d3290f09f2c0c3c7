//! What is readable and still wrong: contradictions, limits of zero, things that are not there. All at once.
//!
//! It looks at the disk (certificates, directories), but must never change anything, and never repeat a secret.

mod acme;
mod backend;
mod edge;
mod isolation;
mod job;
mod log;
mod node;
mod numbers;
mod pool;
mod site;
mod state;
mod tenant;
mod tls;

use std::path::Path;

pub(crate) use self::{acme::is_mail_address, backend::upstream_problem, isolation::too_wide};

use super::{Config, Problem, load::Purpose, place::Place};

/// A key, step by step: list items by index.
type Key<'k> = &'k [&'k str];

/// One pass over a configuration, and what it found.
pub(super) struct Check<'a> {
    config: &'a Config,
    places: &'a Place,
    /// The configuration's directory.
    directory: &'a Path,
    purpose: Purpose,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub(super) fn new(config: &'a Config, places: &'a Place, directory: &'a Path, purpose: Purpose) -> Self {
        Self { config, places, directory, purpose, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Every room's checks, in the order of the reference file.
    pub(super) fn everything(&mut self) {
        self.numbers();
        self.state();
        self.edge();
        self.sites();
        self.compression();
        self.tls();
        self.node();
        self.backends();
        self.jobs();
        self.pool();
        self.doors();
        self.tenants();
    }

    /// That key is wrong.
    fn problem(&mut self, key: Key<'_>, message: impl Into<String>, remedy: impl Into<String>) {
        self.contradiction(key, &[], message, remedy);
    }

    /// That key is wrong because of those others: quiet where one of them was reported already.
    fn contradiction(
        &mut self,
        key: Key<'_>,
        because_of: &[Key<'_>],
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if let Some(problem) = self.finding(key, because_of, message.into(), remedy.into()) {
            self.problems.push(problem);
        }
    }

    /// That key is legal, but risky.
    fn warn(&mut self, key: Key<'_>, message: impl Into<String>, remedy: impl Into<String>) {
        if let Some(warning) = self.finding(key, &[], message.into(), remedy.into()) {
            self.warnings.push(warning);
        }
    }

    fn finding(
        &self,
        key: Key<'_>,
        because_of: &[Key<'_>],
        message: String,
        remedy: String,
    ) -> Option<Problem> {
        let spoiled = |key: &Key<'_>| self.places.is_spoiled(&owned(key));
        if spoiled(&key) || because_of.iter().any(spoiled) {
            return None;
        }
        let path = owned(key);
        let (place, full) = self.places.nearest(&path);
        let exact = self.places.find(&path);
        Some(Problem {
            source: place.source.to_string(),
            line: place.line,
            key: full,
            value: exact.and_then(|place| place.shown(&path)),
            message,
            remedy,
        })
    }

    /// Did somebody write that key?
    fn is_written(&self, key: Key<'_>) -> bool {
        self.places.find(&owned(key)).is_some()
    }
}

fn owned(key: Key<'_>) -> Vec<String> {
    key.iter().map(|part| (*part).to_owned()).collect()
}
