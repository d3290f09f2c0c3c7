//! The backend room's part of the configuration: what to start and how to tell that it is well.

mod log;
mod node;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub(in crate::backend) use self::node::is_local;
pub(crate) use self::node::{NodeConfig, NodeWish};
use super::{
    account::{Own, Wish},
    env_file::EnvFile,
    rlimits::Rlimits,
    roster::{Sticky, WarmUp},
    visitor::Visitor,
};

pub(crate) use self::log::Log;

/// `[backend.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Program and arguments of a supervised backend, such as `["node", "server.js"]`.
    pub(crate) command: Vec<String>,
    /// Where it is started; relative paths start at the configuration file.
    pub(crate) directory: Option<PathBuf>,
    /// Instead of `command`: a URL of something already running, such as `http://127.0.0.1:3000`.
    pub(crate) upstream: Option<String>,
    /// Hosts it serves; checked and made canonical by the configuration's check.
    pub(crate) hosts: Vec<String>,
    /// How many processes.
    pub(crate) workers: Workers,
    /// What `PORT` holds.
    pub(crate) listen: Listen,
    /// Its environment, besides a clean base (PATH, HOME, LANG, TZ, USER).
    pub(crate) env: BTreeMap<String, String>,
    /// More of its environment, from a file of `NAME=value` lines; `env` wins.
    pub(crate) env_file: Option<PathBuf>,
    /// Which Node its workers run; `[node]` says it for all that say nothing.
    pub(crate) node: NodeWish,
    /// Reload when a file of the directory changes; for development.
    pub(crate) watch: bool,
    /// What makes a deployed release ready to run, such as `npm ci --omit=dev`; a line for the shell.
    pub(crate) install: Option<String>,
    /// How long that may take.
    #[serde(with = "humantime_serde")]
    pub(crate) install_timeout: Duration,
    /// Releases kept for a rollback, the one in force included.
    pub(crate) releases_kept: usize,
    /// Bytes of all files of a release as it is deployed.
    pub(crate) release_bytes_max: u64,
    /// Files and directories of a release as it is deployed.
    pub(crate) release_files_max: u64,
    /// Whose processes its workers are: a name or a number; the gateway's own user, if left out.
    pub(crate) user: Option<String>,
    /// Their group; the user's own, if left out.
    pub(crate) group: Option<String>,
    /// May its workers be root's?
    pub(crate) allow_root: bool,
    /// May they read and write only what the sandbox lists?
    pub(crate) sandbox: bool,
    /// What it lists besides, to read.
    pub(crate) allow_read: Vec<PathBuf>,
    /// What it lists besides, to read and write.
    pub(crate) allow_write: Vec<PathBuf>,
    /// What one worker may use up.
    pub(crate) limits: Rlimits,
    /// What tells that a worker is ready.
    pub(crate) ready: Ready,
    /// What tells a worker to end.
    pub(crate) shutdown: Goodbye,
    /// How far its tickets reach.
    pub(crate) ticket: Ticket,
    /// May it get tickets without a request, from `tickets.sock`?
    pub(crate) background_access: bool,
    /// Readiness and health.
    pub(crate) health: Health,
    /// Time from start to ready before it is stopped and tried again.
    #[serde(with = "humantime_serde")]
    pub(crate) ready_timeout: Duration,
    /// Time from SIGTERM to SIGKILL, and for requests in flight to end before that when a worker is told to stop.
    #[serde(with = "humantime_serde")]
    pub(crate) stop_grace: Duration,
    /// Time for requests in flight to end when another worker has taken over.
    #[serde(with = "humantime_serde")]
    pub(crate) drain_timeout: Duration,
    /// First pause before a crashed worker is started again; doubles, with jitter.
    #[serde(with = "humantime_serde")]
    pub(crate) restart_delay: Duration,
    /// Longest such pause.
    #[serde(with = "humantime_serde")]
    pub(crate) restart_delay_max: Duration,
    /// A worker that was ready for this long begins again with the first pause.
    #[serde(with = "humantime_serde")]
    pub(crate) stable_after: Duration,
    /// A worker whose process group holds more than this is replaced; none is no limit.
    pub(crate) memory_max_mb: Option<u64>,
    /// A worker that was given so many requests is replaced; none is no limit.
    pub(crate) max_requests: Option<u64>,
    /// A worker that has been ready for so long is replaced; none is no limit.
    #[serde(with = "humantime_serde")]
    pub(crate) max_age: Option<Duration>,
    /// What binds requests to one worker; none: each goes to the one with the least to do.
    pub(crate) sticky: Option<Sticky>,
    /// Idle connections to a worker are closed after this: before Node's own 5 s.
    #[serde(with = "humantime_serde")]
    pub(crate) keep_alive: Duration,
    /// Requests that a worker which has just got ready is given at a time; one more with each answer.
    pub(crate) warmup_in_flight: usize,
    /// Answers until it takes what comes; 0 is at once.
    pub(crate) warmup_answers: usize,
    /// Lines of output kept per worker for `gateway logs`.
    pub(crate) output_lines_max: usize,
    /// Longer lines of output are cut into several.
    pub(crate) output_line_bytes_max: usize,
    /// How much output is let through, and its files.
    pub(crate) log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            directory: None,
            upstream: None,
            hosts: Vec::new(),
            workers: Workers::default(),
            listen: Listen::Unix,
            env: BTreeMap::new(),
            env_file: None,
            node: NodeWish::default(),
            watch: false,
            install: None,
            install_timeout: Duration::from_secs(10 * 60),
            releases_kept: 5,
            // Far more than an application with all its dependencies has; less than what fills a disk by mistake.
            release_bytes_max: 2 * 1024 * 1024 * 1024,
            release_files_max: 200_000,
            user: None,
            group: None,
            allow_root: false,
            // A hole in one of a thousand packages must not reach keys and other people's files.
            sandbox: true,
            allow_read: Vec::new(),
            allow_write: Vec::new(),
            limits: Rlimits::default(),
            ready: Ready::Health,
            shutdown: Goodbye::Signal,
            ticket: Ticket::Tenant,
            background_access: false,
            health: Health::default(),
            ready_timeout: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            // Nobody waits for it but a second process: long enough for what people upload and download.
            drain_timeout: Duration::from_secs(5 * 60),
            restart_delay: Duration::from_millis(250),
            restart_delay_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
            memory_max_mb: None,
            max_requests: None,
            max_age: None,
            sticky: None,
            keep_alive: Duration::from_secs(4),
            // Node runs one request's code at a time: so many keep it busy, the database's waits included.
            warmup_in_flight: 16,
            // By then what every request runs has been compiled.
            warmup_answers: 256,
            output_lines_max: 1000,
            // Room for a stack trace printed as one JSON line; with 1000 lines at most 8 MiB a worker.
            output_line_bytes_max: 8 * 1024,
            log: Log::default(),
        }
    }
}

