//! One start of a worker, from fork to reaping: the child, its socket, its output, its place in the roster.
//! Everything it holds is given back when it is dropped; it must never be in the roster without running.

mod farewell;

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use nix::sys::signal::Signal;
use tokio::{net::TcpListener, sync::Semaphore};

pub(super) use self::farewell::Patience;
use super::{
    account::Identity,
    autopsy,
    channel::{self, Channel},
    child::{Child, Launcher, Program},
    config::{Goodbye, Listen, Ready},
    confinement::Confinement,
    environment::{Environment, Place, environment, program as find_program},
    generation::{self, Generation, Grounds, quarters_path, socket_path},
    health::{self, Unwell},
    instances::{Instance, Instances},
    listening,
    node::{NodeHold, NodeStatus, NodesInUse},
    output::Outlets,
    quarters::{self, Quarters},
    readers::Readers,
    roster::{Address, Roster, UnixSocket, Worker, next_key},
    state::{Failure, Running, Slot},
    worker_exec,
};
use crate::shutdown::Shutdown;

/// Lines of output that an error message carries: one screen.
pub(super) const LAST_LINES: usize = 20;

/// Those among them that are the first it wrote, if it wrote more and never got ready.
const FIRST_LINES: usize = 8;

/// What every start of a backend's workers needs, whatever the slot and the generation.
#[derive(Debug)]
pub(super) struct Stage {
    /// The backend.
    pub(super) backend: String,
    /// Sockets go to `workers/` in it.
    pub(super) runtime_dir: PathBuf,
    /// What generations are resolved in.
    pub(super) grounds: Arc<Grounds>,
    /// The clean base of every environment.
    pub(super) base_env: Environment,
    /// What the gateway itself tells its workers.
    pub(super) extra_env: std::collections::BTreeMap<String, String>,
    /// How programs are started.
    pub(super) launcher: Launcher,
    /// The gateway's own files, which no sandbox shows.
    pub(super) hidden: ArcSwap<Vec<PathBuf>>,
    /// Where ready workers go.
    pub(super) roster: Arc<Roster>,
    /// Where the output goes.
    pub(super) outlets: Arc<Outlets>,
    /// Counts the tasks that read the output.
    pub(super) shutdown: Shutdown,
    /// The numbers in `NODE_APP_INSTANCE`.
    pub(super) instances: Arc<Instances>,
    /// The Nodes that processes run.
    pub(super) nodes: Arc<NodesInUse>,
    /// Workers that are replaced for gentle reasons, one at a time.
    pub(super) turns: Arc<Semaphore>,
}

/// One running worker process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    program: Program,
    worker: Arc<Worker>,
    slot: Arc<Slot>,
    roster: Arc<Roster>,
    readers: Readers,
    quarters: Quarters,
    _instance: Instance,
    _node: Option<NodeHold>,
    channel: Option<Channel>,
    goodbye: Goodbye,
    /// What it was started from.
    generation: u64,
    /// What was executed, behind all links.
    executed: Option<PathBuf>,
    ready_at: Option<Instant>,
}

