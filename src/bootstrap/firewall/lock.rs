//! One order at a time: two that read the same firewall and each write their own would lose one of the changes.

use std::{
    fs::File,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::super::{BootstrapError, machine, places};

/// Longer than any order holds it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried.
const POLL: Duration = Duration::from_millis(20);

/// The right to change the firewall, until it is dropped.
#[derive(Debug)]
pub(in crate::bootstrap) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

/// Wait for it. The directory itself is what is locked: it goes with what lies in it, and nothing is left behind.
pub(in crate::bootstrap) fn lock() -> Result<Lock, BootstrapError> {
    let directory = Path::new(places::RUN);
    machine::make_directories(directory, 0o700)?;
    let file = File::open(directory).map_err(BootstrapError::file("open", directory))?;
    wait(file, PATIENCE).ok_or_else(|| {
        BootstrapError::refused(
            "another order has been changing the firewall for a while",
            "wait until it has ended: `pgrep -a gateway` shows it",
        )
    })
}

fn wait(mut file: File, patience: Duration) -> Option<Lock> {
    let give_up = Instant::now() + patience;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Some(Lock(locked)),
            Err(_) if Instant::now() > give_up => return None,
            Err((back, _)) => file = back,
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_the_first_and_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let open = || File::open(directory.path()).unwrap();
        let first = wait(open(), Duration::ZERO).unwrap();
        assert!(wait(open(), Duration::ZERO).is_none());
        let second = thread::scope(|scope| {
            let second = scope.spawn(|| wait(open(), PATIENCE));
            drop(first);
            second.join().unwrap()
        });
        assert!(second.is_some());
    }
}
