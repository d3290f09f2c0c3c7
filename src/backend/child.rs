//! One process and its descendants. This is the only place that spawns. What it starts gets a process group
//! of its own, an empty environment but for what it is given, no input, and dies with its handle.
//!
//! It must never fork from a thread that can end before the process: all of it happens on the one of `hands`.

mod briefly;
mod guard;
mod place;
mod strays;
mod terminal;

use std::{
    ffi::OsString,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{ChildStderr, ChildStdout, Command},
    runtime::Handle,
};

pub(crate) use self::{briefly::what_it_said, guard::worker_guard};
pub(super) use self::{
    briefly::{empty, say},
    place::is_taken,
    terminal::attend,
};
use self::{guard::Guarded, place::Place, strays::Strays};
use super::{
    LOOK_EVERY,
    confinement::Confinement,
    environment::Environment,
    hands::{self, Target},
    lifeline::{self, LIFELINE_VARIABLE},
    outlook::{Outlook, Shown},
    process_group,
    worker_exec::{CHANNEL_VARIABLE, CONFINEMENT_VARIABLE, FOR_THE_LAUNCHER, PARENT_VARIABLE},
};

/// How long a killed process may take to go: longer means that the kernel holds it, and waiting helps nobody.
pub(super) const KILL_WAIT: Duration = Duration::from_secs(5);

/// How a worker's program is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Launcher {
    /// As it is: it outlives a gateway that is killed.
    Direct,
    /// By `gateway worker-exec`, of which this is the binary.
    Through(PathBuf),
}

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Program and arguments, at least one.
    pub(super) command: Vec<String>,
    /// Where it starts, and what it may; all but the directory takes the launcher.
    pub(super) confinement: Confinement,
    /// Its whole environment.
    pub(super) environment: Environment,
    /// How.
    pub(super) launcher: Launcher,
    /// The worker's end of its channel; only the launcher can hand it on.
    pub(super) channel: Option<Arc<OwnedFd>>,
}

/// A running process, the leader of its group. Dropping it kills the whole group.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    /// Nobody of the group is left to signal.
    reaped: bool,
    /// Should we be killed before it has ended.
    guarded: Option<Guarded>,
    /// Descendants outside of the group, found when it is told to end.
    strays: Strays,
    /// Where it runs.
    _place: Place,
    /// What it was shown of the system.
    _outlook: Outlook,
}

impl Child {
    /// Start it; returns when the program (or its launcher) has been executed. Not cancel safe in the sense
    /// that a start once asked for happens, but then the child is killed at once.
    pub(super) async fn spawn(program: &Program) -> io::Result<Self> {
        let place = Place::take(&program.confinement.directory);
        let (program, runtime) = (program.clone(), Handle::current());
        let forked = hands::done(move || {
            let _guard = runtime.enter();
            fork(&program)
        });
        let Forked { process, pid, guarded, outlook } = forked.await??;
        let strays = Strays::default();
        Ok(Self { process, pid, reaped: false, guarded, strays, _place: place, _outlook: outlook })
    }

