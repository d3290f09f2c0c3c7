//! How a command ends when it does not end well: one lower-case sentence, a remedy where there is one, and an
//! exit code that scripts can rely on. It must never hold a secret: it is printed as it is.

use std::{
    fmt,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

/// What shells say of a command that a signal has ended.
const SIGNALLED: i32 = 128;

/// What the exit code says; the help text of `gateway` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The order was understood and failed.
    Failed = 1,
    /// Wrong usage, or a configuration with problems.
    Usage = 2,
    /// The order needs a running gateway and there is none.
    NotRunning = 3,
    /// The caller may not give orders here.
    Denied = 4,
    /// New workers did not get ready; where there were old ones, they go on.
    NotReady = 5,
    /// SIGHUP, with which an SSH session ends, ended a set-up between two steps; as shells count it.
    HungUp = 129,
    /// Ctrl-C ended the command, and not what the gateway does; as shells count it.
    Interrupted = 130,
    /// SIGTERM ended a set-up between two steps; as shells count it.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One sentence, lower-case, without a period. Empty: everything has been said already.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) exit: Exit,
}

impl Failure {
    /// The order failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: Exit::Failed }
    }

    /// The caller wrote something that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: Exit::Usage }
    }

    /// The order failed and its output has already said why.
    pub(crate) fn told() -> Self {
        Self { message: String::new(), hint: None, exit: Exit::Failed }
    }

    /// No gateway answers at `socket`.
    pub(crate) fn not_running(socket: &std::path::Path) -> Self {
        Self {
            message: format!("the gateway is not running: nothing answers at `{}`", socket.display()),
            hint: Some(
                "start it with `gateway run`, or name its configuration file with `--config FILE`".into(),
            ),
            exit: Exit::NotRunning,
        }
    }

    /// The same with a remedy.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure to read or write a file, with its path, which `std::io::Error` leaves out.
    pub(crate) fn io(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {verb} `{}`: {error}", path.display()))
    }
}

/// End as the command did that was run for the operator: it has said itself what there was to say. Returns if all went
/// well.
pub(crate) fn end_as(command: ExitStatus) {
    match command.code().unwrap_or_else(|| SIGNALLED + command.signal().unwrap_or_default()) {
        0 => {}
        code => std::process::exit(code),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A list of problems, as the configuration's, says `error:` before each of them itself.
        if self.message.starts_with("error: ") {
            f.write_str(&self.message)?;
        } else if !self.message.is_empty() {
            write!(f, "error: {}", self.message)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_has_a_code_of_its_own() {
        let socket = std::path::Path::new("/run/gateway/admin.sock");
        assert_eq!(Failure::failed("x").exit as u8, 1);
        assert_eq!(Failure::usage("x").exit as u8, 2);
        assert_eq!(Failure::not_running(socket).exit as u8, 3);
        assert_eq!((Exit::Denied as u8, Exit::NotReady as u8, Exit::Interrupted as u8), (4, 5, 130));
    }

    #[test]
    fn a_failure_is_one_line_and_one_hint_line() {
        let text = Failure::failed("the disk is full").hint("free some space").to_string();
        assert_eq!(text, "error: the disk is full\nhint: free some space");
        assert_eq!(Failure::told().to_string(), "");
        assert_eq!(Failure::failed("error: a\nerror: b").to_string(), "error: a\nerror: b");
    }
}
