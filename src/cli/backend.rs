//! `gateway backend`: the verbs that pm2's users know. Every order ends when it has been carried out, and says what
//! happens meanwhile.

mod deploy;
mod describe;
mod orders;
pub(super) mod progress;

use super::{Client, Failure, logs::escape, out, status};
use crate::admin::BackendStatus;

/// Show, scale, reload, deploy, roll back, stop and start the Node.js backends
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Backend {
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "show")]
    Describe(describe::Describe),
    Scale(orders::Scale),
    Restart(orders::Restart),
    Reload(orders::Reload),
    Rollback(orders::Rollback),
    Deploy(deploy::Deploy),
    Stop(orders::Stop),
    Start(orders::Start),
    Signal(orders::Signal),
}

/// Show every backend with its workers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend list
  gateway backend list --json")]
pub(crate) struct List {
    #[command(flatten)]
    form: out::Form,
}

impl Backend {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(client).await,
            Self::Describe(describe) => describe.run(client).await,
            Self::Scale(scale) => scale.run(client).await,
            Self::Restart(restart) => restart.run(client).await,
            Self::Reload(reload) => reload.run(client).await,
            Self::Rollback(rollback) => rollback.run(client).await,
            Self::Deploy(deploy) => deploy.run(client).await,
            Self::Stop(stop) => stop.run(client).await,
            Self::Start(start) => start.run(client).await,
            Self::Signal(signal) => signal.run(client).await,
        }
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let backends: Vec<BackendStatus> = client.show("/backends").await?;
        if self.form.json {
            return out::json(&backends);
        }
        out::line(describe::table(&backends));
        Ok(())
    }
}

/// What to say of a backend that was told to have no workers.
pub(super) fn stopped(backend: &BackendStatus) -> String {
    format!("backend {name} is stopped: `gateway backend start {name}`", name = backend.name)
}

async fn the_one(client: &Client, name: Option<String>) -> Result<String, Failure> {
    if let Some(name) = name {
        return Ok(name);
    }
    let backends: Vec<BackendStatus> = client.show("/backends").await?;
    match &backends[..] {
        [one] => Ok(one.name.clone()),
        [] => Err(Failure::failed("there is no backend").hint("add a `[backend.NAME]` and reload")),
        many => {
            let names: Vec<_> = many.iter().map(|backend| backend.name.as_str()).collect();
            Err(Failure::usage("there are several backends")
                .hint(format!("name one of: {}", names.join(", "))))
        }
    }
}

/// The path of a backend's order, or of the backend itself.
fn path_of(name: &str, verb: &str) -> String {
    let name = escape(name);
    if verb.is_empty() { format!("/backends/{name}") } else { format!("/backends/{name}/{verb}") }
}
