//! One installation of the gateway: a directory with configuration, state and sockets, and the command line on it.
//! It lives on when a gateway in it stops, so that tests can look at what was left and start it again.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{TestGateway, builder::Builder};

/// The directory of one gateway, removed at the end of the test.
#[derive(Debug)]
pub(crate) struct Site {
    directory: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; -1 for a signal.
    pub(crate) code: i32,
    /// What a script reads.
    pub(crate) stdout: String,
    /// What a person reads.
    pub(crate) stderr: String,
}

impl Output {
    /// Of a process that has ended.
    pub(crate) fn of(output: &std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The command must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "the command failed\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The command must have failed with this code, saying something, and must not have panicked.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.all().trim().is_empty(), "the command failed without a word");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Both streams must together say each of `words`.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        let all = self.all();
        for word in words {
            assert!(all.contains(word), "`{word}` is not in:\n{all}");
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.stdout))
    }

    /// Both streams.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Site {
    /// A short path: Unix sockets below it must fit into 107 bytes.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("gw").tempdir_in("/tmp").unwrap();
        Self { directory }
    }

    /// Where everything is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `gateway.toml`.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.path().join("gateway.toml")
    }

    /// `state_dir`.
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// `runtime_dir`.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The admin API's socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.runtime().join("admin.sock")
    }

    /// Write a file below the directory and give its path.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Change the configuration file: the fragment's keys go over those there.
    pub(crate) fn configure(&self, fragment: &str) {
        let text = std::fs::read_to_string(self.config_path()).unwrap();
        let mut config: toml::Table = text.parse().unwrap();
        Builder::lay_over(&mut config, fragment.parse().unwrap());
        std::fs::write(self.config_path(), toml::to_string(&config).unwrap()).unwrap();
    }

    /// `gateway --config … ARGUMENTS` as a command that has not been started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_through(&[], arguments)
    }

    /// The same, started by a program that execs its last arguments.
    pub(crate) fn command_through(&self, launcher: &[&str], arguments: &[&str]) -> Command {
        let words: Vec<&str> = launcher.iter().copied().chain([env!("CARGO_BIN_EXE_gateway")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--config").arg(self.config_path()).args(arguments);
        command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
        command
    }

    /// The same of another copy of the binary.
    pub(crate) fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--config").arg(self.config_path()).args(arguments);
        command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
        command
    }

    /// Run the command line and wait for its end.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(arguments, "", &[])
    }

    /// The same with standard input and environment.
    pub(crate) fn cli_with(&self, arguments: &[&str], stdin: &str, env: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(env.iter().copied());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input may have gone by now: that is its right.
        let _gone = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        Output::of(&child.wait_with_output().unwrap())
    }

    /// Start a gateway here and wait until it serves.
    pub(crate) fn start(self) -> TestGateway {
        TestGateway::start(self)
    }
}
