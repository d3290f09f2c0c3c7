//! What `gateway --version` tells besides the version: the commit and the target. It works without git, and asks it for
//! releases alone, so that a commit costs no rebuild while developing.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=GATEWAY_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("GATEWAY_COMMIT").ok();
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match given {
        Some(commit) => commit,
        None if release => of_git().unwrap_or_else(|| "commit unknown".to_owned()),
        None => "debug build".to_owned(),
    };
    println!("cargo:rustc-env=BUILT_COMMIT={commit}");
    println!("cargo:rustc-env=BUILT_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

/// The commit that is checked out.
fn of_git() -> Option<String> {
    let ask = |words: &[&str]| {
        let output =
            Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    if let Some(log) = ask(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    ask(&["rev-parse", "--short=12", "HEAD"])
}
