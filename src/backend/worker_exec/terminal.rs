//! Off the terminal that the gateway was started on: whoever has it as his controlling terminal may type on it (TIOCSTI,
//! which kernels before 6.2 always allow), and a worker is another user, or as good as one.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::{errno::Errno, libc, unistd::setsid};
use rustix::process::ioctl_tiocsctty;

use super::SESSION_VARIABLE;

/// Give up the controlling terminal, alone or with the session; in a new one, take that of the standard streams.
pub(super) fn leave() -> io::Result<()> {
    if std::env::var_os(SESSION_VARIABLE).is_none() {
        return detach();
    }
    setsid()?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [
        (stdin.is_terminal(), stdin.as_fd()),
        (stdout.is_terminal(), stdout.as_fd()),
        (stderr.is_terminal(), stderr.as_fd()),
    ];
    match streams.iter().find(|(is_terminal, _)| *is_terminal) {
        Some((_, terminal)) => Ok(ioctl_tiocsctty(terminal)?),
        None => Ok(()),
    }
}

#[expect(unsafe_code, reason = "neither of the crates that wrap ioctl(2) knows this order")]
fn detach() -> io::Result<()> {
    // It cannot be opened where there is none.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOCTTY).open("/dev/tty");
    let Ok(terminal) = opened else { return Ok(()) };
    // SAFETY: the order takes no argument; the descriptor is open as long as the file.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
    Errno::result(outcome).map(drop).map_err(io::Error::from)
}
