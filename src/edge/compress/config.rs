//! `[edge.compression]`: which answers are made smaller, how, and at what cost.

use serde::{Deserialize, Serialize};

use super::Coding;

/// `[edge.compression]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Compression {
    /// Compress at all?
    pub(crate) enabled: bool,
    /// Codings, best first: the first of those that a caller likes best is used.
    pub(crate) algorithms: Vec<Coding>,
    /// 1 to 6.
    pub(crate) zstd_level: u32,
    /// 1 to 6.
    pub(crate) br_level: u32,
    /// 1 to 9.
    pub(crate) gzip_level: u32,
    /// Shorter answers are left as they are.
    pub(crate) bytes_min: u64,
    /// Media types: `text/html`, `text/*`, `*+json`.
    pub(crate) types: Vec<String>,
    /// Answers being compressed at a time; further ones are left as they are.
    pub(crate) streams_max: usize,
    /// Those of one client address (IPv4 /32, IPv6 /64).
    pub(crate) client_streams_max: usize,
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/javascript",
            "application/xml",
            "application/wasm",
            "application/x-ndjson",
            "application/graphql-response+json",
            "application/vnd.ms-fontobject",
            "font/ttf",
            "font/otf",
            "image/svg+xml",
            "image/x-icon",
            "*+json",
            "*+xml",
        ];
        Self {
            enabled: true,
            algorithms: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            zstd_level: 3,
            br_level: 4,
            gzip_level: 5,
            // Below it fits into one packet anyway.
            bytes_min: 1024,
            types: types.map(str::to_owned).to_vec(),
            // At about 1 MiB each (zstd); 3.4 MiB for a long body in brotli.
            streams_max: 128,
            // Who takes none of what it asked for holds no more than these.
            client_streams_max: 32,
        }
    }
}
