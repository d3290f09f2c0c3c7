//! Processes that a worker has put into groups of their own (`detached: true`), where no signal to its group reaches
//! them. They are held by descriptors, so that no signal reaches who has got an id after them. It must never hold what
//! the worker has not started.

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::super::{LOOK_EVERY, hands, process_group};

/// Processes of one worker that are looked at. A worker with more has lost count itself.
const LOOKED_AT_MAX: usize = 1024;

/// Descendants of a worker that are not in its group.
#[derive(Debug, Default)]
pub(super) struct Strays(Vec<OwnedFd>);

impl Strays {
    /// Those that this process, or one that it has started, has started and not outlived.
    pub(super) async fn of(leader: u32) -> Self {
        // Reading /proc blocks, if only for a moment.
        Self(tokio::task::spawn_blocking(move || find(leader)).await.unwrap_or_default())
    }

    /// Ask them to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// End them.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        for stray in &self.0 {
            // It fails when that one has ended, or is another user's: then there is a thread that may.
            if pidfd_send_signal(stray, signal) == Err(Errno::PERM)
                && let Ok(stray) = stray.try_clone()
            {
                let _ = hands::done_at_once(move || pidfd_send_signal(stray, signal));
            }
        }
    }

    /// Resolves when none is left. Cancel safe.
    pub(super) async fn gone(&self) {
        while !self.0.iter().all(has_ended) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// One read of `/proc`, which knows whose descriptor it is (proc_pid_fdinfo(5)): nobody's, once it has been reaped.
fn has_ended(stray: &OwnedFd) -> bool {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", stray.as_raw_fd())).unwrap_or_default();
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse().ok());
    pid.and_then(process_group::see).is_none()
}

fn find(leader: u32) -> Vec<OwnedFd> {
    let (mut held, mut open, mut looked_at) = (Vec::new(), vec![leader], 0);
    while let Some(parent) = open.pop() {
        for child in process_group::started_by(parent) {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return held;
            }
            open.push(child);
            let seen = process_group::see(child).filter(|seen| seen.group != leader);
            held.extend(seen.and_then(|_| hold(parent, child)));
        }
    }
    held
}

fn hold(parent: u32, child: u32) -> Option<OwnedFd> {
    let held = pidfd_open(Pid::from_raw(i32::try_from(child).ok()?)?, PidfdFlags::empty()).ok()?;
    // Asked once more: who had the id before may have ended, and who has it now be a stranger.
    process_group::started_by(parent).contains(&child).then_some(held)
}
