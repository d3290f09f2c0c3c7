//! `gateway upgrade`: a new program in the old one's place while it serves, and the old one back if the new one does not.
//! It must never leave a program in place that did not take over, nor take a listener away from those who wait.

mod program;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use self::program::Program;
use super::{Client, Failure, Settings, out};
use crate::admin::{BackendStatus, Status, Swapping};
use http::Method;

/// How often the gateway is looked at meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

/// Replace the program by another one, and put the old one back by itself if the new one does not serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The new program is tried with the live configuration first, and refused if it does not take it: then nothing has \
changed. Then it is put in the old one's place (which stays beside it as `gateway.old`), and the running gateway becomes \
it. Connections wait in the kernel's queue meanwhile; none is refused. A program that dies, or has not taken over with a \
ready worker for every backend that had one, gives way to the old one again: exit code 1, and it says so.

Under systemd (`Restart=always`) a program that dies is started anew; without, only the file can be put back.

Examples:
  sudo gateway upgrade ./gateway
  sudo gateway upgrade ./gateway --within 30s")]
pub(crate) struct Upgrade {
    /// The new program
    file: PathBuf,
    /// How long the new program may take until it serves, drain included
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    within: Duration,
}

/// How the new program did.
enum Outcome {
    Serves(Box<Status>),
    /// It did not, and why.
    Failed(String),
}

impl Upgrade {
    pub(crate) async fn run(self, settings: &Settings, client: &Client) -> Result<(), Failure> {
        let before: Status = client.show("/status").await?;
        let program = Program::of(before.pid)?;
        let version = program::check(&self.file, settings)?;
        program.replace_by(&self.file)?;
        let begun = Instant::now();
        let failure = match self.take_over(client, &program, &before, before.swaps).await {
            Outcome::Serves(now) => {
                let took_ms = begun.elapsed().as_millis();
                out::line(format!(
                    "upgraded to {version} in {took_ms} ms, pid {}; the old program is `{}`",
                    now.pid,
                    program.old().display()
                ));
                return Ok(());
            }
            Outcome::Failed(failure) => failure,
        };
        out::remark(format!("{failure}: putting the old program back"));
        program.put_back()?;
        let back = self.go_back(client, &program, &before).await;
        let failure = Failure::failed(format!("the new program did not take over: {failure}"));
        Err(match back {
            Outcome::Serves(_) => failure.hint("the old program serves again; the gateway's log says more"),
            Outcome::Failed(why) => failure.hint(format!(
                "the old program is back at `{}`, but does not serve: {why}; start it with `systemctl restart gateway`",
                program.path().display()
            )),
        })
    }

    /// Let the running gateway become what stands in its place now.
    async fn take_over(&self, client: &Client, program: &Program, before: &Status, swaps: u64) -> Outcome {
        match client.order::<Swapping>(Method::POST, "/swap", None::<&()>).await {
            Ok(_) => self.serving(client, program, before, |now| now.swaps > swaps).await,
            Err(failure) => Outcome::Failed(failure.message),
        }
    }

    /// Back to the old program, however far the new one came.
    async fn go_back(&self, client: &Client, program: &Program, before: &Status) -> Outcome {
        match client.show::<Status>("/status").await {
            // It never became the new one.
            Ok(now) if now.swaps == before.swaps && now.pid == before.pid => Outcome::Serves(Box::new(now)),
            Ok(now) => self.take_over(client, program, before, now.swaps).await,
            Err(_) => {
                // One that hangs answers nobody, and so drains nothing.
                program.kill();
                self.serving(client, program, before, |now| now.pid != before.pid).await
            }
        }
    }

    /// Until `came`, and a worker is ready wherever there was one before.
    async fn serving(
        &self,
        client: &Client,
        program: &Program,
        before: &Status,
        came: impl Fn(&Status) -> bool,
    ) -> Outcome {
        let (begun, alive) = (Instant::now(), program.is_alive());
        let mut seen = "it does not answer".to_owned();
        while begun.elapsed() < self.within {
            tokio::time::sleep(INTERVAL).await;
            match client.show::<Status>("/status").await {
                Ok(now) if came(&now) && !now.listeners.is_empty() => match without_worker(before, &now) {
                    None => return Outcome::Serves(Box::new(now)),
                    Some(backend) => seen = format!("backend `{backend}` has no worker that is ready"),
                },
                Ok(Status { swap_failure: Some(failure), started, .. }) if started > before.started => {
                    return Outcome::Failed(failure);
                }
                Ok(_) => {}
                // It stays the same process through a swap: gone means that the new program has died.
                Err(_) if alive && !program.is_alive() => {
                    return Outcome::Failed("it died at its start".to_owned());
                }
                Err(_) => {}
            }
        }
        Outcome::Failed(format!("{seen} after {}", humantime::format_duration(self.within)))
    }
}

/// A backend that had a ready worker before and has none now.
fn without_worker<'a>(before: &'a Status, now: &Status) -> Option<&'a str> {
    let ready = |backend: &BackendStatus| backend.workers.iter().any(|worker| worker.state == "ready");
    let had = before.backends.iter().filter(|backend| ready(backend));
    had.map(|backend| backend.name.as_str())
        // What the configuration names no longer is no fault of the program.
        .find(|name| now.backends.iter().any(|backend| backend.name == *name && !ready(backend)))
}
