//! The orders to a backend. Each ends when it has been carried out, says on standard error what happens meanwhile,
//! and ends with an exit code that tells how it went.

use http::Method;

use super::{Client, Failure, describe, out, path_of, progress, the_one};
use crate::admin::{BackendStatus, Reloaded, RollbackOrder, ScaleOrder, SignalOrder, Signalled};

/// Stop each worker and start it again, one after the other; ends when all are ready
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend restart
  gateway backend restart api")]
pub(crate) struct Restart {
    /// The backend; not needed if there is only one
    name: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

/// Take the backend's table from the configuration file, and replace every worker without failing a request; new ones
/// that never get ready leave the old ones serving
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend reload
  gateway backend reload api
  gateway backend reload api --json")]
pub(crate) struct Reload {
    /// The backend; not needed if there is only one
    name: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

/// Drain and stop all workers; requests get 503 until `gateway backend start`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend stop api")]
pub(crate) struct Stop {
    /// The backend; not needed if there is only one
    name: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

/// Start the workers of a stopped backend; ends when all are ready
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend start api")]
pub(crate) struct Start {
    /// The backend; not needed if there is only one
    name: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

/// Have so many workers, until the configuration changes; ends when they are ready, or the surplus has drained
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend scale 4
  gateway backend scale api 4
  gateway backend scale api +2")]
pub(crate) struct Scale {
    /// The backend (not needed if there is only one), and how many workers, or how many more (`+2`)
    #[arg(num_args = 1..=2, required = true, value_names = ["NAME", "WORKERS"], allow_negative_numbers = true)]
    words: Vec<String>,
    #[command(flatten)]
    form: out::Form,
}

/// Go back to an earlier generation, the rolling way; `gateway backend describe` lists them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend rollback
  gateway backend rollback 3
  gateway backend rollback api 3")]
pub(crate) struct Rollback {
    /// The backend (not needed if there is only one), and the generation (the one before, if left out)
    #[arg(num_args = 0..=2, value_names = ["NAME", "GENERATION"])]
    words: Vec<String>,
    #[command(flatten)]
    form: out::Form,
}

/// Send a signal to the workers' processes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway backend signal USR2
  gateway backend signal HUP api
  gateway backend signal USR2 --worker api/0")]
pub(crate) struct Signal {
    /// The signal, such as USR2 or SIGUSR2
    signal: String,
    /// The backend; not needed if there is only one
    name: Option<String>,
    /// Only this worker
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    #[command(flatten)]
    form: out::Form,
}

impl Restart {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        let status = progress::order(client, &name, "restart", None::<&()>).await?;
        told(self.form, &status, "restarted")
    }
}

impl Reload {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        let path = path_of(&name, "reload");
        let order = client.order(Method::POST, &path, None::<&()>);
        let Reloaded { restart_needed, warnings } = progress::watched(client, Some(&name), order).await?;
        for warning in warnings {
            out::remark(format!("warning: {warning}"));
        }
        if !restart_needed.is_empty() {
            out::remark(format!("these take a new start of the gateway: {}", restart_needed.join(", ")));
        }
        let status: BackendStatus = client.show(&path_of(&name, "")).await?;
        told(self.form, &status, "reloaded")
    }
}

impl Stop {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        let status = progress::order(client, &name, "stop", None::<&()>).await?;
        told(self.form, &status, "stopped")
    }
}

impl Start {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let name = the_one(client, self.name).await?;
        let status = progress::order(client, &name, "start", None::<&()>).await?;
        told(self.form, &status, "started")
    }
}

impl Scale {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let (name, workers) = match &self.words[..] {
            [workers] => (None, workers),
            [name, workers, ..] => (Some(name.clone()), workers),
            [] => return Err(Failure::usage("how many workers?")),
        };
        let (more, count) = match workers.strip_prefix('+') {
            Some(more) => (true, more),
            None => (false, workers.as_str()),
        };
        let count: usize = number(count, "number of workers")?;
        let name = the_one(client, name).await?;
        let workers = match more {
            true => count.saturating_add(client.show::<BackendStatus>(&path_of(&name, "")).await?.wanted),
            false => count,
        };
        let status = progress::order(client, &name, "scale", Some(&ScaleOrder { workers })).await?;
        let done = if status.stopped { "is stopped and will start with" } else { "scaled to" };
        let noun = if workers == 1 { "worker" } else { "workers" };
        told(self.form, &status, &format!("{done} {workers} {noun}"))
    }
}

impl Rollback {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let (name, generation) = match &self.words[..] {
            [] => (None, None),
            [word] if word.bytes().all(|byte| byte.is_ascii_digit()) => (None, Some(word)),
            [name] => (Some(name.clone()), None),
            [name, generation, ..] => (Some(name.clone()), Some(generation)),
        };
        let generation = generation.map(|word| number(word, "generation")).transpose()?;
        let name = the_one(client, name).await?;
        let status = progress::order(client, &name, "rollback", Some(&RollbackOrder { generation })).await?;
        told(self.form, &status, &format!("rolled back to generation {}", status.generation))?;
        if !self.form.json {
            out::remark(describe::held(&status));
        }
        Ok(())
    }
}

impl Signal {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        if let Some(name) = &self.name
            && !is_signal(&self.signal)
            && is_signal(name)
        {
            return Err(Failure::usage(format!(
                "`{}` is no signal: it comes before the backend",
                self.signal
            ))
            .hint(format!("`gateway backend signal {name} {}`", self.signal)));
        }
        let of_worker =
            self.worker.as_deref().and_then(|worker| worker.split_once('/')).map(|(name, _)| name);
        let name = the_one(client, self.name.or(of_worker.map(str::to_owned))).await?;
        let order = SignalOrder { signal: self.signal.clone(), worker: self.worker };
        let answer: Signalled = client.order(Method::POST, &path_of(&name, "signal"), Some(&order)).await?;
        if self.form.json {
            return out::json(&answer);
        }
        let noun = if answer.processes == 1 { "process" } else { "processes" };
        out::line(format!("{} sent to {} {noun} of backend {name}", self.signal, answer.processes));
        Ok(())
    }
}

fn number<T: std::str::FromStr>(word: &str, what: &str) -> Result<T, Failure> {
    // `+4` would be read as 4.
    let digits = word.bytes().all(|byte| byte.is_ascii_digit()).then_some(word);
    digits.and_then(|word| word.parse().ok()).ok_or_else(|| Failure::usage(format!("`{word}` is no {what}")))
}

fn is_signal(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    format!("SIG{}", word.strip_prefix("SIG").unwrap_or(&word)).parse::<nix::sys::signal::Signal>().is_ok()
}

fn told(form: out::Form, status: &BackendStatus, done: &str) -> Result<(), Failure> {
    if form.json {
        return out::json(status);
    }
    out::line(format!("backend {} {done}", status.name));
    Ok(())
}
