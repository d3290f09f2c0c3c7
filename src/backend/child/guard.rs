//! A guard that outlives a gateway that is killed, for as long as it takes to end what that has left: a worker dies
//! with the gateway by the kernel's word, its descendants do not. The gateway tells it the process groups through a
//! pipe; the pipe's end is the gateway's. It must never signal a group that has been taken off the list.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// What the guard's own start is called by.
const COMMAND: &str = "worker-guard";

/// Tells the guard that it is nobody's child any more.
const ALONE: &str = "--alone";

/// A process group on the guard's list; off it when dropped.
#[derive(Debug)]
pub(super) struct Guarded(Pid);

impl Guarded {
    /// Have a group ended if this process is killed. Blocks for some milliseconds the first time.
    pub(super) fn new(gateway: &Path, group: Pid) -> Self {
        tell(gateway, '+', group);
        Self(group)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        tell(Path::new(""), '-', self.0);
    }
}

/// The pipe to the one guard of this process; without one, descendants of a worker may outlive a killed gateway.
fn tell(gateway: &Path, sign: char, group: Pid) {
    static GUARD: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| match start(gateway) {
        Ok(pipe) => Some(Mutex::new(pipe)),
        Err(error) => {
            tracing::warn!(%error, "descendants of workers may outlive a gateway that is killed");
            None
        }
    });
    if let Some(Ok(mut pipe)) = guard.as_ref().map(Mutex::lock) {
        // Shorter than what a pipe takes in one piece; a guard that is gone guards nothing.
        let _gone = pipe.write_all(format!("{sign}{group}\n").as_bytes());
    }
}

/// Start one that is nobody's child, so that it leaves no zombie to whatever this process becomes.
fn start(gateway: &Path) -> io::Result<ChildStdin> {
    let mut first = command(gateway).stdin(Stdio::piped()).spawn()?;
    let pipe = first.stdin.take();
    if !first.wait()?.success() {
        return Err(io::Error::other("the guard of the workers could not be started"));
    }
    pipe.ok_or_else(|| io::Error::other("the guard of the workers has no pipe"))
}

fn command(gateway: &Path) -> Command {
    let mut command = Command::new(gateway);
    command
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

/// What `gateway worker-guard` does: start itself once more and leave that alone, then wait for the gateway's end.
pub(crate) fn worker_guard(alone: bool) -> io::Result<()> {
    if !alone {
        let mut second = command(Path::new("/proc/self/exe"));
        return second.arg(ALONE).stdin(Stdio::inherit()).spawn().map(drop);
    }
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        // A pipe that cannot be read has ended as well.
        let Ok(line) = line else { break };
        note(&mut groups, &line);
    }
    for group in groups {
        // It fails when nobody is left.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    Ok(())
}

fn note(groups: &mut BTreeSet<i32>, line: &str) {
    let group = line.get(1..).and_then(|rest| rest.parse().ok()).filter(|group| *group > 1);
    match (line.as_bytes().first(), group) {
        (Some(b'+'), Some(group)) => drop(groups.insert(group)),
        (Some(b'-'), Some(group)) => drop(groups.remove(&group)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_was_told_and_never_everybody() {
        let mut groups = BTreeSet::new();
        for line in ["+17", "+18", "-17", "+0", "+1", "+-1", "-", "", "+x", "19"] {
            note(&mut groups, line);
        }
        assert_eq!(groups, BTreeSet::from([18]));
    }
}
