//! File descriptors: as many as the system grants, and some of them kept back. Clients' connections may not take
//! the last ones, or those that are open could not be served: each request in flight needs one for its worker.

use std::{
    fs::File,
    os::fd::{AsRawFd, RawFd},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;

/// Kept back for workers, doors, files and the requests of connections that are open: an eighth, within these.
const KEPT_MIN: u64 = 32;
const KEPT_MAX: u64 = 1024;

/// How many descriptors there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors {
    /// The first number that is kept back.
    kept_from: u64,
    /// The first number that is kept back from files: those who come anew, and their requests, need a descriptor each.
    kept_from_files: u64,
}

impl Descriptors {
    /// Take as many as the system grants, and say so if that is too few for `connections_max`.
    pub(crate) fn claim(connections_max: usize) -> Self {
        let granted = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) if soft < hard => {
                // Refused, the soft limit stays.
                setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard)
            }
            Ok((soft, _)) => soft,
            // No limit that can be asked for is none that can be reached.
            Err(_) => u64::MAX,
        };
        let descriptors = Self::of(granted);
        let needed = 2 * connections_max as u64;
        if descriptors.kept_from < needed {
            tracing::warn!(
                granted,
                connections_max,
                "too few file descriptors: a proxied request takes two; raise LimitNOFILE, or lower \
                 edge.limits.connections_max"
            );
        }
        descriptors
    }

    fn of(granted: u64) -> Self {
        let kept = (granted / 8).clamp(KEPT_MIN, KEPT_MAX);
        let from = |kept| granted.saturating_sub(kept);
        Self { kept_from: from(kept), kept_from_files: from(kept + kept / 2) }
    }

    /// Did this connection take one that is kept back? The system gives out the lowest number that is free, so a
    /// high one says how many are taken, for nothing.
    pub(crate) fn are_scarce(self, stream: &TcpStream) -> bool {
        is_from(stream.as_raw_fd(), self.kept_from)
    }

    /// Did this file take one that is kept back from files? Whoever holds many of them open keeps nobody else out.
    pub(crate) fn are_nearly_gone(self, file: &File) -> bool {
        is_from(file.as_raw_fd(), self.kept_from_files)
    }
}

fn is_from(descriptor: RawFd, first: u64) -> bool {
    u64::try_from(descriptor).is_ok_and(|number| number >= first)
}

/// One descriptor held for the moment when there is no other: without it, a connection in the queue can be neither
/// served nor closed.
#[derive(Debug)]
pub(crate) struct Spare(Option<File>);

impl Spare {
    /// Hold one, if there is one.
    pub(crate) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Let it go for as long as `shed` takes.
    pub(crate) fn lend(&mut self, shed: impl FnOnce()) {
        self.0 = None;
        shed();
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_kept_back_but_not_for_ever_more() {
        for (granted, kept_from, from_files) in [
            (16, 0, 0),
            (256, 224, 208),
            (1024, 896, 832),
            (65_536, 64_512, 64_000),
            (u64::MAX, u64::MAX - 1024, u64::MAX - 1536),
        ] {
            let descriptors = Descriptors::of(granted);
            assert_eq!(descriptors.kept_from, kept_from, "{granted}");
            assert_eq!(descriptors.kept_from_files, from_files, "{granted}");
        }
    }
}
