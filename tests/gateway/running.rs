//! A running gateway. Dropping it asks it to end, and fails the test when it ends badly or leaves anything behind.

use std::{
    fs::File,
    net::SocketAddr,
    ops::Deref,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{Answer, Client, Site, Wire, builder::Builder, eventually, left_behind};

/// Longest time from SIGTERM to the end: both graces of the test configuration, and room.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Lines of log shown with a failed test.
const LOG_LINES_SHOWN: usize = 120;

/// A gateway that serves, and a client of it (by `Deref`).
#[derive(Debug)]
pub(crate) struct TestGateway {
    site: Option<Site>,
    child: Option<Child>,
    client: Client,
}

impl TestGateway {
    /// Say what gateway you want.
    pub(crate) fn builder() -> Builder {
        Builder::new()
    }

    /// Start the one of `site` and wait until it listens and every worker is ready.
    pub(crate) fn start(site: Site) -> Self {
        Self::ready(Self::listening(site, &[]))
    }

    /// Start it and wait until it listens; its workers may never be ready.
    pub(crate) fn start_without_workers(site: Site) -> Self {
        Self::listening(site, &[])
    }

    /// Start it by a program that does something and then execs its last arguments, such as `unshare … sh -c …`.
    pub(crate) fn start_through(site: Site, launcher: &[&str]) -> Self {
        Self::ready(Self::listening(site, launcher))
    }

    /// Start another copy of the binary than the one that was built.
    pub(crate) fn start_program(site: Site, program: &Path) -> Self {
        let command = site.command_of(program, &["run"]);
        Self::ready(Self::spawned(site, command))
    }

    /// Start it by a command of the test's own.
    pub(crate) fn start_command(site: Site, command: Command) -> Self {
        Self::ready(Self::spawned(site, command))
    }

    /// The same, though its workers may never be ready.
    pub(crate) fn start_without_workers_through(site: Site, launcher: &[&str]) -> Self {
        Self::listening(site, launcher)
    }

    fn ready(gateway: Self) -> Self {
        eventually("every worker is ready", || {
            let status = gateway.status();
            let ready = workers(&status).all(|worker| worker["state"] == "ready");
            ready.then_some(())
        });
        gateway
    }

    fn listening(site: Site, launcher: &[&str]) -> Self {
        let command = site.command_through(launcher, &["run"]);
        Self::spawned(site, command)
    }

    fn spawned(site: Site, mut command: Command) -> Self {
        let log = |name| File::options().create(true).append(true).open(site.path().join(name)).unwrap();
        command.stdout(Stdio::from(log("stdout.log"))).stderr(Stdio::from(log("stderr.log")));
        let child = command.spawn().unwrap();
        let mut gateway = Self { site: Some(site), child: Some(child), client: Client::default() };
        let status = eventually("the gateway listens", || {
            if let Some(status) = gateway.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the gateway ended before it listened: {status}");
            }
            let status = gateway.admin("GET", "/status")?.json();
            let listens = status["listeners"].as_array().is_some_and(|listeners| !listeners.is_empty());
            listens.then_some(status)
        });
        // Not to be read where the state directory is in a mount namespace of its own.
        let ca = status["local_ca"].as_str().and_then(|path| std::fs::read(path).ok());
        gateway.client = Client::new(listener(&status, "http"), listener(&status, "https"), ca);
        gateway
    }

    /// Its directory.
    pub(crate) fn site(&self) -> &Site {
        self.site.as_ref().unwrap()
    }

    /// Run the command line on it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> crate::Output {
        self.site().cli(arguments)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// `GET /status` of the admin API.
    pub(crate) fn status(&self) -> Value {
        self.admin("GET", "/status").expect("the admin API answers").json()
    }

    /// A request to the admin API; `None` when nothing listens there yet.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Option<Answer> {
        let mut wire = Wire::unix(&self.site().admin_socket()).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        // One that becomes another program in this moment has heard nothing, and is not there either.
        wire.try_send(head).ok()?;
        let mut answer = wire.try_head().ok()?;
        wire.read_body(&mut answer);
        Some(answer)
    }

    /// The pids of the workers that are ready.
    pub(crate) fn worker_pids(&self) -> Vec<i32> {
        let status = self.status();
        let ready = workers(&status).filter(|worker| worker["state"] == "ready");
        ready.map(|worker| i32::try_from(worker["pid"].as_i64().unwrap()).unwrap()).collect()
    }

    /// Send a signal to one of its workers.
    pub(crate) fn signal_worker(&self, pid: i32, signal: Signal) {
        assert!(self.worker_pids().contains(&pid), "{pid} is no worker of this gateway");
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Send a signal to the gateway itself.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.site().path().join("stderr.log")).unwrap_or_default()
    }

    /// What it has logged, once these words are in it: a thread of its own writes the log, a moment after the event.
    #[track_caller]
    pub(crate) fn has_logged(&self, words: &str) -> String {
        eventually(&format!("the log has: {words}"), || Some(self.log()).filter(|log| log.contains(words)))
    }

    /// The lines of its access log.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.site().path().join("stdout.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The access log's line of the request with this id, once it has been written.
    pub(crate) fn access_line(&self, request_id: &str) -> Value {
        eventually("the access log has the request", || {
            self.access_log().into_iter().find(|line| {
                line.as_object().is_some_and(|line| line.values().any(|value| value == request_id))
            })
        })
    }

    /// Stop it the proper way, check that nothing is left, and give the directory back.
    pub(crate) fn stop(mut self) -> Site {
        self.finish();
        self.site.take().unwrap()
    }

    /// Kill it with SIGKILL; its workers must not outlive it.
    pub(crate) fn kill(mut self) -> Site {
        self.signal(Signal::SIGKILL);
        self.child.take().unwrap().wait().unwrap();
        let site = self.site.take().unwrap();
        eventually("no worker outlives a killed gateway", || {
            left_behind::processes(site.path()).is_empty().then_some(())
        });
        site
    }

    fn finish(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let site = self.site.as_ref().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let status = wait(&mut child, STOP_PATIENCE);
        let left = left_by(site);
        for (pid, _) in &left {
            let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let log = self.log();
        let mut faults = Vec::new();
        match status {
            Some(status) if status.success() => {}
            Some(status) => faults.push(format!("the gateway ended badly: {status}")),
            None => faults.push(format!("the gateway did not end within {STOP_PATIENCE:?} of SIGTERM")),
        }
        faults.extend(left.iter().map(|(pid, command)| format!("process {pid} was left behind: {command}")));
        let site = self.site.as_ref().unwrap();
        faults.extend(
            left_behind::sockets(site.path()).iter().map(|path| format!("the socket {path} was left behind")),
        );
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        faults.extend(panics.map(|line| format!("a part of the gateway panicked: {line}")));
        if !faults.is_empty() {
            self.show_logs();
            panic!("{}", faults.join("\n"));
        }
    }

    fn show_logs(&self) {
        for name in ["stdout.log", "stderr.log"] {
            let text = std::fs::read_to_string(self.site().path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("---- {name}, last {} of {} lines\n{}", shown.len(), lines.len(), shown.join("\n"));
        }
    }
}

impl Deref for TestGateway {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if !thread::panicking() {
            return self.finish();
        }
        // The test has failed already: say why as well as we can, and leave nothing running.
        let Some(mut child) = self.child.take() else { return };
        self.show_logs();
        let _gone = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM);
        if wait(&mut child, Duration::from_secs(8)).is_none() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
        for (pid, _) in left_by(self.site()) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// All workers of all backends in a status.
pub(crate) fn workers(status: &Value) -> impl Iterator<Item = &Value> {
    let backends = status["backends"].as_array().into_iter().flatten();
    backends.flat_map(|backend| backend["workers"].as_array().into_iter().flatten())
}

fn listener(status: &Value, kind: &str) -> Option<SocketAddr> {
    let listeners = status["listeners"].as_array()?;
    let listener = listeners.iter().find(|listener| listener["kind"] == kind)?;
    listener["address"].as_str()?.parse().ok()
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _gone = child.kill();
    let _gone = child.wait();
    None
}

/// Processes still there after a moment: the kernel ends PDEATHSIG's children a little later than their parent.
fn left_by(site: &Site) -> Vec<(i32, String)> {
    let begun = Instant::now();
    loop {
        let left = left_behind::processes(site.path());
        if left.is_empty() || begun.elapsed() > Duration::from_secs(2) {
            return left;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
