//! The hidden launcher `gateway worker-exec -- CMD…`: what has to happen between fork and the worker's own
//! program, as a program of its own, because code between fork and exec may do next to nothing safely.
//!
//! It runs before any thread or runtime exists, and must never return to a caller that could go on as a gateway.

mod signals;
mod terminal;

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::{
        prctl,
        resource::{Resource, getrlimit},
        signal::Signal,
    },
    unistd,
};

use super::{
    confinement::Confinement,
    lifeline::{LIFELINE_VARIABLE, Lifeline},
    removal,
};

/// Tells the launcher who started it; the worker itself never sees it.
pub(super) const PARENT_VARIABLE: &str = "GATEWAY_PARENT_PID";

/// Tells the launcher what to do to itself, as JSON.
pub(super) const CONFINEMENT_VARIABLE: &str = "GATEWAY_CONFINEMENT";

/// Opens every message of the launcher, so that the gateway knows it from a worker's words.
const SAYS: &str = "gateway worker-exec: ";

/// Tells the launcher that its standard input is the worker's channel.
pub(super) const CHANNEL_VARIABLE: &str = "GATEWAY_CHANNEL";

/// Tells the launcher to begin a session, on the terminal that its standard streams are, if they are one.
pub(super) const SESSION_VARIABLE: &str = "GATEWAY_SESSION";

/// Tells the launcher to remove what is in a directory, its one argument, instead of starting a program.
pub(super) const EMPTY_VARIABLE: &str = "GATEWAY_EMPTY";

/// All of them: none passes from the configuration to the launcher, nor from the launcher to the program.
pub(super) const FOR_THE_LAUNCHER: [&str; 6] = [
    PARENT_VARIABLE,
    CONFINEMENT_VARIABLE,
    CHANNEL_VARIABLE,
    LIFELINE_VARIABLE,
    SESSION_VARIABLE,
    EMPTY_VARIABLE,
];

/// Where Node looks for its channel, and what is spoken on it.
const NODE_CHANNEL: [&str; 2] = ["NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE"];

/// As `env` and shells have it: the command could not be run.
const EXIT_CANNOT_RUN: i32 = 127;

/// Closed one by one up to here where `/proc` is missing, and no further: soft limits can be in the billions.
const DESCRIPTORS_MAX: u64 = 65_536;

/// Become the worker: inherit nothing but output, error, the channel and the lifeline, give up every right, settle
/// where it belongs, hear every signal, die with the gateway or soon after it, and exec.
///
/// The death signal comes when the *thread* that forked ends, not only its process. `child`'s forking thread
/// therefore lives as long as the process.
pub(crate) fn worker_exec(command: Vec<OsString>) -> ! {
    let problem = become_worker(&command);
    // Standard error is the pipe that the gateway reads: this line becomes the worker's last output.
    drop(writeln!(std::io::stderr(), "{SAYS}{problem}"));
    std::process::exit(EXIT_CANNOT_RUN)
}

/// What the launcher said, as the reason why there is no program: that it ended then says nothing.
pub(super) fn told(lines: &[String]) -> Option<String> {
    let problem = lines.iter().rev().find_map(|line| line.strip_prefix(SAYS))?;
    Some(format!("it could not be started: {problem}"))
}

/// Returns only when it failed, and says why.
fn become_worker(command: &[OsString]) -> String {
    let Some((program, arguments)) = command.split_first() else {
        return "no command given".to_owned();
    };
    // First, so that a gateway that dies meanwhile takes us along.
    if let Err(problem) = die_with_the_gateway() {
        return problem;
    }
    if let Err(error) = terminal::leave() {
        return format!("cannot leave the terminal: {error}");
    }
    let channel = match std::env::var_os(CHANNEL_VARIABLE).map(|_| move_channel()).transpose() {
        Ok(channel) => channel,
        Err(error) => return format!("cannot hand on the channel: {error}"),
    };
    close_inherited(channel);
    // While we are still who may open it.
    let lifeline = lifeline();
    let confinement = match confinement() {
        Ok(confinement) => confinement,
        Err(problem) => return problem,
    };
    let confined = confinement
        .give_up_rights()
        // Again: becoming another user has cleared it.
        .and_then(|()| die_with_the_gateway())
        .and_then(|()| lifeline.as_ref().map_or(Ok(()), outlive_the_gateway_a_moment))
        .and_then(|()| confinement.settle());
    if let Err(problem) = confined {
        return problem;
    }
    if std::env::var_os(EMPTY_VARIABLE).is_some() {
        removal::empty(Path::new(program));
        std::process::exit(0);
    }
    if let Err(error) = signals::reset() {
        return format!("cannot let signals do what they do by default: {error}");
    }
    let mut command = Command::new(program);
    command.args(arguments);
    for name in FOR_THE_LAUNCHER {
        command.env_remove(name);
    }
    if let Some(home) = confinement.home_instead(std::env::var_os("HOME").as_deref()) {
        command.env("HOME", home);
    }
    if let Some(channel) = channel {
        command.env(NODE_CHANNEL[0], channel.to_string()).env(NODE_CHANNEL[1], "json");
    }
    let error = command.exec();
    if error.kind() == ErrorKind::PermissionDenied
        && let Some(why) =
            in_no_directory(Path::new(program), &std::env::var_os("PATH").unwrap_or_default(), |path| {
                fs::metadata(path).map(|found| found.is_file())
            })
    {
        return format!("cannot start {}: {why}", program.display());
    }
    let hint = match (error.kind(), &confinement.rules) {
        (ErrorKind::PermissionDenied, Some(_)) => {
            "; the sandbox lets it run what is in /usr, Node's own and the application's directory, and what \
             `allow_read` adds"
        }
        _ => "",
    };
    format!("cannot start {}: {error}{hint}", program.display())
}

