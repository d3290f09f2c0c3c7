//! The configuration: composed of the rooms' own structs, read in one place, checked as a whole.
//!
//! file (raw) → load (figment) → check (all problems at once). It must never be re-read behind a room's back.

mod check;
mod explain;
mod extract;
mod file;
mod handed;
mod layer;
mod load;
mod place;
mod problem;
mod resolve;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    check::{is_mail_address, too_wide, upstream_problem},
    handed::{Past, environment_handing_over, handed_over},
    load::{
        Flags, Loaded, credentials_directory, is_closed, load, load_to_check, load_to_restore,
        load_to_set_up, socket_hint,
    },
    problem::{Problem, Problems},
};
use crate::{admin, backend, door, edge, job, pool, telemetry, tenant};

/// Every key of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Registry, keys, certificates and tenants' SQLite files.
    pub(crate) state_dir: PathBuf,
    /// Sockets; emptied at start.
    pub(crate) runtime_dir: PathBuf,
    /// Longest drain after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub(crate) shutdown_grace: Duration,
    /// Longest drain before a binary swap.
    #[serde(with = "humantime_serde")]
    pub(crate) swap_grace: Duration,
    /// The edge.
    pub(crate) edge: edge::Config,
    /// TLS.
    pub(crate) tls: edge::TlsConfig,
    /// The default CORS policy.
    pub(crate) cors: tenant::CorsPolicy,
    /// Backends by name.
    pub(crate) backend: BTreeMap<String, backend::Config>,
    /// Node's versions.
    pub(crate) node: backend::NodeConfig,
    /// Jobs by name.
    pub(crate) job: BTreeMap<String, job::Config>,
    /// Pools.
    pub(crate) pool: pool::Config,
    /// Doors.
    pub(crate) door: door::Config,
    /// The registry.
    pub(crate) registry: tenant::Config,
    /// The admin API.
    pub(crate) admin: admin::Config,
    /// Our own log.
    pub(crate) log: telemetry::Config,
    /// Declared tenants.
    pub(crate) tenant: Vec<tenant::Declared>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/gateway"),
            runtime_dir: PathBuf::from("/run/gateway"),
            shutdown_grace: Duration::from_secs(30),
            // Others wait for it, in the kernel's queue: shorter than browsers' patience.
            swap_grace: Duration::from_secs(10),
            edge: edge::Config::default(),
            tls: edge::TlsConfig::default(),
            cors: tenant::CorsPolicy::default(),
            backend: BTreeMap::new(),
            node: backend::NodeConfig::default(),
            job: BTreeMap::new(),
            pool: pool::Config::default(),
            door: door::Config::default(),
            registry: tenant::Config::default(),
            admin: admin::Config::default(),
            log: telemetry::Config::default(),
            tenant: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
