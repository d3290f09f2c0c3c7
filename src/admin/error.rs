//! Why the admin side cannot start. What goes wrong later is a `Problem` to whoever gave the order.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::error::{Audience, Fault, Kind};

/// Why the admin side cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The socket cannot be made.
    #[error("cannot listen on the admin socket `{path}`: {source}")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `admin.group` is unknown.
    #[error("`admin.group`: there is no group `{0}`; make it with `groupadd --system {0}`")]
    NoGroup(String),
    /// `admin.metrics_listen` cannot be bound.
    #[error("cannot listen on {address} (`admin.metrics_listen`): {source}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Metrics are nobody's business outside.
    #[error("`admin.metrics_listen` is {0}, which strangers can reach; use a loopback address")]
    NotLoopback(SocketAddr),
    /// No thread or runtime.
    #[error("cannot start the admin thread: {0}")]
    Thread(io::Error),
}

impl Fault for AdminError {
    fn kind(&self) -> Kind {
        Kind::Operator
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "admin-socket",
            Self::NoGroup(_) => "admin-group",
            Self::Metrics { .. } => "admin-metrics-listen",
            Self::NotLoopback(_) => "admin-metrics-public",
            Self::Thread(_) => "admin-thread",
        }
    }
}
