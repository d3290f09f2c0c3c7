//! A pipe of which the gateway and its guard hold the writing end, and nobody else. A worker holds a reading end that
//! the kernel has been told to answer its loss with SIGKILL for the worker's whole group (fcntl(2), `F_SETSIG`): so no
//! group outlives both, whoever kills them and in what order, and needs neither of them for it.
//!
//! It must never be written to: the kernel would take that for the end as well.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeWriter},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::OnceLock,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    libc,
    sys::signal::Signal,
    unistd::getpid,
};

/// Tells the launcher the number that the writing end has in its parent; the worker itself never sees it.
pub(super) const LIFELINE_VARIABLE: &str = "GATEWAY_LIFELINE";

/// As Linux has it on every machine that we build for (asm-generic/fcntl.h); the crate leaves it out.
const F_SETSIG: libc::c_int = 10;

/// A worker's end.
#[derive(Debug)]
pub(super) struct Lifeline(File);

impl Lifeline {
    /// Open the pipe that process `parent` holds by this number: an end of one's own, with a signal of its own. It
    /// takes the rights of that process's user.
    pub(super) fn of(parent: &str, number: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        options.open(format!("/proc/{parent}/fd/{number}")).map(Self)
    }

    /// From now on the loss of the other end kills this process's group, whatever it executes. Only who leads the
    /// group may ask for that, and as the user who it is to be: the kernel asks whether that one may send the signal.
    pub(super) fn arm(&self) -> io::Result<()> {
        set(&self.0, libc::F_SETOWN, -getpid().as_raw())?;
        set(&self.0, F_SETSIG, Signal::SIGKILL as libc::c_int)?;
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_ASYNC | OFlag::O_NONBLOCK))?;
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }
}

/// The gateway's end, which is there until its process ends or becomes another program.
pub(super) fn held() -> io::Result<&'static PipeWriter> {
    static HELD: OnceLock<Result<PipeWriter, io::ErrorKind>> = OnceLock::new();
    let pipe = || io::pipe().map(|(_reader, writer)| writer).map_err(|error| error.kind());
    HELD.get_or_init(pipe).as_ref().map_err(|kind| io::Error::from(*kind))
}

/// Another reference to it, to be handed to the guard.
pub(super) fn shared() -> io::Result<OwnedFd> {
    held()?.try_clone().map(OwnedFd::from)
}

#[expect(unsafe_code, reason = "neither of the crates that wrap fcntl(2) knows these two of its orders")]
fn set(file: &File, order: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: both orders take a number and touch no memory of ours; the descriptor is open as long as the file.
    let outcome = unsafe { libc::fcntl(file.as_raw_fd(), order, value) };
    Errno::result(outcome).map(drop).map_err(io::Error::from)
}
