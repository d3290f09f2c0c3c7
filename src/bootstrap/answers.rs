//! What the operator says, beside what the machine shows.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use super::ruleset::OpenPort;

/// The answers, which the command line's flags are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Answers {
    /// The application, if there is one yet.
    pub(crate) app: Option<App>,
    /// What serves already, and goes on serving behind the gateway.
    pub(crate) upstream: Option<String>,
    /// The version of Node that the application is started with, if its own files do not say it.
    pub(crate) node: Option<String>,
    /// Where Node comes from, instead of the Node.js project's own site.
    pub(crate) node_mirror: Option<String>,
    /// Hosts of the API.
    pub(crate) domains: Vec<String>,
    /// Where certificates come from: `acme` or `local`.
    pub(crate) tls: String,
    /// Mail addresses for the certificate authority.
    pub(crate) contact: Vec<String>,
    /// Where the edge listens according to the configuration that is there already, or by default.
    pub(crate) listen: Vec<SocketAddr>,
    /// SSH ports besides those that are found.
    pub(crate) ssh_ports: BTreeSet<u16>,
    /// Ports that stay open besides.
    pub(crate) open: BTreeSet<OpenPort>,
    /// Build a firewall?
    pub(crate) firewall: bool,
    /// How long an unconfirmed firewall lives.
    pub(crate) confirm_within: Duration,
    /// Install security updates by themselves?
    pub(crate) updates: bool,
    /// Nobody is there to be asked.
    pub(crate) unattended: bool,
}

/// A Node application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct App {
    /// Where it lies; absolute.
    pub(crate) directory: PathBuf,
    /// How it is started; found out from the directory, if empty.
    pub(crate) command: Vec<String>,
    /// A file with its environment.
    pub(crate) env_file: Option<PathBuf>,
    /// Directories that it writes to.
    pub(crate) data: Vec<PathBuf>,
}

impl Answers {
    /// The edge's ports, each once.
    pub(super) fn edge_ports(&self) -> BTreeSet<u16> {
        edge_ports(&self.listen)
    }
}

/// Ports that strangers reach for an edge that listens there.
pub(crate) fn edge_ports(listen: &[SocketAddr]) -> BTreeSet<u16> {
    // What listens on loopback alone is reached by nobody outside.
    let outside = listen.iter().filter(|address| !address.ip().is_loopback());
    let mut ports: BTreeSet<u16> = outside.map(SocketAddr::port).filter(|port| *port != 0).collect();
    if !ports.is_empty() {
        // Beside what serves already, that stays reached; and where nobody listens, an open port is none.
        ports.extend([80, 443]);
    }
    ports
}
