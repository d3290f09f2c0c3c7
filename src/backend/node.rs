//! Node's versions: which one a backend runs, and how it comes onto the machine. Installing is an order of its own
//! (`gateway node install`); a worker's start only chooses among what is there.

mod choice;
mod fetch;
mod in_use;
mod install;
mod lookup;
mod mirror;
mod problem;
mod project;
mod spec;
mod store;

pub(super) use self::{
    choice::Asking,
    in_use::{NodeHold, NodesInUse},
};
pub(crate) use self::{
    choice::NodeStatus,
    install::{Outcome, Step, Work},
    lookup::{Hints, Source, everybody_runs, here, program_at},
    mirror::{Mirror, Release},
    problem::NodeProblem,
    spec::{Spec, Wanted, lts_line, version},
    store::{Installed, Store},
};
pub(crate) use super::child::what_it_said;

use std::path::Path;

/// The version that an application's own files want.
pub(crate) fn wanted_by(directory: &Path) -> Result<Spec, String> {
    project::wanted(directory).map(|(spec, _)| spec)
}

/// What an application's own files say about the version, and which of them; none where nothing does.
pub(crate) fn asked_by(directory: &Path) -> Result<Option<(Spec, &'static str)>, String> {
    project::asked(directory)
}