impl Process {
    /// Fork it. Ready comes later.
    pub(super) async fn start(
        stage: &Stage,
        slot: &Arc<Slot>,
        generation: &Generation,
    ) -> Result<Self, Failure> {
        let key = next_key();
        let identity = generation.identity.as_ref();
        let quarters = quarters(stage, slot, key, identity).map_err(|error| not_started(&error))?;
        let address = match generation.config.listen {
            Listen::Unix => own_socket(&quarters, identity),
            Listen::Port => free_port().await.map_err(|error| not_started(&error))?,
        };
        let port: OsString = match &address {
            Address::Unix(socket) => socket.path().into(),
            Address::Tcp(address) => address.port().to_string().into(),
        };
        let instance = stage.instances.take(slot.number, generation.config.workers.count());
        let place = Place {
            port,
            instance: instance.number,
            worker: &slot.name,
            temporary: quarters.temporary(),
            identity,
            node: generation.node.as_ref().and_then(NodeStatus::leading),
        };
        // Without the launcher there is nobody who could hand it on.
        let (channel, theirs) = match stage.launcher {
            Launcher::Direct => None,
            Launcher::Through(_) => Some(channel::pair().map_err(|error| not_started(&error))?),
        }
        .unzip();
        let configured = [&generation.env_file.0, &generation.config.env];
        let environment = environment(&stage.base_env, configured, &stage.extra_env, place);
        let name = generation.config.command.first().map_or("", String::as_str);
        let found = find_program(&environment, &generation.directory, name);
        let program = Program {
            command: generation.config.command.clone(),
            confinement: Confinement::of(
                generation,
                &generation.config.command,
                &environment,
                quarters.directory(),
                &stage.hidden.load(),
            ),
            environment,
            launcher: stage.launcher.clone(),
            channel: theirs.map(Arc::new),
        };
        let node = stage.nodes.hold(generation.node.as_ref());
        let mut child = Child::spawn(&program).await.map_err(|error| not_started(&error))?;
        let readers = Readers::start(&mut child, &slot.ring, &slot.name, stage, generation);
        tracing::info!(
            backend = stage.backend,
            worker = slot.name,
            pid = child.pid(),
            generation = generation.number,
            "worker started"
        );
        Ok(Self {
            child,
            // Kept to ask the same of it again; the worker's end of the channel shall be the worker's alone.
            program: Program { channel: None, ..program },
            worker: Worker::new(key, slot.name.clone(), address),
            slot: Arc::clone(slot),
            roster: Arc::clone(&stage.roster),
            readers,
            quarters,
            _instance: instance,
            _node: node,
            channel: channel.map(|stream| Channel::open(stream, &stage.shutdown)),
            goodbye: generation.config.shutdown,
            generation: generation.number,
            executed: found,
            ready_at: None,
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// As a slot shows it.
    pub(super) fn running(&self) -> Running {
        let worker = Arc::clone(&self.worker);
        Running { pid: Some(self.pid()), worker, generation: self.generation }
    }

    /// As the edge sees it.
    pub(super) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Resolves when it is ready, or will not be. Cancel safe.
    pub(super) async fn ready(&mut self, generation: &Generation) -> Result<(), Failure> {
        let health = &generation.config.health;
        let mut last_seen: Option<Unwell> = None;
        let (address, group) = (self.worker.address().clone(), self.child.pid());
        let uid = generation.identity.as_ref().map(|identity| identity.uid);
        let channel = self.channel.as_ref().filter(|_| generation.config.ready == Ready::Message);
        let asking = async {
            if let Some(channel) = channel {
                channel.ready().await;
            }
            let (mut successes, mut unwell_answers) = (0, 0);
            loop {
                let checked = match health::check(&address, health.path.as_deref(), health.timeout).await {
                    Ok(()) => is_its_own(&address, group, uid).await,
                    unwell => unwell,
                };
                match checked {
                    Ok(()) => successes += 1,
                    Err(unwell) => {
                        unwell_answers += u32::from(!unwell.is_unheard());
                        (successes, last_seen) = (0, Some(unwell));
                    }
                }
                if successes >= health.ready_successes {
                    return;
                }
                // Who has answered well is asked again soon.
                let answers = if successes == 0 { unwell_answers } else { 0 };
                tokio::time::sleep(health::pause(health.interval, answers)).await;
            }
        };
        let outcome = tokio::select! {
            // First, so that an answer from a process that is gone counts for nothing.
            biased;
            status = self.child.exited() => Err(Some(describe(&status))),
            () = asking => Ok(()),
            () = tokio::time::sleep(generation.config.ready_timeout) => Err(None),
        };
        match outcome {
            Ok(()) => {
                self.ready_at = Some(Instant::now());
                Ok(())
            }
            Err(Some(ended)) => {
                self.slot.reaped(self.child.pid());
                let failure = self.failure(format!("{ended} before it was ready")).await;
                let (started, executed) = (&self.program, self.executed.as_deref());
                let facts = autopsy::facts_of_gone(generation, started, executed, &failure.lines).await;
                Err(Failure { facts, ..failure })
            }
            Err(None) => {
                let reason = self.never_ready(generation, last_seen).await;
                let mut failure = self.failure(reason).await;
                // Why it waits is often among the first of them, and each of our questions may have made one more.
                failure.lines = self.slot.ring.ends_of(self.child.pid(), FIRST_LINES, LAST_LINES);
                failure.facts = autopsy::facts(self.child.pid(), &self.program, &failure.lines).await;
                Err(failure)
            }
        }
    }

    /// Resolves when it has ended, with the reason. It is out of the roster then. Cancel safe.
    pub(super) async fn exited(&mut self) -> String {
        let status = self.child.exited().await;
        self.roster.remove(&self.worker);
        self.slot.reaped(self.child.pid());
        describe(&status)
    }

    /// Since when it is ready.
    pub(super) fn ready_at(&self) -> Instant {
        self.ready_at.unwrap_or_else(Instant::now)
    }

    /// Take no new request; those in flight go on.
    pub(super) fn leave_roster(&self) {
        self.roster.remove(&self.worker);
    }

    /// How long it has been ready.
    pub(super) fn ready_for(&self) -> Duration {
        self.ready_at.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The failure of a process with its last words.
    pub(super) async fn failure(&self, reason: String) -> Failure {
        self.readers.last_words().await;
        let lines = self.slot.ring.last_of(self.child.pid(), LAST_LINES);
        let reason = worker_exec::told(&lines).unwrap_or(reason);
        Failure { reason, facts: Vec::new(), lines }
    }

    async fn never_ready(&self, generation: &Generation, last_seen: Option<Unwell>) -> String {
        let waited = generation.config.ready_timeout;
        let nowhere = last_seen.as_ref().is_some_and(Unwell::is_nobody);
        let seen = last_seen.map_or_else(|| "it was never asked".to_owned(), |unwell| unwell.to_string());
        let group = self.child.pid();
        // Reading /proc blocks, if only for a moment.
        let ports =
            tokio::task::spawn_blocking(move || listening::tcp_ports(group)).await.unwrap_or_default();
        // By other users' processes the list may be empty although they listen somewhere.
        let seen = match nowhere && ports.is_empty() {
            true => "it does not listen on process.env.PORT: let it call `server.listen(process.env.PORT)`"
                .to_owned(),
            false => seen,
        };
        let mut reason = format!("not ready after {}: {seen}", humantime::format_duration(waited));
        let own_port = match self.worker.address() {
            Address::Tcp(address) => Some(address.port()),
            Address::Unix(_) => None,
        };
        if let Some(port) = ports.into_iter().find(|port| Some(*port) != own_port) {
            let remedy = match generation.config.listen {
                Listen::Unix => "set listen = \"port\", and let it listen on process.env.PORT",
                Listen::Port => "let it listen on process.env.PORT",
            };
            reason.push_str(&format!("; it listens on TCP port {port}: {remedy}"));
        }
        reason
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.roster.remove(&self.worker);
    }
}

/// Does it listen there itself? The port that it was to take may have been taken by another program.
async fn is_its_own(address: &Address, group: u32, uid: Option<u32>) -> Result<(), Unwell> {
    let Address::Tcp(address) = address else { return Ok(()) };
    let port = address.port();
    // Reading /proc blocks, if only for a moment.
    let foreign = tokio::task::spawn_blocking(move || listening::is_foreign(group, uid, port)).await;
    if foreign.unwrap_or(false) { Err(Unwell::Foreign(port)) } else { Ok(()) }
}

/// The directory of one start.
fn quarters(stage: &Stage, slot: &Slot, key: u64, identity: Option<&Identity>) -> io::Result<Quarters> {
    // A reload may have brought the first worker of another user, who has to pass through.
    let hall = generation::hall(&stage.runtime_dir);
    quarters::make_hall(&stage.runtime_dir, &hall, identity.is_some())?;
    let directory = quarters_path(&stage.runtime_dir, &stage.backend, slot.number, key);
    Quarters::make(directory, identity, &stage.launcher)
}

/// The socket in a worker's quarters, on which its user has to listen.
fn own_socket(quarters: &Quarters, identity: Option<&Identity>) -> Address {
    let uid = identity.map_or_else(nix::unistd::getuid, |identity| identity.uid.into());
    Address::Unix(UnixSocket::of(socket_path(quarters.directory()), uid.as_raw()))
}

/// A port that nobody uses: the system's choice. It may be taken by another before the worker binds it; then
/// the worker ends with EADDRINUSE and the next start gets another.
async fn free_port() -> io::Result<Address> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    listener.local_addr().map(Address::Tcp)
}

fn not_started(error: &io::Error) -> Failure {
    Failure { reason: format!("it could not be started: {error}"), facts: Vec::new(), lines: Vec::new() }
}

/// How a process ended.
pub(super) fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with exit code {code}"),
            (None, Some(signal)) => {
                let name = Signal::try_from(signal).map_or("an unknown signal", Signal::as_str);
                format!("it was ended by {name}")
            }
            (None, None) => "it ended".to_owned(),
        },
        Err(error) => format!("its end could not be observed ({error})"),
    }
}
