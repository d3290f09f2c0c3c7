//! Node programs run by a test: the browser's remote control and the official drivers.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest run of one program.
const RUN_PATIENCE: Duration = Duration::from_secs(120);

/// Where the programs and their packages are.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/node")
}

/// Run `tests/node/PROGRAM` with an environment; what it prints is given back, its failure fails the test.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str], env: &[(&str, &str)]) -> String {
    let packages = directory().join("node_modules");
    assert!(packages.exists(), "{} is missing: `tests/run` installs it (npm ci)", packages.display());
    let mut command = Command::new("node");
    command.arg(program).args(arguments).envs(env.iter().copied()).current_dir(directory());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let begun = Instant::now();
    // The programs print little: no pipe fills up while we wait.
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > RUN_PATIENCE {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "node {program}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}
