//! Programs that are started, waited for and looked at by a thread that may block. They are forked on the thread of
//! `hands` like all others: it may become another user, and does not end before them.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
    unistd::Pid,
};
use tokio::process::Command;

use super::{
    super::{
        account::Identity,
        confinement::Confinement,
        environment::Environment,
        hands::{self, Target},
        sandbox::Rules,
        worker_exec::EMPTY_VARIABLE,
    },
    Launcher, Program, command,
};

/// Node says its version in a few dozen milliseconds.
const SAY_TIMEOUT: Duration = Duration::from_secs(2);

/// A version has ten, and why it cannot be said stands in the first line.
const SAID_BYTES_MAX: usize = 512;

/// Some hundred thousand files of a slow disk.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How often it is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What a program says when it is asked with one argument; none if it does not say it soon. Blocks meanwhile.
pub(in crate::backend) fn say(
    program: &Path,
    argument: &str,
    confinement: Confinement,
    launcher: &Launcher,
) -> Option<String> {
    let program = Program {
        command: vec![program.to_str()?.to_owned(), argument.to_owned()],
        confinement,
        environment: Environment::new(),
        launcher: launcher.clone(),
        channel: None,
    };
    let child = ended_well(command(&program), SAY_TIMEOUT).ok()?;
    let said = what_it_said(child.stdout?).ok()?;
    Some(said.trim().to_owned())
}

/// The beginning of what a process that has ended has written. It is in the pipe; the pipe's end may never come, since
/// whoever was left in the background holds it as well.
pub(crate) fn what_it_said(mut pipe: impl Read + AsFd) -> io::Result<String> {
    let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
    fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let mut said = [0; SAID_BYTES_MAX];
    let count = match pipe.read(&mut said) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        outcome => outcome?,
    };
    Ok(String::from_utf8_lossy(&said[..count]).into_owned())
}

/// Remove what is in a directory as far as that user may; the gateway's own may be left. Only the launcher can do that.
/// Blocks meanwhile.
pub(in crate::backend) fn empty(
    directory: &Path,
    identity: Option<&Identity>,
    launcher: &Launcher,
) -> io::Result<()> {
    let name = directory.to_str().ok_or_else(|| io::Error::other("its name is no text"))?;
    if *launcher == Launcher::Direct {
        return Err(io::Error::other("there is no launcher"));
    }
    let program = Program {
        command: vec![name.to_owned()],
        confinement: Confinement {
            directory: directory.to_owned(),
            identity: identity.cloned(),
            // Whatever links lie in it, and whoever exchanges them meanwhile: nothing outside can be removed.
            rules: Some(Rules { write: vec![directory.to_owned()], ..Rules::default() }),
            ..Confinement::default()
        },
        environment: Environment::new(),
        launcher: launcher.clone(),
        channel: None,
    };
    let mut command = command(&program);
    command.env(EMPTY_VARIABLE, "1");
    ended_well(command, EMPTY_TIMEOUT).map(drop)
}

/// The process when it has ended with exit code 0; killed with its group after this time.
fn ended_well(mut command: Command, timeout: Duration) -> io::Result<Child> {
    command.stderr(Stdio::null()).process_group(0);
    let mut command = command.into_std();
    let mut child = hands::done_at_once(move || command.spawn())??;
    let deadline = Instant::now() + timeout;
    let ended = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_INTERVAL),
            ended => break ended,
        }
    };
    let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
    // Whom it has left in the background as well.
    let _gone = group.map(|group| hands::signal(Target::Group(group), Signal::SIGKILL));
    if matches!(ended, Ok(Some(status)) if status.success()) {
        return Ok(child);
    }
    let status = child.wait()?;
    Err(io::Error::other(format!("it ended with {status}")))
}