impl Config {
    /// What is wrong with an environment file, without any of its values.
    pub(crate) fn env_file_problem(path: &Path) -> Result<(), String> {
        EnvFile::read(path).map(|_| ())
    }

    /// What is wrong with `user` and `group`, whoever runs the gateway.
    pub(crate) fn account_problem(&self) -> Result<(), String> {
        self.wish().found().map(|_| ())
    }

    /// Why we start no workers, if we are root and refuse to.
    pub(crate) fn refused_to_root(&self) -> Option<String> {
        if nix::unistd::geteuid().is_root() { self.wish().resolve(Own::now()).err() } else { None }
    }

    /// The user that its workers become, if there is one.
    pub(crate) fn worker_uid(&self) -> Option<u32> {
        self.wish().found().ok().flatten().map(|identity| identity.uid)
    }

    /// The home of that user.
    pub(crate) fn worker_home(&self) -> Option<PathBuf> {
        self.wish().found().ok().flatten().map(|identity| identity.home)
    }

    /// The first group of its workers, if that is somebody else's choice than root's own.
    pub(crate) fn worker_group(&self) -> Option<String> {
        let identity = self.wish().found().ok().flatten().filter(|identity| identity.uid != 0)?;
        let group = nix::unistd::Group::from_gid(identity.gid.into()).ok().flatten()?;
        Some(group.name)
    }

