//! Programs that are asked what they do today, in the caller's own environment: for a bounded time and length, and never in a
//! way that starts something.

use std::{
    env,
    io::{self, Read},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{TEXT_BYTES_MAX, is_too_long};
use crate::cli::Failure;

/// pm2 starts a Node for it, which on a small server that is busy takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a program that has said everything is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Why there is no answer.
enum Silence {
    Broken(io::Error),
    Late,
    TooLong,
}

/// What a program prints.
pub(super) fn text(command: &[&str]) -> Result<String, Failure> {
    let shown = command.join(" ");
    let (program, arguments) = command.split_first().unwrap_or((&"", &[]));
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it complains about is its own configuration, which may hold secrets.
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.map_err(|error| {
        Failure::failed(format!("`{shown}` cannot be run: {error}"))
            .hint(format!("give what it prints: `gateway import {program} --from FILE`"))
    })?;
    let answer = listen(&mut child, TIMEOUT);
    if !matches!(answer, Ok((_, status)) if status.success()) {
        // One that has ended is neither killed nor waited for again.
        let (_gone, _reaped) = (child.kill(), child.wait());
    }
    let problem = match answer {
        Ok((bytes, status)) if status.success() => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok((_, status)) => format!("failed ({status})"),
        Err(Silence::Broken(error)) => format!("failed: {error}"),
        Err(Silence::Late) => format!("did not end within {} s", TIMEOUT.as_secs()),
        Err(Silence::TooLong) => format!("prints more than {} MiB", TEXT_BYTES_MAX / (1024 * 1024)),
    };
    Err(Failure::failed(format!("`{shown}` {problem}")).hint(format!(
        "run `{shown}` yourself, with sudo where it needs it, and give what it prints with `--from FILE`"
    )))
}

/// Everything that it prints, and how it ended.
fn listen(child: &mut Child, limit: Duration) -> Result<(Vec<u8>, ExitStatus), Silence> {
    let give_up = Instant::now() + limit;
    let (said, heard) = mpsc::sync_channel(1);
    let pipe = child.stdout.take();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map(|pipe| pipe.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)).transpose();
        // Who waited for it may have given up.
        let _gone = said.send(read.map(|_| bytes));
    });
    // What it has started may hold the pipe for longer than itself.
    let bytes = heard.recv_timeout(limit).map_err(|_| Silence::Late)?.map_err(Silence::Broken)?;
    if is_too_long(&bytes) {
        return Err(Silence::TooLong);
    }
    loop {
        match child.try_wait().map_err(Silence::Broken)? {
            Some(status) => return Ok((bytes, status)),
            None if Instant::now() > give_up => return Err(Silence::Late),
            None => thread::sleep(LOOK),
        }
    }
}

/// Whatever pm2 is asked, it starts a daemon where none runs: one that would stay, with nothing to run.
pub(super) fn runs_pm2() -> Result<(), Failure> {
    let home = home_of_pm2(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from));
    match UnixStream::connect(home.join("rpc.sock")) {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::failed(format!("no pm2 of yours runs: nobody answers at `{}`", home.join("rpc.sock").display()))
            .hint(format!(
                "ask as the user whose it is, or give what it has saved or prints: `gateway import pm2 --from {}`",
                home.join("dump.pm2").display()
            ))),
    }
}

/// As pm2 finds it.
fn home_of_pm2(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let home = || variable("HOME").map_or_else(|| Path::new("/etc").to_owned(), PathBuf::from);
    variable("PM2_HOME").unwrap_or_else(|| home().join(".pm2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pm2_is_looked_for_where_it_would_be_started() {
        let check = |pairs: &[(&str, &str)], want: &str| {
            let variable = |name: &str| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(home_of_pm2(variable), Path::new(want));
        };
        check(&[("PM2_HOME", "/srv/pm2"), ("HOME", "/root")], "/srv/pm2");
        check(&[("HOME", "/root")], "/root/.pm2");
        check(&[], "/etc/.pm2");
    }

    #[test]
    fn a_program_that_does_not_end_or_says_too_much_is_given_up() {
        let check = |script: &str, limit: Duration| {
            let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
            let answer = listen(&mut child, limit);
            let (_gone, _reaped) = (child.kill(), child.wait());
            answer.map(|(bytes, status)| (bytes, status.code()))
        };
        assert!(matches!(check("echo out; exit 3", TIMEOUT), Ok((bytes, Some(3))) if bytes == b"out\n"));
        assert!(matches!(check("exec sleep 600", Duration::from_millis(20)), Err(Silence::Late)));
        assert!(matches!(check("exec >&-; exec sleep 600", Duration::from_millis(20)), Err(Silence::Late)));
        assert!(matches!(check("exec cat /dev/zero", TIMEOUT), Err(Silence::TooLong)));
    }
}
