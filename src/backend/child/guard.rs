//! The gateway's side of the guard: a process that outlives a gateway that is killed, for as long as it takes the
//! workers to hear of it and to end, or to be ended. The gateway tells it the process groups through a pipe; the pipe's
//! end is the gateway's. A guard that ends before the gateway is replaced, and the next one told everything.
//!
//! It must never let go of the pipe while both live: the guard would end workers that serve.

mod watchman;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStderr, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::unistd::Pid;

pub(crate) use self::watchman::worker_guard;
use super::super::{hands, lifeline};
use crate::privileges;

/// What the guard's own start is called by, and what it is called in lists of processes: a name that is not the
/// gateway's, so that `killall gateway` leaves it to do its work.
const NAME: &str = "worker-guard";

/// Tells the guard that it is nobody's child any more.
const ALONE: &str = "--alone";

/// Between the end of a guard and the start of the next: nothing for a person with `kill`, enough that one which
/// cannot live costs nothing.
const REPLACE_PAUSE: Duration = Duration::from_millis(100);

/// Between attempts to start one, where none can be started.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// What the guard is told, and by what.
static POST: Mutex<Post> = Mutex::new(Post { groups: BTreeSet::new(), pipe: None, complained: false });

#[derive(Debug)]
struct Post {
    /// On its list.
    groups: BTreeSet<i32>,
    /// Its standard input, while there is one.
    pipe: Option<ChildStdin>,
    /// That there is none has been said.
    complained: bool,
}

/// A process group on the guard's list; off it when dropped.
#[derive(Debug)]
pub(super) struct Guarded(Pid);

impl Guarded {
    /// Have a group ended if this process is killed.
    pub(super) fn new(group: Pid) -> Self {
        with_post(|post| {
            post.groups.insert(group.as_raw());
            post.tell('+', group.as_raw());
        });
        Self(group)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        with_post(|post| {
            post.groups.remove(&self.0.as_raw());
            post.tell('-', self.0.as_raw());
        });
    }
}

/// See to it that there is a guard; true if there is. Blocks for some milliseconds the first time. To be called on the
/// thread of `hands`: the guard may have to end what is another user's.
pub(super) fn stands(gateway: &Path) -> bool {
    with_post(|post| {
        if post.pipe.is_some() {
            return true;
        }
        match post.start(gateway) {
            Ok(()) => post.complained = false,
            Err(error) if !post.complained => {
                tracing::warn!(%error, "descendants of workers may outlive a gateway that is killed");
                post.complained = true;
            }
            Err(_said) => {}
        }
        post.pipe.is_some()
    })
}

fn with_post<T>(work: impl FnOnce(&mut Post) -> T) -> T {
    work(&mut POST.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Post {
    fn tell(&mut self, sign: char, group: i32) {
        if let Some(pipe) = &mut self.pipe {
            // Shorter than what a pipe takes in one piece; of a guard that is gone the next one hears everything.
            let _gone = pipe.write_all(format!("{sign}{group}\n").as_bytes());
        }
    }

    /// Start one that is nobody's child, so that it leaves no zombie to whatever this process becomes.
    fn start(&mut self, gateway: &Path) -> io::Result<()> {
        let mut first = command(gateway)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(lifeline::shared()?))
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (pipe, end) = (first.stdin.take(), first.stderr.take());
        if !first.wait()?.success() {
            return Err(io::Error::other("the guard of the workers could not be started"));
        }
        let (Some(mut pipe), Some(end)) = (pipe, end) else {
            return Err(io::Error::other("the guard of the workers has no pipe"));
        };
        let list: String = self.groups.iter().map(|group| format!("+{group}\n")).collect();
        pipe.write_all(list.as_bytes())?;
        self.pipe = Some(pipe);
        let gateway = gateway.to_owned();
        let watch = thread::Builder::new().name("gateway-guard".to_owned());
        if let Err(error) = watch.spawn(move || replace_when_it_ends(end, &gateway)) {
            tracing::warn!(%error, "nobody will see it if the guard of the workers ends");
        }
        Ok(())
    }
}

/// Wait for the end of a guard, then start the next. The guard says nothing: its standard error ends with it.
fn replace_when_it_ends(mut end: ChildStderr, gateway: &Path) {
    privileges::give_up();
    // What cannot be read has ended as well.
    let _ended = io::copy(&mut end, &mut io::sink());
    with_post(|post| post.pipe = None);
    tracing::warn!("the guard of the workers has ended: another one is started");
    let mut pause = REPLACE_PAUSE;
    loop {
        thread::sleep(pause);
        let gateway: PathBuf = gateway.to_owned();
        // It has a thread of its own that does the same.
        if hands::done_at_once(move || stands(&gateway)).unwrap_or(false) {
            return;
        }
        pause = RETRY_PAUSE;
    }
}

fn command(gateway: &Path) -> Command {
    let mut command = Command::new(gateway);
    command.arg0(NAME).arg(NAME).env_clear().current_dir("/");
    command
}