    /// Are the workers of that `user` in that group?
    pub(crate) fn puts_workers_into(&self, gid: u32) -> bool {
        let identity = self.wish().found().ok().flatten();
        identity.is_some_and(|identity| identity.gid == gid || identity.groups.contains(&gid))
    }

    /// May its workers read that by its permissions, or allow themselves to?
    pub(crate) fn reaches(&self, path: &Path) -> bool {
        self.wish().found().is_ok_and(|identity| !Visitor::of(identity.as_ref()).is_kept_out_of(path))
    }

    /// Whose processes its workers should be.
    pub(super) fn wish(&self) -> Wish<'_> {
        Wish { user: self.user.as_deref(), group: self.group.as_deref(), allow_root: self.allow_root }
    }

    /// How its workers are warmed up.
    pub(super) fn warm_up(&self) -> WarmUp {
        // A request that belongs to a worker cannot be given to another because this one is cold.
        let answers = if self.sticky.is_some() { 0 } else { self.warmup_answers };
        WarmUp { in_flight: self.warmup_in_flight, answers }
    }
}

/// A number of processes, or one per core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "this is neither a number of processes (0 to 65535) nor \"cores\"")]
pub(crate) enum Workers {
    /// That many.
    Number(u16),
    /// `"cores"`.
    Word(WorkersWord),
}

/// The one word that `workers` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkersWord {
    /// One per core.
    Cores,
}

impl Default for Workers {
    fn default() -> Self {
        Self::Number(1)
    }
}

impl Workers {
    /// The number meant on this machine.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Number(number) => usize::from(number),
            Self::Word(WorkersWord::Cores) => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// How far the backend's tickets reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ticket {
    /// One a tenant, good as long as the gateway lives.
    Tenant,
    /// One a request, dead with it.
    Request,
}

/// What tells that a worker is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ready {
    /// It accepts a connection, and answers the health path.
    Health,
    /// It says `process.send('ready')` first.
    Message,
}

/// What tells a worker to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goodbye {
    /// SIGTERM.
    Signal,
    /// The message `shutdown`, for `process.on('message')`.
    Message,
}

/// What `PORT` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Listen {
    /// The path of a Unix socket: no port to guess, and only the gateway can connect.
    Unix,
    /// A free loopback port, for frameworks that parse `PORT` as a number.
    Port,
}

/// `[backend.NAME.health]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    /// A path that answers 2xx when the worker is ready; none: accepting a connection is enough.
    pub(crate) path: Option<String>,
    /// How often a starting worker is asked.
    #[serde(with = "humantime_serde")]
    pub(crate) interval: Duration,
    /// How long one answer may take.
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    /// So many good answers in a row make a starting worker ready.
    pub(crate) ready_successes: u32,
    /// How often a ready worker or upstream is asked.
    #[serde(with = "humantime_serde")]
    pub(crate) watch_interval: Duration,
    /// So many misses in a row take a worker or upstream out; the worker is replaced.
    pub(crate) unhealthy_after: u32,
    /// A good answer that takes longer is logged: the event loop is being blocked.
    #[serde(with = "humantime_serde")]
    pub(crate) slow_after: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(2),
            ready_successes: 1,
            watch_interval: Duration::from_secs(2),
            // One miss may be a lost packet or a pause of the garbage collector; with the timeout above, an event
            // loop that is blocked for less than some eight seconds costs no worker.
            unhealthy_after: 3,
            // Ten times what a busy worker needs for a trivial answer.
            slow_after: Duration::from_millis(500),
        }
    }
}
