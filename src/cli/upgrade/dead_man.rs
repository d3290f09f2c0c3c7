//! The dead man's switch of an upgrade: a timer of systemd's, outside of the session that gives the order, which puts the
//! old program back if the command that should judge the new one is gone. It must never act once that has judged.

use std::{process::Stdio, time::Duration};

use nix::unistd::Pid;
use tokio::{process::Command, time::timeout};

use super::program::Program;
use crate::cli::Failure;

/// The transient units.
const UNIT: &str = "gateway-upgrade-rollback";

/// Later than the command itself gives up.
const MARGIN: Duration = Duration::from_secs(5);

/// systemd answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// `sh -c … sh BEFORE PROGRAM UNIT`. One that serves all the same may end in good order; one that hangs is not waited for.
const PUT_BACK: &str = r#"[ -e "$1" ] || exit 0
mv -f "$1" "$2" || exit 1
timeout 20 systemctl restart "$3" || { systemctl kill --signal=KILL "$3"; systemctl restart "$3"; }"#;

/// A switch that is armed.
#[derive(Debug)]
pub(super) struct DeadMan;

impl DeadMan {
    /// Arm it, where systemd runs this process; elsewhere there is none.
    pub(super) async fn arm(program: &Program, pid: Pid, within: Duration) -> Result<Option<Self>, Failure> {
        let unable = |why: String| {
            Failure::failed(format!("no timer can be set that would put the old program back: {why}"))
                .hint("nothing has changed; `systemctl status` says how systemd is")
        };
        let Some(unit) = unit_of(pid).await.map_err(unable)? else { return Ok(None) };
        // One of an earlier upgrade has nothing to do any more.
        Self::stop().await;
        let after = format!("--on-active={}ms", (within + MARGIN).as_millis());
        let name = format!("--unit={UNIT}");
        let mut command = Command::new("systemd-run");
        command
            .args(["--quiet", "--collect", &name, &after, "--timer-property=AccuracySec=100ms", "--"])
            .args(["/bin/sh", "-c", PUT_BACK, "sh"])
            .args([program.before().as_os_str(), program.path().as_os_str()])
            .arg(unit);
        said(command).await.map_err(unable)?;
        Ok(Some(Self))
    }

    /// It has nothing to do any more.
    pub(super) async fn disarm(self) {
        Self::stop().await;
    }

    async fn stop() {
        let mut command = Command::new("systemctl");
        command.args(["stop", &format!("{UNIT}.timer")]);
        // What cannot be stopped finds nothing to put back.
        let _gone = said(command).await;
    }
}

/// The service whose main process it is; an error where systemd does not say.
async fn unit_of(pid: Pid) -> Result<Option<String>, String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    // sd_booted(3).
    let is_booted = std::path::Path::new("/run/systemd/system").exists();
    let Some(unit) = service_in(&groups).filter(|_| is_booted) else { return Ok(None) };
    let mut command = Command::new("systemctl");
    command.args(["show", "--property=MainPID", "--value", unit]);
    Ok((said(command).await?.trim() == pid.to_string()).then(|| unit.to_owned()))
}

/// The service of a `/proc/PID/cgroup`, of version 1 or 2.
fn service_in(groups: &str) -> Option<&str> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let mut units = groups.lines().filter(of_systemd).filter_map(|line| line.rsplit('/').next());
    units.find(|name| name.ends_with(".service"))
}

async fn said(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("systemd does not answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_read_from_either_version_of_control_groups() {
        let v1 =
            "12:pids:/x\n1:name=systemd:/system.slice/gateway.service\n0::/system.slice/gateway.service\n";
        for (groups, want) in [
            ("0::/system.slice/gateway.service\n", Some("gateway.service")),
            (v1, Some("gateway.service")),
            ("0::/user.slice/user-0.slice/session-3.scope\n", None),
            ("12:pids:/system.slice/gateway.service\n", None),
        ] {
            assert_eq!(service_in(groups), want, "{groups}");
        }
    }
}
