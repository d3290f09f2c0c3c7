//! `gateway node exec`: a command as a backend's workers would run it.

use super::{Place, choose, told};
use crate::{
    backend::{ByHand, NodeWish, node::Spec},
    cli::{Failure, failure::end_as, identity},
};

/// Run a command with a backend's Node: in its directory, with its environment, as its workers' user
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit code is the command's own. NODE_ENV is \"production\" unless the backend's `env` says otherwise, so `npm ci` leaves \
development dependencies out; add `--include=dev` where a build needs them. There is no sandbox: the command may write \
wherever the workers' user may.

Examples:
  gateway node exec -- npm ci
  gateway node exec --backend api -- npx prisma generate
  gateway node exec --version 22 -- node --version")]
pub(crate) struct Exec {
    /// The backend; not needed if there is only one that the gateway starts
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Another version than the backend's own
    #[arg(long, value_name = "VERSION")]
    version: Option<Spec>,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, place: Place) -> Result<(), Failure> {
        let name = self.the_one(&place)?;
        let Some(mut config) = place.config.backend.get(&name).cloned() else {
            return Err(choose::unknown(&place, &name));
        };
        if let Some(version) = &self.version {
            config.node = NodeWish { version: Some(version.to_string()), path: None };
        }
        let own_exe = identity::own_program()
            .map_err(|error| Failure::failed(format!("cannot find this program: {error}")))?;
        let by_hand = ByHand {
            backend: &name,
            config,
            config_dir: &place.directory,
            state_dir: &place.config.state_dir,
            own_exe,
            command: self.command,
        };
        let status = by_hand.run().await.map_err(|error| told(&error.to_string()))?;
        end_as(status);
        Ok(())
    }

    /// Have the workers no user of their own?
    pub(super) fn is_of_the_gateways_user(&self, place: &Place) -> bool {
        let backend = self.the_one(place).ok().and_then(|name| place.config.backend.get(&name));
        backend.is_some_and(|backend| backend.user.is_none())
    }

    fn the_one(&self, place: &Place) -> Result<String, Failure> {
        if let Some(name) = &self.backend {
            return Ok(name.clone());
        }
        let started = place.config.backend.iter().filter(|(_, backend)| backend.upstream.is_none());
        let names: Vec<&String> = started.map(|(name, _)| name).collect();
        match &names[..] {
            [one] => Ok((*one).clone()),
            [] => Err(Failure::failed("there is no backend that the gateway starts")
                .hint("add a `[backend.NAME]` with a `command`")),
            many => {
                let names: Vec<_> = many.iter().map(|name| name.as_str()).collect();
                Err(Failure::usage("there are several backends")
                    .hint(format!("name one with `--backend`: {}", names.join(", "))))
            }
        }
    }
}
