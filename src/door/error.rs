//! What can go wrong when a door opens for business. What a stranger is told at the door is the door's own
//! protocol's matter.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::error::{Audience, Fault, Kind};

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    /// The address is not this machine's own.
    #[error("`door.sqlite.listen` is {0}; a door listens on loopback only, such as 127.0.0.1:0")]
    NotLoopback(SocketAddr),
    /// The address is taken or forbidden.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket file cannot be made.
    #[error("cannot listen on `{path}`: {source}")]
    Unix {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Fault for DoorError {
    fn kind(&self) -> Kind {
        Kind::Operator
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => "door-not-loopback",
            Self::Tcp { .. } | Self::Unix { .. } => "door-listen",
        }
    }
}
