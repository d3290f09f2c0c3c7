//! Real Node programs under real supervision. The bench below starts a backend in a directory of its own;
//! `finish` fails the test on a process, a task or a socket file that is left.

mod broken_off;
mod failures;
mod farewells;
mod launcher;
mod lives;
mod orders;
mod orders_at_will;
mod reloads;
mod upstreams;
mod vigils;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::*;

/// Longest wait for anything in these tests: a loaded machine starts Node slowly.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    directory: TempDir,
    backend: Backend,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

/// A test program of `tests/data/workers`.
fn program(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/workers").join(name);
    vec!["node".to_owned(), path.display().to_string()]
}

/// The configuration of one worker of that program, with pauses for people without patience.
fn config(name: &str) -> Config {
    Config {
        command: program(name),
        // The tests run as whoever runs them.
        allow_root: true,
        // And their programs write where a test looks; the sandbox has tests of its own.
        sandbox: false,
        stop_grace: Duration::from_secs(5),
        restart_delay: Duration::from_millis(20),
        restart_delay_max: Duration::from_millis(200),
        health: Health { interval: Duration::from_millis(20), ..Health::default() },
        ..Config::default()
    }
}

fn health_path(path: &str) -> Health {
    Health { path: Some(path.to_owned()), interval: Duration::from_millis(20), ..Health::default() }
}

/// Seals nothing: what is kept has tests of its own.
#[derive(Debug)]
struct Unsealed;

impl Seal for Unsealed {
    fn seal(&self, _what: &str, secret: &[u8]) -> Option<Vec<u8>> {
        Some(secret.to_vec())
    }

    fn open(&self, _what: &str, sealed: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        Some(sealed.to_vec().into())
    }
}

fn surroundings(directory: &Path, own_exe: Option<PathBuf>) -> Surroundings {
    Surroundings {
        runtime_dir: directory.join("run"),
        extra_env: BTreeMap::from([("GATEWAY_TICKETS".to_owned(), "/run/t.sock".to_owned())]),
        config_dir: directory.to_owned(),
        state_dir: directory.join("state"),
        seal: Arc::new(Unsealed),
        hidden: vec![directory.join("state")],
        own_exe,
    }
}

impl Bench {
    fn start(config: Config) -> Self {
        Self::start_by(None, config)
    }

    fn start_by(own_exe: Option<PathBuf>, config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let surroundings = surroundings(directory.path(), own_exe);
        let backend = Backend::start("api", config, surroundings, shutdown.clone(), &metrics).unwrap();
        Self { directory, backend, metrics, shutdown }
    }

    async fn ready(&self) {
        let roster = self.backend.roster();
        let ready = tokio::time::timeout(PATIENCE, roster.ready()).await;
        assert!(ready.is_ok(), "never ready: {:#?}", self.backend.status());
    }

    async fn get(&self, path: &str) -> String {
        get(self.backend.roster().pick(&[]).expect("a worker is ready"), path).await
    }

    /// A path whose answer comes once `let_go` was called.
    fn held(&self) -> String {
        format!("/slow?until={}", self.directory.path().join("go").display())
    }

    fn let_go(&self) {
        std::fs::write(self.directory.path().join("go"), "").unwrap();
    }

    async fn json_at(&self, path: &str) -> serde_json::Value {
        let body = self.get(path).await;
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
    }

    /// Reload what is in force, resolved anew.
    async fn reload(&self) -> Result<(), BackendError> {
        let supervisor = self.backend.supervisor()?;
        let config = Config::clone(&supervisor.standing().config);
        supervisor.order(Order::Reload(Box::new(config))).await
    }

    /// Adopt this configuration, until those that were replaced have gone.
    async fn adopt(&self, config: Config) -> Result<(), BackendError> {
        self.backend.adopt(config).await?.over().await;
        Ok(())
    }

    /// The same, but reload to it.
    async fn reload_to(&self, config: Config) -> Result<(), BackendError> {
        self.backend.reload(config).await?.over().await;
        Ok(())
    }

    /// The first worker's status.
    fn worker(&self) -> WorkerStatus {
        self.backend.status().workers.swap_remove(0)
    }

    fn states(&self) -> Vec<String> {
        self.backend.status().workers.into_iter().map(|worker| worker.state).collect()
    }

    fn pid(&self) -> u32 {
        self.worker().pid.expect("it runs")
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&BackendStatus) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.backend.status()) {
            assert!(Instant::now() < deadline, "not seen: {what}: {:#?}", self.backend.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stop everything, and see that nothing is left.
    async fn finish(self) {
        let pids: Vec<u32> = self.backend.status().workers.iter().filter_map(|worker| worker.pid).collect();
        self.backend.stop().await;
        assert!(self.backend.status().workers.iter().all(|worker| worker.state == "finished"));
        assert!(self.backend.roster().pick(&[]).is_none());
        assert!(self.shutdown.drained(PATIENCE).await, "{} tasks are left", self.shutdown.tasks());
        assert!(pids.iter().all(|pid| !alive(*pid)), "a process is left");
        let label = BackendLabels { backend: "api".to_owned() };
        assert_eq!(self.metrics.workers_ready.get_or_create(&label).get(), 0);
        if let Ok(sockets) = std::fs::read_dir(self.directory.path().join("run/workers")) {
            assert_eq!(sockets.count(), 0, "a socket file is left");
        }
    }
}

/// One request, answered with a body; the lease is given back with the answer.
async fn get(lease: WorkerLease, path: &str) -> String {
    let answer = match lease.address() {
        Address::Unix(socket) => exchange(socket.connect().await.unwrap(), path).await,
        Address::Tcp(address) => exchange(tokio::net::TcpStream::connect(address).await.unwrap(), path).await,
    };
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}")).1.to_owned()
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    // HTTP/1.0: the body ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Does this process run? One that is dead and waits to be reaped does not.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

async fn until_dead(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}
