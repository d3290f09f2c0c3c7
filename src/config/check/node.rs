//! Checks of Node's versions. Whether one is installed is not asked here: the order that installs it reads this
//! configuration.

use std::path::Path;

use super::{Check, Key};
use crate::backend::{Config as Backend, NodeWish};

impl Check<'_> {
    pub(super) fn node(&mut self) {
        let node = &self.config.node;
        self.node_wish(&["node"], node.version.as_deref(), node.path.as_deref());
        if let Some((message, remedy)) = node.mirror_problem() {
            self.problem(&["node", "mirror"], message, remedy);
        }
        if let Some(path) = node.ca_file.as_ref().filter(|path| !path.is_file()) {
            let message = format!("there is no file {}", path.display());
            self.problem(&["node", "ca_file"], message, "name a PEM file with the mirror's authority");
        }
        if node.idle_timeout > node.download_timeout {
            let message = "longer than the whole download may take (`node.download_timeout`)";
            let also: Key<'_> = &["node", "download_timeout"];
            self.contradiction(&["node", "idle_timeout"], &[also], message, "make it shorter");
        }
    }

    pub(super) fn node_of(&mut self, name: &str, backend: &Backend) {
        let own = ["backend", name, "node"];
        if backend.upstream.is_some() || !self.is_written(&own) {
            return;
        }
        self.node_wish(&own, backend.node.version.as_deref(), backend.node.path.as_deref());
        let program = backend.command.first().filter(|program| program.contains('/'));
        if program.is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == "node")) {
            let message = "`command` names its own Node, and so this has no say";
            self.warn(&own, message, "write the program as \"node\", or take this out");
        }
    }

    fn node_wish(&mut self, table: Key<'_>, version: Option<&str>, path: Option<&Path>) {
        let key = |last| table.iter().copied().chain([last]).collect::<Vec<_>>();
        if let Some(problem) = version.and_then(NodeWish::version_problem) {
            let remedy = "write it like \"22\", \"lts\", \"lts/jod\", \">=20 <23\", or \"auto\"";
            self.problem(&key("version"), problem, remedy);
        }
        if let Some(problem) = path.and_then(NodeWish::path_problem) {
            let remedy = "name a program `node`, or the directory of an installation";
            self.problem(&key("path"), problem, remedy);
        }
    }
}
