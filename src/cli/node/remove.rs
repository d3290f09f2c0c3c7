//! `gateway node remove`: a version that nobody runs.

use serde::Serialize;

use super::{Place, used_by};
use crate::{
    backend::node::Spec,
    cli::{Failure, out},
};

/// Remove a version that `gateway node install` brought; refused while a backend runs it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway node remove 20.9.0
  gateway node remove 20
  gateway node remove 20 --json")]
pub(crate) struct Remove {
    /// The version; one that fits only one installed
    version: Spec,
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
        let users = used_by(&place.backends().await?, &one.prefix.join("bin/node"));
        if !users.is_empty() {
            let message = format!("Node v{} is in use by {}", one.version, users.join(", "));
            return Err(Failure::failed(message)
                .hint("give them another version, `gateway backend reload`, and remove it then"));
        }
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
}