    /// Its process id, and its group's.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// The reading ends of its output; once.
    pub(super) fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.process.stdout.take(), self.process.stderr.take())
    }

    /// Resolves when it has ended; its descendants are killed then. Cancel safe.
    pub(super) async fn exited(&mut self) -> io::Result<ExitStatus> {
        let status = self.leader_exited().await;
        // The group lives on while a descendant does, so its id is still ours; if it is empty the call
        // fails, and ids go round far too slowly to have been given to somebody else already.
        self.kill();
        self.forget();
        status
    }

    /// Resolves when the process itself has ended; its descendants are left alone. Cancel safe.
    pub(super) async fn leader_exited(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Resolves when nobody of its group and no stray is left, the process itself having ended before. Cancel safe.
    pub(super) async fn group_gone(&mut self) {
        let group = self.pid();
        while !self.reaped && killpg(self.pid, None) != Err(Errno::ESRCH) {
            // Those whom nobody reaps are in the group for ever, and run no more. Reading /proc blocks.
            let look = tokio::task::spawn_blocking(move || process_group::members(group).is_empty());
            if look.await.unwrap_or(true) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.strays.gone().await;
        self.forget();
    }

    fn forget(&mut self) {
        self.reaped = true;
        self.guarded = None;
    }

    /// Look for descendants that are not in the group: only while their parents live can they be found.
    pub(super) async fn find_strays(&mut self) {
        if !self.reaped {
            self.strays = Strays::of(self.pid()).await;
        }
    }

    /// Wait for the end of all who have been asked for it; after `grace` they are killed. Did that have to be?
    pub(super) async fn killed_after(&mut self, grace: Duration) -> bool {
        // A shell that has started the program ends at once, and the program has its grace all the same.
        let gone = async {
            drop(self.leader_exited().await);
            self.group_gone().await;
        };
        if tokio::time::timeout(grace, gone).await.is_ok() {
            return false;
        }
        self.kill();
        drop(tokio::time::timeout(KILL_WAIT, self.exited()).await);
        true
    }

    /// Ask the whole group to end, and the strays that have been found.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.strays.terminate();
    }

    /// End the whole group, and the strays that have been found.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.strays.kill();
    }

    fn signal(&self, signal: Signal) {
        // After that the id is not ours any more.
        if !self.reaped {
            // It fails only when nobody is left.
            let _ = hands::signal(Target::Group(self.pid), signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // tokio reaps it afterwards (`kill_on_drop`).
        self.kill();
    }
}

/// What a fork gives.
struct Forked {
    process: tokio::process::Child,
    pid: Pid,
    guarded: Option<Guarded>,
    outlook: Outlook,
}

/// On the thread of `hands`.
fn fork(program: &Program) -> io::Result<Forked> {
    let mut command = command(program);
    command.process_group(0);
    let watched = match &program.launcher {
        Launcher::Through(gateway) => guard::stands(gateway),
        Launcher::Direct => false,
    };
    // Who has a channel hears of the gateway's end and has a moment for it; the guard sees that it is no longer one.
    if watched && program.channel.is_some() {
        command.env(LIFELINE_VARIABLE, lifeline::held()?.as_raw_fd().to_string());
    }
    // Before: what is replaced meanwhile is told, even if the launcher should see the new one.
    let shown = Shown::to(&program.confinement);
    let mut process = command.spawn()?;
    let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let Some(pid) = pid else {
        drop(process.start_kill());
        return Err(io::Error::other("the process ended before it had an id"));
    };
    // Even without a guard: one that is started later is told of it.
    let guarded = matches!(program.launcher, Launcher::Through(_)).then(|| Guarded::new(pid));
    Ok(Forked { process, pid, guarded, outlook: Outlook::of(pid.as_raw().unsigned_abs(), shown) })
}

fn command(program: &Program) -> Command {
    let mut words = program.command.iter();
    let mut command = match &program.launcher {
        Launcher::Through(gateway) => {
            let mut command = Command::new(gateway);
            command.args(["worker-exec", "--"]);
            command
        }
        // An empty command was refused at start; an empty program name fails with a clear "not found".
        Launcher::Direct => Command::new(words.next().map_or("", String::as_str)),
    };
    command
        .args(words)
        .env_clear()
        .envs(&program.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Launcher::Direct = program.launcher {
        command.current_dir(&program.confinement.directory);
    } else {
        // What speaks to the launcher is ours to say, whatever stands in the configuration.
        for name in FOR_THE_LAUNCHER {
            command.env_remove(name);
        }
        // The worker's user may not have the gateway's rights to enter it: the launcher does it as that user.
        command.env(CONFINEMENT_VARIABLE, serde_json::to_string(&program.confinement).unwrap_or_default());
        command.env(PARENT_VARIABLE, OsString::from(std::process::id().to_string()));
        // Standard input is the one descriptor that passes everywhere; the launcher puts it where Node looks.
        let channel = program.channel.as_ref().and_then(|channel| channel.try_clone().ok());
        if let Some(channel) = channel {
            command.stdin(Stdio::from(channel)).env(CHANNEL_VARIABLE, "0");
        }
    }
    command
}
