//! A program tried before anything is changed: is it a gateway that takes the live configuration?

use std::{io::ErrorKind, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::cli::{Failure, Settings};

/// A program that takes it.
pub(super) struct Tried {
    /// What it says that it is.
    pub(super) version: String,
    /// Files for systemd that are other than those that it brings.
    pub(super) units: Vec<String>,
}

/// Its version, if it does all that within the time.
pub(super) async fn check(file: &Path, settings: &Settings, within: Duration) -> Result<Tried, Failure> {
    let refused = |why: String| Failure::usage(why).hint("nothing has changed: the gateway goes on as it is");
    let told = file.display();
    // Without a directory in it, a name would be looked up in $PATH.
    let file = file.canonicalize().map_err(|error| refused(format!("`{told}` cannot be read: {error}")))?;
    let run = async |words: &[&str]| {
        let mut command = Command::new(&file);
        command.args(settings.config.iter().flat_map(|config| ["--config".as_ref(), config.as_os_str()]));
        for (key, value) in &settings.set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        match timeout(within, command.output()).await {
            Ok(output) => output.map_err(|error| {
                let failure = refused(format!("`{told}` cannot be run: {error}"));
                match error.kind() {
                    ErrorKind::PermissionDenied => {
                        failure.hint(format!("`chmod +x {told}`; nothing has changed"))
                    }
                    _ => failure,
                }
            }),
            Err(_) => {
                let words = words.join(" ");
                let within = humantime::format_duration(within);
                Err(refused(format!("`{told} {words}` did not end within {within}")))
            }
        }
    };
    let checked = run(&["check", "--json"]).await?;
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
    let version = run(&["--version"]).await?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let units = report["units"].as_array().into_iter().flatten();
    let units = units.filter_map(|unit| Some(unit.as_str()?.to_owned())).collect();
    Ok(Tried { version, units })
}
