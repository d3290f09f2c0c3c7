//! Processes that a worker has put into groups of their own (`detached: true`), where no signal to its group reaches
//! them. They are held by descriptors, so that no signal reaches who has got an id after them. It must never hold what
//! the worker has not started.

use std::{
    collections::BTreeSet,
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
pub(super) struct Strays(Vec<Stray>);

/// One of them, held: the id alone could be another's by now.
#[derive(Debug)]
struct Stray {
    pid: u32,
    held: OwnedFd,
}

impl Strays {
    /// Those that this process, or one that it has started, has started and not outlived.
    pub(super) async fn of(leader: u32) -> Self {
        // Reading /proc blocks, if only for a moment.
        let look = tokio::task::spawn_blocking(move || {
            let mut strays = Self::default();
            strays.look(leader, vec![leader]);
            strays
        });
        look.await.unwrap_or_default()
    }

    /// Look for more among what these processes of the group and the strays that are known have started; were there any?
    pub(super) fn look(&mut self, group: u32, members: Vec<u32>) -> bool {
        self.0.retain(|stray| !stray.has_ended());
        let known = self.0.len();
        let mut open = members;
        open.extend(self.0.iter().map(|stray| stray.pid));
        let mut met: BTreeSet<u32> = open.iter().copied().collect();
        while let Some(parent) = open.pop() {
            for child in process_group::started_by(parent) {
                if met.len() > LOOKED_AT_MAX {
                    return self.0.len() > known;
                }
                if !met.insert(child) {
                    continue;
                }
                open.push(child);
                let seen = process_group::see(child).filter(|seen| seen.group != group);
                self.0.extend(seen.and_then(|_| Stray::hold(parent, child)));
            }
        }
        self.0.len() > known
    }

    /// Ask them to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Let them do nothing, and so start nobody.
    pub(super) fn halt(&self) {
        self.signal(Signal::STOP);
    }

    /// End them.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        for Stray { held, .. } in &self.0 {
            // It fails when that one has ended, or is another user's: then there is a thread that may.
            if pidfd_send_signal(held, signal) == Err(Errno::PERM)
                && let Ok(held) = held.try_clone()
            {
                let _ = hands::done_at_once(move || pidfd_send_signal(held, signal));
            }
        }
    }

    /// Has every one of them ended?
    pub(super) fn have_ended(&self) -> bool {
        self.0.iter().all(Stray::has_ended)
    }

    /// Resolves when none is left. Cancel safe.
    pub(super) async fn gone(&self) {
        while !self.have_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Stray {
    fn hold(parent: u32, child: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(child).ok()?)?;
        let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Asked once more: who had the id before may have ended, and who has it now be a stranger.
        process_group::started_by(parent).contains(&child).then_some(Self { pid: child, held })
    }

    /// One read of `/proc`, which knows whose descriptor it is (proc_pid_fdinfo(5)): nobody's, once it has been reaped.
    fn has_ended(&self) -> bool {
        let text =
            fs::read_to_string(format!("/proc/self/fdinfo/{}", self.held.as_raw_fd())).unwrap_or_default();
        let pid =
            text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse().ok());
        pid.and_then(process_group::see).is_none()
    }
}
