//! What the shell gets from the binary itself: version, completions, manual pages.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{Output, Site};

fn gateway(arguments: &[&str]) -> Output {
    Output::of(&Command::new(env!("CARGO_BIN_EXE_gateway")).args(arguments).output().unwrap())
}

/// What a program complains of in a text; nothing where it is not installed.
fn read_by(words: &[&str], text: &str) -> String {
    let started = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut program) = started else { return String::new() };
    program.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_version_tells_commit_and_target() {
    let version = gateway(&["--version"]).ok().stdout;
    let target = format!("{}-unknown-linux-", std::env::consts::ARCH);
    assert!(version.starts_with(concat!("gateway ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    assert!(version.contains(&format!(", {target}")), "{version}");
}

#[test]
fn bash_reads_its_completions_and_other_shells_get_theirs() {
    let script = gateway(&["completions", "bash"]).ok().stdout;
    let asked = r#"
        COMP_WORDS=(gateway upg) COMP_CWORD=1
        _gateway gateway upg gateway
        printf '%s ' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all((script + asked).as_bytes()).unwrap();
    let said = Output::of(&bash.wait_with_output().unwrap()).ok().stdout;
    assert_eq!(said.trim(), "upgrade");
    gateway(&["completions", "zsh"]).ok().says(&["#compdef gateway", "upgrade"]);
    gateway(&["completions", "fish"]).ok().says(&["complete -c gateway", "upgrade"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = gateway(&["completions", shell]).ok().stdout;
        assert_eq!(read_by(&[shell, "-n"], &script), "", "{shell}");
    }
    gateway(&["completions", "tcl"]).fails(2).says(&["bash"]);
}

#[test]
fn every_command_has_a_manual_page() {
    gateway(&["man"]).ok().says(&[".TH gateway 1", "upgrade", "Exit codes"]);
    let site = Site::new();
    let pages = site.path().join("man1");
    gateway(&["man", "--to", pages.to_str().unwrap()]).ok();
    for page in ["gateway.1", "gateway-upgrade.1", "gateway-tenant-add.1"] {
        let text =
            std::fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH"), "{page}");
        assert_eq!(read_by(&["groff", "-man", "-Tutf8", "-ww", "-z"], &text), "", "{page}");
    }
    assert!(!pages.join("gateway-worker-exec.1").exists(), "a hidden command has no page");
}
