//! The pool room's part of the configuration: how many connections there may be, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[pool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Connections that one database server may see from us, over all tenants. SQLite files count together
    /// as one server: each connection is a few file descriptors and a page cache of this process.
    pub(crate) budget: u32,
    /// Connections of one tenant; 0 is a quarter of the budget, at least 2.
    pub(crate) tenant_max: u32,
    /// Connections reserved for each tenant.
    pub(crate) tenant_min: u32,
    /// How long a request for a connection waits.
    #[serde(with = "humantime_serde")]
    pub(crate) wait_timeout: Duration,
    /// Waiting requests of one tenant.
    pub(crate) waiting_max: u32,
    /// A connection unused for this long is closed.
    #[serde(with = "humantime_serde")]
    pub(crate) idle_timeout: Duration,
    /// Longest single statement.
    #[serde(with = "humantime_serde")]
    pub(crate) statement_timeout: Duration,
    /// Longest transaction, from BEGIN to its end.
    #[serde(with = "humantime_serde")]
    pub(crate) transaction_timeout: Duration,
    /// SQLite only.
    pub(crate) sqlite: Sqlite,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            budget: 64,
            tenant_max: 0,
            tenant_min: 0,
            wait_timeout: Duration::from_secs(5),
            waiting_max: 256,
            idle_timeout: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(10),
            transaction_timeout: Duration::from_secs(30),
            sqlite: Sqlite::default(),
        }
    }
}

/// `[pool.sqlite]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sqlite {
    /// Readers per file, beside the one writer.
    pub(crate) readers_max: u32,
    /// Page cache of one connection, KiB.
    pub(crate) cache_kib: u32,
    /// Rows and values of one answer, bytes.
    pub(crate) response_bytes_max: usize,
    /// Size of one database file, bytes; a tenant that fills it gets "full", its neighbours nothing.
    pub(crate) file_bytes_max: u64,
}

impl Default for Sqlite {
    fn default() -> Self {
        Self {
            readers_max: 4,
            cache_kib: 2048,
            response_bytes_max: 10 * 1024 * 1024,
            file_bytes_max: 10 * 1024 * 1024 * 1024,
        }
    }
}
