//! `gateway upgrade`: a new program in the old one's place while it serves, and the old one back if the new one does not.
//! It must never leave a program in place that did not take over, nor take a listener away from those who wait.

mod dead_man;
mod program;
mod trial;

use std::{path::PathBuf, time::Duration};

use http::Method;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout_at},
};

use self::{dead_man::DeadMan, program::Program, trial::Tried};
use super::{Client, Failure, Settings, out};
use crate::admin::{BackendStatus, Status, Swapping};

/// How often the gateway is looked at meanwhile.
const INTERVAL: Duration = Duration::from_millis(50);

/// One look at it: a gateway that lives answers at once, and one that does not is asked again.
const LOOK: Duration = Duration::from_secs(5);

/// Replace the program by another one, and put the old one back by itself if the new one does not serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The new program is tried with the live configuration first, and refused if it does not take it: then nothing has \
changed. Then it is put in the old one's place (which stays beside it, as `gateway.old` in the end), and the running \
gateway becomes it. Connections wait in the kernel's queue meanwhile; none is refused. A program that dies, or has not \
taken over with a ready worker for every backend that had one, gives way to the old one again: exit code 1, and it says so.

A session that is lost ends nothing: it goes on to its verdict. Ctrl-C puts the old program back. Under systemd so does \
a timer, if this command is killed, and the unit's next start, if the machine loses its power meanwhile.

Under systemd (`Restart=always`) a program that dies is started anew; without, only the file can be put back.

Examples:
  gateway upgrade ./gateway
  gateway upgrade ./gateway --within 30s")]
pub(crate) struct Upgrade {
    /// The new program
    file: PathBuf,
    /// How long the new program may take until it serves, drain included; the old one has as long to come back
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = within)]
    within: Duration,
}

fn within(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time.as_secs() {
        1..=3600 => Ok(time),
        _ => Err("between a second and an hour".to_owned()),
    }
}

/// How the new program did.
enum Outcome {
    Serves(Box<Status>),
    /// It did not, and why.
    Failed(String),
}

/// What would end this command half way is heard instead.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// A session that is lost: nobody reads any more, and the gateway is in need of its verdict all the same.
    _hang_up: Signal,
}

/// The gateway on its way from one program to the other.
struct Passage<'a> {
    client: &'a Client,
    program: &'a Program,
    before: &'a Status,
    within: Duration,
    /// When this part of the way must be done.
    until: Instant,
}

impl Upgrade {
    pub(crate) async fn run(self, settings: &Settings, client: &Client) -> Result<(), Failure> {
        let before: Status = in_time(Instant::now() + self.within, client.show("/status")).await?;
        let program = Program::of(before.pid)?;
        let Tried { version, units } = trial::check(&self.file, settings, self.within).await?;
        let mut signals = Signals::heard()?;
        program.keep()?;
        let ready = async {
            let armed = DeadMan::arm(&program, program.pid(), self.within).await?;
            program.replace_by(&self.file).map(|()| armed)
        };
        let armed = ready.await.inspect_err(|_| program.keep_no_more())?;
        let begun = Instant::now();
        let passage = Passage::begin(client, &program, &before, self.within);
        let outcome = tokio::select! {
            outcome = passage.take_over(before.swaps) => outcome,
            () = signals.asked_to_stop() => Outcome::Failed("it was interrupted".to_owned()),
        };
        let verdict = match outcome {
            Outcome::Serves(now) if program.proved()? => {
                let (took_ms, old) = (begun.elapsed().as_millis(), program.old());
                out::line(format!(
                    "upgraded to {version} in {took_ms} ms, pid {}; the old program is `{}`",
                    now.pid,
                    old.display()
                ));
                if !units.is_empty() {
                    out::remark(format!(
                        "it runs with units of another version ({}): `gateway bootstrap` shows what would change, and renews them",
                        units.join(", ")
                    ));
                }
                Ok(())
            }
            Outcome::Serves(_) => Err(go_back(&passage, "the old program was put back meanwhile").await),
            Outcome::Failed(failure) => Err(go_back(&passage, &failure).await),
        };
        if let Some(armed) = armed {
            armed.disarm().await;
        }
        verdict
    }
}

/// The old program back, and what is said about it.
async fn go_back(passage: &Passage<'_>, failure: &str) -> Failure {
    let program = passage.program;
    out::remark(format!("{failure}: putting the old program back"));
    if let Err(failure) = program.put_back() {
        return failure;
    }
    let failure = Failure::failed(format!("the new program did not take over: {failure}"));
    match passage.again().go_back().await {
        Outcome::Serves(_) => failure.hint("the old program serves again; the gateway's log says more"),
        Outcome::Failed(why) => failure.hint(format!(
            "the old program is back at `{}`, but does not serve: {why}; start it with `systemctl restart gateway`",
            program.path().display()
        )),
    }
}

impl Signals {
    fn heard() -> Result<Self, Failure> {
        let hear =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")));
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
            _hang_up: hear(SignalKind::hangup())?,
        })
    }

    async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What it says, if it says it by then.
async fn in_time<T>(until: Instant, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout_at(until, answer).await.unwrap_or_else(|_| Err(Failure::failed("it does not answer")))
}

impl<'a> Passage<'a> {
    fn begin(client: &'a Client, program: &'a Program, before: &'a Status, within: Duration) -> Self {
        Self { client, program, before, within, until: Instant::now() + within }
    }

    /// With the whole time before it.
    fn again(&self) -> Self {
        Self::begin(self.client, self.program, self.before, self.within)
    }

    async fn look(&self) -> Result<Status, Failure> {
        in_time(self.until.min(Instant::now() + LOOK), self.client.show("/status")).await
    }

    /// Let the running gateway, swapped so often by now, become what stands in its program's place.
    async fn take_over(&self, swaps: u64) -> Outcome {
        let order = self.client.order::<Swapping>(Method::POST, "/swap", None::<&()>);
        match in_time(self.until, order).await {
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
        match self.look().await {
            // It never became the new one, or a start of the unit was faster.
            Ok(now) if self.program.is_run_by(now.pid) => {
                self.serving(|now| self.program.is_run_by(now.pid)).await
            }
            Ok(now) => match self.take_over(now.swaps).await {
                Outcome::Failed(_) => self.again().started_anew().await,
                serves => serves,
            },
            Err(_) => self.started_anew().await,
        }
    }

    /// One that hangs answers nobody, and so drains nothing. What supervises us starts the old one.
    async fn started_anew(&self) -> Outcome {
        self.program.kill();
        self.serving(|now| now.pid != self.before.pid && self.program.is_run_by(now.pid)).await
    }

    /// Until `came`, and a worker is ready wherever there was one before.
    async fn serving(&self, came: impl Fn(&Status) -> bool) -> Outcome {
        let mut seen = "it does not answer".to_owned();
        while Instant::now() < self.until {
            tokio::time::sleep(INTERVAL).await;
            match self.look().await {
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
