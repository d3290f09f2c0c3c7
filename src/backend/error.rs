//! What can go wrong with a backend. Nothing here is for strangers: the operator reads it.

use std::path::PathBuf;

use super::status::DeployStatus;

use crate::error::{Audience, Fault, Kind};

/// Why a backend could not be started, reloaded or restarted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    /// Neither a command nor an upstream, or both.
    #[error("backend {backend} needs either `command` or `upstream`")]
    NothingToRun {
        /// The backend.
        backend: String,
    },
    /// The upstream is not `http://host:port`.
    #[error("upstream {upstream:?} of backend {backend}: {reason}; write it like \"http://127.0.0.1:3000\"")]
    Upstream {
        /// The backend.
        backend: String,
        /// As configured.
        upstream: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The directory to start in is not there.
    #[error("directory {} of backend {backend}: {source}", directory.display())]
    Directory {
        /// The backend.
        backend: String,
        /// As configured, absolute.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The link to the release can not be moved; the workers go on as they were.
    #[error(
        "the link {} of backend {backend} cannot be moved: {source}\nhint: let the gateway's user write in the directory \
         where it lies",
        link.display()
    )]
    Immovable {
        /// The backend.
        backend: String,
        /// Where the configured directory leads from.
        link: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It waited, and somebody gave another order.
    #[error(
        "another order to backend {backend} came while this one waited for workers that still finish their requests: \
         nothing has been replaced\nhint: give it again"
    )]
    GaveWay {
        /// The backend.
        backend: String,
    },
    /// A stop or a rollback came while it was carried out.
    #[error(
        "a stop or a rollback of backend {backend} came while this order was carried out: it was broken off\n\
         hint: give it again if it is still wanted"
    )]
    BrokenOff {
        /// The backend.
        backend: String,
    },
    /// The environment file can not be read.
    #[error("env_file of backend {backend}: {reason}")]
    EnvFile {
        /// The backend.
        backend: String,
        /// The file and what is wrong, without any value.
        reason: String,
    },
    /// Its workers can not be whom they should be.
    #[error("backend {backend}: {reason}")]
    Account {
        /// The backend.
        backend: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// The Node that they should run is not there.
    #[error("backend {backend}: {reason}")]
    Node {
        /// The backend.
        backend: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// The file of the workers' output can not be written.
    #[error("log file {} of backend {backend}: {source}", path.display())]
    LogFile {
        /// The backend.
        backend: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory of the workers' sockets can not be made.
    #[error("socket directory {}: {source}", directory.display())]
    SocketDirectory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system would silently cut the path.
    #[error(
        "socket path {} is {bytes} bytes long and the system takes {max}: choose a shorter runtime_dir",
        path.display(),
        max = super::SOCKET_PATH_BYTES_MAX
    )]
    SocketPathTooLong {
        /// The longest path a worker could get.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// A worker of the new generation never got ready; the old ones serve on.
    #[error("worker {worker} is not ready: {reason}{}{}", listed(.facts), super::output::quoted(.lines))]
    NotReady {
        /// Such as `api/0`.
        worker: String,
        /// What was seen.
        reason: String,
        /// What else there is to know, each a line.
        facts: Vec<String>,
        /// The last lines it wrote.
        lines: Vec<String>,
    },
    /// An upstream has nothing that could be restarted.
    #[error("backend {backend} is an upstream that something else runs: give such orders there")]
    NotSupervised {
        /// The backend.
        backend: String,
    },
    /// A reload can not turn a command into an upstream or back.
    #[error(
        "backend {backend} changes between `command` and `upstream`: that needs a restart of the gateway"
    )]
    KindChanged {
        /// The backend.
        backend: String,
    },
    /// Not a number of workers.
    #[error(
        "backend {backend} cannot have {workers} workers\nhint: from 1 to 1024; `gateway backend stop` takes all away"
    )]
    Workers {
        /// The backend.
        backend: String,
        /// What was asked for.
        workers: usize,
    },
    /// Nothing runs that could get a signal.
    #[error("no process of {worker} is running\nhint: `gateway backend list` shows the workers")]
    NoProcess {
        /// The worker or the backend.
        worker: String,
    },
    /// Nothing to roll back to.
    #[error("{}", no_generation(.backend, *.number, .known))]
    NoGeneration {
        /// The backend.
        backend: String,
        /// What was asked for.
        number: Option<u64>,
        /// What there is besides the present one.
        known: Vec<u64>,
    },
    /// What it was made of is no longer there.
    #[error(
        "generation {number} of backend {backend} cannot come back: {what} is no longer there\nhint: {}",
        kept(.known)
    )]
    GenerationGone {
        /// The backend.
        backend: String,
        /// What was asked for.
        number: u64,
        /// What has gone.
        what: String,
        /// What there is besides the present one.
        known: Vec<u64>,
    },
    /// Somebody else deploys.
    #[error(
        "a deploy to backend {backend} is under way: by {}, since {}, in step {}\nhint: wait for its end",
        held.by, held.since, held.step
    )]
    DeployHeld {
        /// The backend.
        backend: String,
        /// Who holds it.
        held: Box<DeployStatus>,
    },
    /// There is nothing that could be moved on to a release.
    #[error(
        "directory {} of backend {backend} is no symbolic link, and a deploy moves that\nhint: put what is there \
         into `releases/first` beside it, and make it a link to that: docs/backends.md shows how",
        directory.display()
    )]
    DirectoryIsNoLink {
        /// The backend.
        backend: String,
        /// As configured, absolute.
        directory: PathBuf,
    },
    /// What was sent is no release.
    #[error("the package is refused: {reason}")]
    Package {
        /// What is wrong with it.
        reason: String,
    },
    /// The release's directory can not be worked on.
    #[error("release {}: {source}", directory.display())]
    Release {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The install command failed; the old release serves on.
    #[error("the install command of backend {backend} failed: {reason}{}", super::output::quoted(.lines))]
    Install {
        /// The backend.
        backend: String,
        /// How it ended.
        reason: String,
        /// The last lines it wrote.
        lines: Vec<String>,
    },
    /// What the operator wanted to run for it does not start.
    #[error("the command for backend {backend} cannot be started: {reason}")]
    ByHand {
        /// The backend.
        backend: String,
        /// What the system said.
        reason: String,
    },
    /// A program beside the workers could not be started.
    #[error("{name}: {reason}")]
    Errand {
        /// Such as `job/nightly`.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// The backend is being stopped.
    #[error("backend {backend} is stopping")]
    Stopping {
        /// The backend.
        backend: String,
    },
}

impl Fault for BackendError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotReady { .. } | Self::Install { .. } => Kind::Backend,
            Self::Workers { .. } | Self::Package { .. } => Kind::Client,
            _ => Kind::Operator,
        }
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NothingToRun { .. } => "backend-nothing-to-run",
            Self::Upstream { .. } => "backend-upstream-invalid",
            Self::Directory { .. } => "backend-directory",
            Self::Immovable { .. } => "backend-link-immovable",
            Self::GaveWay { .. } => "backend-gave-way",
            Self::BrokenOff { .. } => "backend-broken-off",
            Self::EnvFile { .. } => "backend-env-file",
            Self::Account { .. } => "backend-account",
            Self::Node { .. } => "backend-node",
            Self::LogFile { .. } => "backend-log-file",
            Self::SocketDirectory { .. } => "backend-socket-directory",
            Self::SocketPathTooLong { .. } => "backend-socket-path-too-long",
            Self::NotReady { .. } => "backend-not-ready",
            Self::NotSupervised { .. } => "backend-not-supervised",
            Self::KindChanged { .. } => "backend-kind-changed",
            Self::Workers { .. } => "backend-workers",
            Self::NoProcess { .. } => "backend-no-process",
            Self::NoGeneration { .. } => "backend-no-generation",
            Self::GenerationGone { .. } => "backend-generation-gone",
            Self::DeployHeld { .. } => "backend-deploy-held",
            Self::DirectoryIsNoLink { .. } => "backend-directory-no-link",
            Self::Package { .. } => "backend-package",
            Self::Release { .. } => "backend-release",
            Self::Install { .. } => "backend-install",
            Self::ByHand { .. } => "backend-by-hand",
            Self::Errand { .. } => "backend-errand",
            Self::Stopping { .. } => "backend-stopping",
        }
    }
}

fn no_generation(backend: &str, number: Option<u64>, known: &[u64]) -> String {
    let wanted =
        number.map_or_else(|| "no earlier generation".to_owned(), |number| format!("no generation {number}"));
    format!("backend {backend} has {wanted} to go back to\nhint: {}", kept(known))
}

fn kept(known: &[u64]) -> String {
    let known: Vec<_> = known.iter().map(u64::to_string).collect();
    match known.is_empty() {
        true => "there is only the one that runs".to_owned(),
        false => format!("kept are: {}", known.join(", ")),
    }
}

fn listed(facts: &[String]) -> String {
    facts.iter().map(|fact| format!("\n  {fact}")).collect()
}