/// Of a program that is nowhere in PATH the kernel says "permission denied" as soon as one directory there is closed: then both are
/// told. Nothing, if it is there and may not be run.
fn in_no_directory(
    program: &Path,
    path: &OsStr,
    is_there: impl Fn(&Path) -> io::Result<bool>,
) -> Option<String> {
    if program.components().count() != 1 {
        return None;
    }
    let mut closed = Vec::new();
    for directory in std::env::split_paths(path) {
        match is_there(&directory.join(program)) {
            Ok(true) => return None,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => closed.push(directory),
            _ => {}
        }
    }
    let first = closed.first()?.display();
    Some(format!(
        "there is no such program in PATH, as far as the workers' user sees: `{first}`, which PATH names, is closed to it"
    ))
}

fn confinement() -> Result<Confinement, String> {
    let text = std::env::var(CONFINEMENT_VARIABLE)
        .map_err(|_| format!("{CONFINEMENT_VARIABLE} is missing: only the gateway itself starts this"))?;
    serde_json::from_str(&text).map_err(|error| format!("{CONFINEMENT_VARIABLE} cannot be read: {error}"))
}

/// Ask the kernel to kill us with the thread that forked us.
fn die_with_the_gateway() -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| format!("cannot ask to die with the gateway: {error}"))?;
    // If the gateway died before the request above took effect, nobody will ever signal us.
    let parent = std::env::var(PARENT_VARIABLE).ok();
    if parent.is_some_and(|pid| pid != unistd::getppid().to_string()) {
        return Err("the gateway is gone".to_owned());
    }
    Ok(())
}

fn lifeline() -> Option<Lifeline> {
    let (parent, number) = (std::env::var(PARENT_VARIABLE).ok()?, std::env::var(LIFELINE_VARIABLE).ok()?);
    Lifeline::of(&parent, &number).ok()
}

/// Instead of with it: the guard kills us a moment after the gateway, and the kernel when the guard has ended as well.
/// A system that has no such thing leaves us to die with the gateway.
fn outlive_the_gateway_a_moment(lifeline: &Lifeline) -> Result<(), String> {
    if lifeline.arm().is_err() {
        return Ok(());
    }
    // Not before: so there is no moment in which nothing would end us.
    prctl::set_pdeathsig(None).map_err(|error| format!("cannot ask to outlive the gateway: {error}"))
}

/// Put the channel behind standard error, and nothing into its place.
fn move_channel() -> std::io::Result<i32> {
    let channel = fcntl(std::io::stdin(), FcntlArg::F_DUPFD(3))?;
    unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(channel)
}

/// Close every descriptor above standard error but the channel: what leaked into the gateway from its own parent
/// must not reach a worker, which may belong to another user.
fn close_inherited(channel: Option<i32>) {
    for descriptor in open_descriptors().into_iter().filter(|descriptor| Some(*descriptor) != channel) {
        // Already closed (the directory listing's own) is what we want as well.
        let _ = unistd::close(descriptor);
    }
}

fn open_descriptors() -> Vec<i32> {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        names.filter(|descriptor| *descriptor > 2).collect()
    });
    listed.unwrap_or_else(|_| {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS_MAX, |(soft, _)| soft);
        (3..i32::try_from(limit.min(DESCRIPTORS_MAX)).unwrap_or(i32::MAX)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_nowhere_is_not_taken_for_one_that_is_denied() {
        let check = |program: &str, path: &str, want: Option<&str>| {
            let looked = |path: &Path| match path.starts_with("/root") {
                true => Err(ErrorKind::PermissionDenied.into()),
                false => Ok(path == Path::new("/usr/bin/node")),
            };
            let said = in_no_directory(Path::new(program), OsStr::new(path), looked);
            assert_eq!(said.is_some(), want.is_some(), "{program} {path}: {said:?}");
            assert!(said.unwrap_or_default().contains(want.unwrap_or_default()), "{program} {path}");
        };
        check(
            "nodee",
            "/root/bin:/usr/bin",
            Some("no such program in PATH, as far as the workers' user sees: `/root/bin`"),
        );
        // There, and not to be run; or with its directory; or the kernel has another reason.
        check("node", "/root/bin:/usr/bin", None);
        check("/opt/nodee", "/root/bin:/usr/bin", None);
        check("nodee", "/usr/bin", None);
    }
}
