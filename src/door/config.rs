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

impl Sqlite {
    /// Values that cannot work, as (key, problem).
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !self.listen.ip().is_loopback() {
            let problem = format!("{} is no loopback address; use `127.0.0.1:0`", self.listen);
            problems.push(("door.sqlite.listen", problem));
        }
        for (key, value) in [
            ("door.sqlite.connections_max", self.connections_max),
            ("door.sqlite.request_bytes_max", self.request_bytes_max),
            ("door.sqlite.pipeline_max", self.pipeline_max),
            ("door.sqlite.streams_max", self.streams_max),
        ] {
            if value == 0 {
                problems.push((key, "at least 1".to_owned()));
            }
        }
        for (key, value) in [
            ("door.sqlite.stream_idle_timeout", self.stream_idle_timeout),
            ("door.sqlite.body_timeout", self.body_timeout),
            ("door.sqlite.connection_idle_timeout", self.connection_idle_timeout),
        ] {
            if value.is_zero() {
                problems.push((key, "more than zero, such as `10s`".to_owned()));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_an_open_address_is_one() {
        assert_eq!(Sqlite::default().problems(), []);
        let listen = SocketAddr::from(([0, 0, 0, 0], 8080));
        let bad = Sqlite { listen, streams_max: 0, body_timeout: Duration::ZERO, ..Sqlite::default() };
        let keys: Vec<_> = bad.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["door.sqlite.listen", "door.sqlite.streams_max", "door.sqlite.body_timeout"]);
    }
}
