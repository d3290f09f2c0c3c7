//! The file of the running gateway's program and its process: what is put in its place, and the old one back. Each change
//! is one rename: whoever starts it finds the old one or the new one, never half of either.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::cli::{Failure, Settings};

/// The program of a gateway that runs.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    pid: Pid,
    /// When the process began, in the kernel's words: a later process with its number began later.
    began: String,
}

impl Program {
    /// Of this process.
    pub(super) fn of(pid: u32) -> Result<Self, Failure> {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let path = fs::read_link(&link).map_err(|error| {
            Failure::io("read", &link, &error).hint("root may: run it with `sudo`, where the gateway runs")
        })?;
        let told = path.to_string_lossy();
        // Its file was replaced since it started: the path is what counts.
        let path = told.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from);
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        let began = began(pid).unwrap_or_default();
        Ok(Self { path, pid, began })
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the one before stands.
    pub(super) fn old(&self) -> PathBuf {
        self.beside("old")
    }

    /// Put another one in its place, and keep it beside.
    pub(super) fn replace_by(&self, file: &Path) -> Result<(), Failure> {
        let (new, old) = (self.beside("new"), self.old());
        let wrong = |error: io::Error| {
            let _half = fs::remove_file(&new);
            Failure::io("replace", &self.path, &error).hint("nothing has changed; root may write there")
        };
        let put = || {
            fs::copy(file, &new)?;
            fs::set_permissions(&new, Permissions::from_mode(0o755))?;
            File::open(&new)?.sync_all()?;
            match fs::remove_file(&old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::hard_link(&self.path, &old)?,
            }
            self.rename(&new)
        };
        put().map_err(wrong)
    }

    /// Put the one before back.
    pub(super) fn put_back(&self) -> Result<(), Failure> {
        self.rename(&self.old()).map_err(|error| {
            Failure::io("put back", &self.path, &error)
                .hint(format!("the old program is `{}`: move it there by hand", self.old().display()))
        })
    }

    /// Is the process still there, whatever program it is by now?
    pub(super) fn is_alive(&self) -> bool {
        began(self.pid).is_some_and(|began| began == self.began)
    }

    /// End it at once.
    pub(super) fn kill(&self) {
        if self.is_alive() {
            let _gone = kill(self.pid, Signal::SIGKILL);
        }
    }

    fn rename(&self, from: &Path) -> io::Result<()> {
        fs::rename(from, &self.path)?;
        // The rename itself must outlive a power cut.
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{what}"));
        self.path.with_file_name(name)
    }
}

/// Field 22 of proc_pid_stat(5); what is dead and not reaped counts as gone.
fn began(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; state is the first field after it.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|began| (*began).to_owned()))?
}

/// Is it a gateway that takes the live configuration? Its version.
pub(super) fn check(file: &Path, settings: &Settings) -> Result<String, Failure> {
    let refused = |why: String| Failure::usage(why).hint("nothing has changed: the gateway goes on as it is");
    let told = file.display();
    // Without a directory in it, a name would be looked up in $PATH.
    let file = file.canonicalize().map_err(|error| refused(format!("`{told}` cannot be read: {error}")))?;
    let run = |words: &[&str]| {
        let mut command = Command::new(&file);
        command.args(settings.config.iter().flat_map(|config| ["--config".as_ref(), config.as_os_str()]));
        for (key, value) in &settings.set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let output = command.args(words).stdin(Stdio::null()).output();
        output.map_err(|error| refused(format!("`{told}` cannot be run: {error}")))
    };
    let checked = run(&["check", "--json"])?;
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap_or_default();
    match report["good"].as_bool() {
        Some(true) => {}
        Some(false) => {
            let problems = report["problems"].as_array().into_iter().flatten();
            let words = problems.map(|problem| {
                let word = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
                format!("{}: {}", word("key"), word("message"))
            });
            let words: Vec<_> = words.collect();
            return Err(refused(format!("`{told}` does not take the configuration: {}", words.join("; "))));
        }
        None => return Err(refused(format!("`{told}` is no gateway: `check --json` answered no report"))),
    }
    let version = run(&["--version"])?;
    Ok(String::from_utf8_lossy(&version.stdout).trim().to_owned())
}
