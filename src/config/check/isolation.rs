//! Checks of what workers are kept to: whose processes they are, which files they see.

use std::path::{Path, PathBuf};

use super::Check;
use crate::{backend::Config as Backend, config::load::Purpose};

/// The account of workers that the shipped sysusers.d(5) snippet makes, and its group.
const SHIPPED: &str = "gateway-app";

impl Check<'_> {
    pub(super) fn isolation(&mut self, name: &str, backend: &Backend) {
        if backend.upstream.is_some() {
            return;
        }
        if let Err(reason) = backend.account_problem()
            && !self.is_made_soon(backend)
        {
            let key = if backend.user.is_some() { "user" } else { "group" };
            self.problem(&["backend", name, key], reason, "name an account of this machine, or its number");
        }
        self.allowed(name, "allow_read", &backend.allow_read);
        self.allowed(name, "allow_write", &backend.allow_write);
    }

    fn is_made_soon(&self, backend: &Backend) -> bool {
        let mut names = backend.user.iter().chain(&backend.group);
        self.purpose == Purpose::SetUp && names.all(|name| name == SHIPPED)
    }

    /// What a sandbox is opened for: things that are there, and not ours.
    fn allowed(&mut self, name: &str, list: &str, paths: &[PathBuf]) {
        for (index, path) in paths.iter().enumerate() {
            let index = index.to_string();
            let key = ["backend", name, list, &index];
            if !path.exists() {
                let message = format!("there is no {}", path.display());
                self.problem(
                    &key,
                    message,
                    "create it first, or take it out: the rule is on the file itself",
                );
            } else if is_within(path, &self.config.state_dir) {
                let message = "this is the gateway's own state, which no worker may see";
                self.problem(&key, message, "keep the application's files elsewhere");
            }
        }
    }
}

fn is_within(path: &Path, state_dir: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(state_dir))
}
