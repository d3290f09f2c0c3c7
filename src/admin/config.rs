//! The admin room's part of the configuration.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The admin socket's name in the runtime directory.
const SOCKET_NAME: &str = "admin.sock";

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The Unix socket; default `admin.sock` in the runtime directory.
    pub(crate) socket: Option<PathBuf>,
    /// The group whose members may give orders, besides root and the gateway's own user.
    pub(crate) group: Option<String>,
    /// A loopback address for `/healthz` and `/metrics` alone, for scrapers that cannot use a Unix socket.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Open connections, on the socket and for metrics each; further ones wait in the kernel's queue.
    pub(crate) connections_max: usize,
}

impl Config {
    /// The path of the Unix socket.
    pub(crate) fn socket_in(&self, runtime_dir: &Path) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| runtime_dir.join(SOCKET_NAME))
    }
}

impl Default for Config {
    fn default() -> Self {
        // A migration of all tenants uses up to 64 at a time, and somebody must still be able to ask for the
        // status meanwhile.
        Self { socket: None, group: None, metrics_listen: None, connections_max: 128 }
    }
}
