//! Why the edge cannot start or change: what the operator reads. What a caller reads is a `Refusal`.

use std::{io, net::SocketAddr, path::PathBuf};

use super::config::SiteProblem;
use crate::error::{Audience, Fault, Kind};

/// Binding, certificates and threads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EdgeError {
    /// An address is taken, privileged or not ours.
    #[error("cannot listen on {address}: {source}\nhint: {}", remedy(source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A descriptor that was handed over is no TCP listener.
    #[error(
        "the descriptor `{name}` that was handed over cannot be used: {why}\nhint: gateway.socket may hold `ListenStream=` of TCP ports alone"
    )]
    Unfit {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A socket unit listens where the configuration does not.
    #[error(
        "`{name}` listens on {address}, which is neither in `edge.https` nor in `edge.http`\nhint: list it in one of them, or take it out of the socket unit"
    )]
    Stray {
        /// Where it listens.
        address: SocketAddr,
        /// Its name.
        name: String,
    },
    /// A socket unit listens for IPv6 alone where the configuration means both.
    #[error(
        "the socket handed over for {address} takes IPv6 alone\nhint: set `BindIPv6Only=both` in the socket unit, or add `ListenStream=0.0.0.0:{port}`"
    )]
    HalfInherited {
        /// The address.
        address: SocketAddr,
        /// Its port.
        port: u16,
    },
    /// A socket unit listens for both where the configuration has each for itself.
    #[error(
        "the socket handed over for [::]:{port} takes IPv4 too, and 0.0.0.0:{port} is listed beside it\nhint: take 0.0.0.0:{port} out of the configuration, since `[::]` is both; or set `BindIPv6Only=ipv6-only` and `ListenStream=0.0.0.0:{port}` in the socket unit"
    )]
    BothInherited {
        /// Their port.
        port: u16,
    },
    /// A file of the local CA or of `[[tls.certificate]]` cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file was read, but what it holds is no certificate or no key, or the two do not belong together.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The local CA could not sign.
    #[error("cannot issue a local certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The TLS library refuses our own settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The access log's file cannot be opened.
    #[error("cannot write the access log to {}: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A thread or its runtime could not be started.
    #[error("cannot start an edge thread: {0}")]
    Thread(io::Error),
    /// A key that listeners or threads were made from.
    #[error("`{0}` can only be changed by a restart")]
    NeedsRestart(&'static str),
    /// An `[[edge.open]]` names its tenant in no known way.
    #[error("`edge.open` of `{path}`: `{rule}` is none of `path:N`, `header:NAME`, `host`, `none`")]
    OpenRule {
        /// Its path.
        path: String,
        /// What it says.
        rule: String,
    },
    /// An `[[edge.site]]` that the configuration's check did not see.
    #[error("`edge.site`: {}; {}", .0.message, .0.remedy)]
    Site(SiteProblem),
}

/// What to do when an address cannot be had.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "something else listens there (`ss -ltnp` tells what): stop it, or change `edge.https` or `edge.http`"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE, or a higher port",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: change `edge.https` or `edge.http`"
        }
        _ => "change `edge.https` or `edge.http`",
    }
}

impl Fault for EdgeError {
    fn kind(&self) -> Kind {
        Kind::Operator
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "edge-bind",
            Self::Unfit { .. }
            | Self::Stray { .. }
            | Self::HalfInherited { .. }
            | Self::BothInherited { .. } => "edge-inherited",
            Self::File { .. } => "edge-file",
            Self::Certificate { .. } => "edge-certificate",
            Self::Issue(_) => "edge-issue",
            Self::Tls(_) => "edge-tls",
            Self::AccessLog { .. } => "edge-access-log",
            Self::Thread(_) => "edge-thread",
            Self::NeedsRestart(_) => "edge-needs-restart",
            Self::OpenRule { .. } => "edge-open-rule",
            Self::Site(_) => "edge-site",
        }
    }
}
