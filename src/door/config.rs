//! The door room's part of the configuration: where the backend reaches its databases.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// `[door]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The SQLite door.
    pub(crate) sqlite: Sqlite,
}

/// `[door.sqlite]`: Hrana 2 over HTTP. It also listens on `sqlite.sock` in the runtime directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sqlite {
    /// A loopback address; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Open connections.
    pub(crate) connections_max: usize,
    /// Bytes of one pipeline request.
    pub(crate) request_bytes_max: usize,
    /// Requests in one pipeline, and steps in one batch.
    pub(crate) pipeline_max: usize,
    /// Open streams (interactive transactions) of one tenant.
    pub(crate) streams_max: usize,
    /// A stream not used for this long is rolled back and closed.
    #[serde(with = "humantime_serde")]
    pub(crate) stream_idle_timeout: Duration,
    /// A request body that brings no byte for this long is given up.
    #[serde(with = "humantime_serde")]
    pub(crate) body_timeout: Duration,
    /// A connection without a request for this long is closed; longer than drivers keep theirs (undici 4 s).
    #[serde(with = "humantime_serde")]
    pub(crate) connection_idle_timeout: Duration,
}

impl Default for Sqlite {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            connections_max: 4096,
            request_bytes_max: 10 * 1024 * 1024,
            pipeline_max: 1024,
            streams_max: 64,
            stream_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connection_idle_timeout: Duration::from_secs(60),
        }
    }
}
