//! `gateway backend`: the verbs that pm2's users know.

use http::Method;
use jiff::Timestamp;

use super::{Client, Failure, logs::escape, out, status};
use crate::admin::BackendStatus;

/// List, restart and reload the Node.js backends
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Backend {
    List(List),
    Restart(Restart),
    Reload(Reload),
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

/// Stop each worker and start it again, one after the other; ends when all are ready
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend restart
  gateway backend restart api")]
pub(crate) struct Restart {
    /// The backend; not needed if there is only one
    name: Option<String>,
}

/// Replace every worker without failing a request; new ones that never get ready leave the old ones serving
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend reload
  gateway backend reload api")]
pub(crate) struct Reload {
    /// The backend; not needed if there is only one
    name: Option<String>,
}

impl Backend {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(client).await,
            Self::Restart(restart) => restart.run(client).await,
            Self::Reload(reload) => reload.run(client).await,
        }
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let backends: Vec<BackendStatus> = client.show("/backends").await?;
        if self.form.json {
            return out::json(&backends);
        }
        let now = Timestamp::now();
        let workers = backends.iter().flat_map(|backend| &backend.workers);
        out::line(out::table(&status::WORKER_HEAD, workers.map(|worker| status::worker_row(worker, now))));
        Ok(())
    }
}

impl Restart {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        order(client, &name, "restart").await?;
        out::line(format!("backend {name} restarted"));
        Ok(())
    }
}

impl Reload {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        order(client, &name, "reload").await?;
        out::line(format!("backend {name} reloaded"));
        Ok(())
    }
}

async fn order(client: &Client, name: &str, verb: &str) -> Result<(), Failure> {
    client.order::<()>(Method::POST, &format!("/backends/{}/{verb}", escape(name)), None::<&()>).await
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
