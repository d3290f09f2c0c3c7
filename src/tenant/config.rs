//! The tenant room's part of the configuration: where the registry is, and tenants declared in the file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CorsPolicy, DatabaseText, HostName, OriginPattern, TenantId, TenantLimits};

/// `[registry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The SQLite file; default `registry.db` in the state directory.
    pub(crate) path: Option<PathBuf>,
    /// The 0600 file with the sealing key; default `seal.key` in the state directory, made on first use.
    pub(crate) seal_key_file: Option<PathBuf>,
    /// Refused origins remembered for `gateway tenant refused`; the rarest and longest unseen go first.
    pub(crate) refused_origins_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        // A screenful many times over; strangers fill the table, and at some 700 bytes each it stays below 1 MB.
        Self { path: None, seal_key_file: None, refused_origins_max: 1000 }
    }
}

/// A `[[tenant]]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declared {
    /// Its id.
    pub(crate) id: TenantId,
    /// The origins of its front ends.
    #[serde(default)]
    pub(crate) origins: Vec<OriginPattern>,
    /// Hosts of its own.
    #[serde(default)]
    pub(crate) hosts: Vec<HostName>,
    /// Its database URL, as text: checked by the registry, so that a problem never prints it.
    #[serde(default, skip_serializing)]
    pub(crate) database: Option<DatabaseText>,
    /// A 0600 file that holds the URL instead.
    #[serde(default)]
    pub(crate) database_file: Option<PathBuf>,
    /// The backend that serves it.
    #[serde(default)]
    pub(crate) backend: Option<String>,
    /// Its own CORS policy.
    #[serde(default)]
    pub(crate) cors: Option<CorsPolicy>,
    /// Its own limits.
    #[serde(default)]
    pub(crate) limits: TenantLimits,
}
