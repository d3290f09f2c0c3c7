//! `gateway node remove`: a version that nobody runs.

use std::path::Path;

use serde::Serialize;

use super::{Place, used_by};
use crate::{
    admin::BackendStatus,
    backend::node::{Installed, Spec},
    cli::{Failure, out},
};

/// Remove a version that `gateway node install` brought; refused while a backend needs it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A version is needed by a backend that runs it, by workers that drain and jobs that go on with it, and by earlier \
generations that `gateway backend rollback` could go back to. Only the last are given up with --force.

Examples:
  gateway node remove 20.9.0
  gateway node remove 20 --force
  gateway node remove 20 --json")]
pub(crate) struct Remove {
    /// The version; one that fits only one installed
    version: Spec,
    /// Give up rollbacks to generations that ran it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    form: out::Form,
}

/// What was removed.
#[derive(Debug, Serialize)]
struct Said {
    version: String,
    /// Whose choice by `gateway node use` it was: a backend's name, or `default`.
    chosen_by: Vec<String>,
}

impl Remove {
    pub(super) async fn run(self, place: &Place) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::io("write to", place.store.directory(), &error);
        let busy = || Failure::failed("another `gateway node` is at work").hint("wait for its end");
        let lock = place.store.try_lock().map_err(failed)?.ok_or_else(busy)?;
        let all = place.store.installed().into_iter();
        let fits: Vec<_> = all.filter(|one| self.version.takes(&one.version, one.lts.as_deref())).collect();
        let [one] = &fits[..] else {
            let names: Vec<_> = fits.iter().map(|one| format!("v{}", one.version)).collect();
            return Err(match names.is_empty() {
                true => {
                    Failure::failed(format!("the gateway has installed no Node that is {}", self.version))
                        .hint("`gateway node list` shows what there is, and where it comes from")
                }
                false => Failure::usage(format!("{} of them fit {}", names.len(), self.version))
                    .hint(format!("name one: {}", names.join(", "))),
            });
        };
        // A gateway that runs and does not say it may run anything.
        self.nobody_needs(one, &place.backends().await?)?;
        let chosen_by = place.store.remove(&one.version, &lock).map_err(failed)?;
        let version = format!("v{}", one.version);
        if self.form.json {
            return out::json(&Said { version, chosen_by });
        }
        for name in chosen_by {
            out::remark(format!("it was chosen by `gateway node use` ({name}): that choice is gone with it"));
        }
        out::line(format!("Node {version} removed"));
        Ok(())
    }

    fn nobody_needs(&self, one: &Installed, backends: &[BackendStatus]) -> Result<(), Failure> {
        let (program, version) = (one.prefix.join("bin/node"), &one.version);
        let users = used_by(backends, &program);
        if !users.is_empty() {
            let message = format!("Node v{version} is in use by {}", users.join(", "));
            return Err(Failure::failed(message)
                .hint("give them another version, `gateway backend reload`, and remove it then"));
        }
        let program = program.canonicalize().unwrap_or(program);
        let runs = |backend: &&BackendStatus| backend.nodes_in_use.contains(&program);
        let running: Vec<_> = backends.iter().filter(runs).map(|backend| backend.name.as_str()).collect();
        if !running.is_empty() {
            let message = format!("processes of {} still run Node v{version}", running.join(", "));
            return Err(Failure::failed(message).hint(
                "wait for the end of workers that drain (`gateway backend list`) and of jobs (`gateway job list`)",
            ));
        }
        let ways_back: Vec<_> = backends.iter().flat_map(|backend| ways_back(backend, &program)).collect();
        if ways_back.is_empty() || self.force {
            return Ok(());
        }
        let message = format!("a rollback to {} would need Node v{version}", ways_back.join(", "));
        Err(Failure::failed(message).hint("give up that way back with `--force`"))
    }
}

/// The generations that a rollback could go back to and that ran it.
fn ways_back(backend: &BackendStatus, program: &Path) -> impl Iterator<Item = String> {
    let ran = backend
        .generations
        .iter()
        .filter(move |one| one.node.as_ref().is_some_and(|node| node.program == program));
    ran.map(|one| format!("generation {} of {}", one.number, backend.name))
}
