//! What can go wrong with a backend. Nothing here is for strangers: the operator reads it.

use std::path::PathBuf;

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
    #[error("worker {worker} is not ready: {reason}{}", super::output::quoted(.lines))]
    NotReady {
        /// Such as `api/0`.
        worker: String,
        /// What was seen.
        reason: String,
        /// The last lines it wrote.
        lines: Vec<String>,
    },
    /// An upstream has nothing that could be restarted.
    #[error("backend {backend} is an upstream that something else runs: restart it there")]
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
            Self::NotReady { .. } => Kind::Backend,
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
            Self::EnvFile { .. } => "backend-env-file",
            Self::Account { .. } => "backend-account",
            Self::SocketDirectory { .. } => "backend-socket-directory",
            Self::SocketPathTooLong { .. } => "backend-socket-path-too-long",
            Self::NotReady { .. } => "backend-not-ready",
            Self::NotSupervised { .. } => "backend-not-supervised",
            Self::KindChanged { .. } => "backend-kind-changed",
            Self::Stopping { .. } => "backend-stopping",
        }
    }
}
