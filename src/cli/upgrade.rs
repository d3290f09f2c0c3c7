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
  gateway upgrade ./gateway
  gateway upgrade ./gateway --within 30s")]
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

/// The gateway on its way from one program to the other.
struct Passage<'a> {
    client: &'a Client,
    program: &'a Program,
    before: &'a Status,
    within: Duration,
}

impl Upgrade {
    pub(crate) async fn run(self, settings: &Settings, client: &Client) -> Result<(), Failure> {
        let before: Status = client.show("/status").await?;
        let program = Program::of(before.pid)?;
        let version = program::check(&self.file, settings)?;
        program.replace_by(&self.file)?;
        let passage = Passage { client, program: &program, before: &before, within: self.within };
        let begun = Instant::now();
        let failure = match passage.take_over(before.swaps).await {
            Outcome::Serves(now) => {
                let (took_ms, old) = (begun.elapsed().as_millis(), program.old());
                out::line(format!(
                    "upgraded to {version} in {took_ms} ms, pid {}; the old program is `{}`",
                    now.pid,
                    old.display()
                ));
                return Ok(());
            }
            Outcome::Failed(failure) => failure,
        };
        out::remark(format!("{failure}: putting the old program back"));
        program.put_back()?;
        let back = passage.go_back().await;
        let failure = Failure::failed(format!("the new program did not take over: {failure}"));
        Err(match back {
            Outcome::Serves(_) => failure.hint("the old program serves again; the gateway's log says more"),
            Outcome::Failed(why) => failure.hint(format!(
                "the old program is back at `{}`, but does not serve: {why}; start it with `systemctl restart gateway`",
                program.path().display()
            )),
        })
    }
}

impl Passage<'_> {
    /// Let the running gateway, swapped so often by now, become what stands in its program's place.
    async fn take_over(&self, swaps: u64) -> Outcome {
        match self.client.order::<Swapping>(Method::POST, "/swap", None::<&()>).await {
            Ok(_) => {
                tokio::select! {
                    outcome = self.serving(|now| now.swaps > swaps) => outcome,
                    // It stays the same process through a swap: gone means that the new program has died.
                    () = self.gone() => Outcome::Failed("it died at its start".to_owned()),
                }
            }
            Err(failure) => Outcome::Failed(failure.message),
        }
    }

    /// Back to the old program, however far the new one came.
    async fn go_back(&self) -> Outcome {
        match self.client.show::<Status>("/status").await {
            // It never became the new one.
            Ok(now) if now.swaps == self.before.swaps && now.pid == self.before.pid => {
                Outcome::Serves(Box::new(now))
            }
            Ok(now) => self.take_over(now.swaps).await,
            Err(_) => {
                // One that hangs answers nobody, and so drains nothing. What supervises us starts the old one.
                self.program.kill();
                self.serving(|now| now.pid != self.before.pid).await
            }
        }
    }

    /// Until `came`, and a worker is ready wherever there was one before.
    async fn serving(&self, came: impl Fn(&Status) -> bool) -> Outcome {
        let (begun, mut seen) = (Instant::now(), "it does not answer".to_owned());
        while begun.elapsed() < self.within {
            tokio::time::sleep(INTERVAL).await;
            match self.client.show::<Status>("/status").await {
                Ok(now) if came(&now) && !now.listeners.is_empty() => {
                    match without_worker(self.before, &now) {
                        None => return Outcome::Serves(Box::new(now)),
                        Some(backend) => seen = format!("backend `{backend}` has no worker that is ready"),
                    }
                }
                Ok(Status { swap_failure: Some(failure), started, .. }) if started > self.before.started => {
                    return Outcome::Failed(failure);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Outcome::Failed(format!("{seen} after {}", humantime::format_duration(self.within)))
    }

    /// Resolves when the process has ended.
    async fn gone(&self) {
        while self.program.is_alive() {
            tokio::time::sleep(INTERVAL).await;
        }
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
