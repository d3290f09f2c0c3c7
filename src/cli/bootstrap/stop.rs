//! Ctrl-C, SIGTERM and SIGHUP, with which an SSH session ends, while a server is set up or taken back: what is under way is
//! finished, nothing further is begun, and what was done is told. It must never leave a step half done.

use std::{
    fs, process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    bootstrap,
    cli::{Failure, failure::Exit, out},
};

/// Who asked for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    HangUp,
}

impl Asked {
    const fn shown(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "the session has ended (SIGHUP)",
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
            Self::HangUp => Exit::HungUp,
        }
    }
}

/// Hears the signals from its making on.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    asked: Arc<OnceLock<Asked>>,
    at_work: Arc<AtomicBool>,
}

impl Stop {
    /// Before the first thing is changed: until then a signal ends the command as it ends any other.
    pub(super) fn heard() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("signals cannot be heard: {error}"));
        let runtime = runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        // Below `nohup` the end of the session is nobody's business.
        let ignored = ignores_hang_up(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let mut hang_up = if ignored { None } else { Some(signal(SignalKind::hangup()).map_err(failed)?) };
        drop(entered);
        let stop = Self { asked: Arc::default(), at_work: Arc::new(AtomicBool::new(true)) };
        let hears = stop.clone();
        // It ends with the process, as signals can come until then.
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let asked = tokio::select! {
                        _ = interrupt.recv() => Asked::Interrupt,
                        _ = terminate.recv() => Asked::Terminate,
                        Some(_) = async { hang_up.as_mut()?.recv().await } => Asked::HangUp,
                    };
                    hears.comes(asked);
                }
            });
        });
        Ok(stop)
    }

    fn comes(&self, asked: Asked) {
        // The first one is the one that counts.
        let _earlier = self.asked.set(asked);
        if self.at_work.load(Ordering::SeqCst) {
            out::remark(format!(
                "\n{}: what is under way is finished first, and nothing more is begun",
                asked.shown()
            ));
        } else {
            out::remark(format!(
                "\n{}: everything was done; `gateway doctor` looks at it again",
                asked.shown()
            ));
            process::exit(asked.exit() as i32);
        }
    }

    /// Shall nothing more be begun?
    pub(super) fn asked(&self) -> Option<Asked> {
        self.asked.get().copied()
    }

    /// Nothing is changed any more: a signal ends the command at once. What came before does so here.
    pub(super) fn over(&self) {
        self.at_work.store(false, Ordering::SeqCst);
        if let Some(asked) = self.asked() {
            self.comes(asked);
        }
    }
}

/// What is told of a run that was asked to end: all that it should have done, of which so much is done.
pub(super) fn stopped(asked: Asked, subjects: &[&str], done: usize, how_on: &str) -> Failure {
    let list = |names: &[&str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let (before, after) = subjects.split_at(done.min(subjects.len()));
    let mut message = format!(
        "{}: stopped between two steps, {} of {} are done\ndone: {}\nnot done: {}",
        asked.shown(),
        before.len(),
        subjects.len(),
        list(before),
        list(after),
    );
    if let Some(armed) = bootstrap::live().armed {
        message += &format!(
            "\nthe firewall that waits to be confirmed goes back by itself at {:.0}, unless `sudo gateway bootstrap confirm` \
             comes over a second SSH session",
            armed.until
        );
    }
    Failure { exit: asked.exit(), ..Failure::failed(message) }.hint(how_on)
}

/// Was SIGHUP ignored when this process began? By `/proc/PID/status` (proc(5)), where signal N is bit N-1.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_a_run_is_told_what_is_done_what_is_not_and_how_to_go_on() {
        let failure = stopped(Asked::Interrupt, &["program", "accounts", "start"], 2, "the same order again");
        assert_eq!(
            failure.to_string(),
            "error: Ctrl-C: stopped between two steps, 2 of 3 are done\ndone: program, accounts\nnot done: start\n\
             hint: the same order again"
        );
        assert_eq!(failure.exit as u8, 130);
        assert_eq!((Asked::Terminate.exit() as u8, Asked::HangUp.exit() as u8), (143, 129));
        let none = stopped(Asked::HangUp, &["program"], 0, "x").to_string();
        assert!(none.contains("done: nothing\nnot done: program"), "{none}");
    }

    #[test]
    fn below_nohup_the_end_of_the_session_is_ignored() {
        assert!(ignores_hang_up("Name:\tgateway\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hang_up("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
    }
}
