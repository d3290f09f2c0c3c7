//! Why a gateway cannot start, each with its remedy.

use std::{io, path::PathBuf};

use crate::{
    admin::AdminError,
    backend::BackendError,
    door::DoorError,
    edge::EdgeError,
    error::{Audience, Fault, Kind},
    state_lock::StateLockProblem,
    tenant::TenantError,
};

/// What stops a start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// A directory of ours cannot be made or used.
    #[error("cannot use `{}`: {source}\nhint: the gateway's user must own it; change `state_dir` or `runtime_dir`, or run `chown`", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another gateway has the state directory.
    #[error("{0}\nhint: `gateway reload` changes a running gateway; stop it to start another")]
    Taken(#[from] StateLockProblem),
    /// The registry.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// A worker cannot even be started.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A door cannot open.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The edge cannot listen or has no certificate.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// The admin socket cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Sockets that systemd or a former self left.
    #[error(
        "the sockets that were handed over cannot be used: {0}\nhint: gateway.socket may hold `ListenStream=` of TCP ports alone"
    )]
    HandedOver(io::Error),
    /// The machine refuses threads, signals or sockets.
    #[error("the system refuses what every gateway needs: {0}")]
    System(#[from] io::Error),
}

impl Fault for GatewayError {
    fn kind(&self) -> Kind {
        match self {
            Self::Directory { .. } | Self::Taken(_) | Self::HandedOver(_) | Self::System(_) => Kind::Operator,
            Self::Tenant(error) => error.kind(),
            Self::Backend(error) => error.kind(),
            Self::Door(error) => error.kind(),
            Self::Edge(error) => error.kind(),
            Self::Admin(error) => error.kind(),
        }
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory-unusable",
            Self::Taken(_) => "state-directory-taken",
            Self::Tenant(error) => error.code(),
            Self::Backend(error) => error.code(),
            Self::Door(error) => error.code(),
            Self::Edge(error) => error.code(),
            Self::Admin(error) => error.code(),
            Self::HandedOver(_) => "handed-over",
            Self::System(_) => "system",
        }
    }
}
