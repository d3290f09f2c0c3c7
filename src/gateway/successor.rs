//! The program that this process becomes at a swap: what stands at its path then. It is tried first, and it must never
//! be become before everything of the old one has been put away, nor without the listeners.

use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    net::TcpListener,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::execve,
};
use serde_json::Value;

use crate::{
    admin::Problem,
    config::{self, Flags, Past},
    edge::Inherited,
};

/// Reading and checking a configuration takes milliseconds.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a program's own words in a message.
const WORDS_BYTES_MAX: usize = 2000;

/// How this process was started, and so how it is started again.
#[derive(Debug)]
pub(super) struct Successor {
    path: PathBuf,
    arguments: Vec<OsString>,
    flags: Flags,
}

impl Successor {
    /// Remember now where this program stands: later its file may have another name, or none.
    pub(super) fn of_this_process(flags: Flags) -> std::io::Result<Self> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        // The path as it was given: behind a symbolic link that moves on stands the next release.
        let given = arguments.first().map(Path::new).filter(|given| given.components().count() > 1);
        let path = match given {
            Some(given) => std::env::current_dir()?.join(given),
            None => std::env::current_exe()?,
        };
        Ok(Self { path, arguments, flags })
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Is it a gateway, and does it take the configuration? Changes nothing.
    pub(super) async fn check(&self) -> Result<(), Problem> {
        let refused = |detail: String| {
            Problem::new(422, "swap-refused", detail)
                .hint("nothing has changed: the gateway goes on as it is")
        };
        let path = self.path.display();
        let mut command = tokio::process::Command::new(&self.path);
        if let Some(config) = &self.flags.config {
            command.arg("--config").arg(config);
        }
        for (key, value) in &self.flags.set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.args(["check", "--json"]).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(CHECK_TIMEOUT, command.output())
            .await
            .map_err(|_| refused(format!("`{path} check` did not end within {}", CHECK_TIMEOUT.as_secs())))?
            .map_err(|error| refused(format!("`{path}` cannot be run: {error}")))?;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match report["good"].as_bool() {
            Some(true) => Ok(()),
            Some(false) => {
                Err(refused(format!("`{path}` does not take the configuration: {}", told(&report))))
            }
            None => {
                let words = [output.stdout, output.stderr].concat();
                let words = String::from_utf8_lossy(&words[..words.len().min(WORDS_BYTES_MAX)]).into_owned();
                Err(refused(format!("`{path}` is no gateway: `check --json` answered `{}`", words.trim())))
            }
        }
    }

    /// Become it. Returns only if that fails.
    pub(super) fn become_it(&self, listeners: &[Inherited], past: Past) -> std::io::Error {
        let outcome = self.try_to_become(listeners, past);
        // Still here: they must not leak into the workers that are started next.
        let Err(error) = outcome;
        for one in listeners {
            let _closed = stays_open(&one.listener, false);
        }
        error.into()
    }

    fn try_to_become(&self, listeners: &[Inherited], past: Past) -> nix::Result<Infallible> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| nix::Error::EINVAL);
        let path = text(self.path.as_os_str().as_bytes())?;
        let arguments: Vec<_> =
            self.arguments.iter().map(|argument| text(argument.as_bytes())).collect::<nix::Result<_>>()?;
        let named: Vec<_> = listeners.iter().map(|one| (one.name.as_str(), &one.listener)).collect();
        let environment = config::environment_handing_over(&named, past);
        for one in listeners {
            stays_open(&one.listener, true)?;
        }
        execve(&path, &arguments, &environment)
    }
}

/// The problems of a `check --json`, in one line.
fn told(report: &Value) -> String {
    let problems = report["problems"].as_array().into_iter().flatten();
    let told = problems.map(|problem| {
        let word = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", word("key"), word("message"))
    });
    told.collect::<Vec<_>>().join("; ")
}

fn stays_open(listener: &TcpListener, open: bool) -> nix::Result<()> {
    let flags = if open { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(listener, FcntlArg::F_SETFD(flags)).map(drop)
}
