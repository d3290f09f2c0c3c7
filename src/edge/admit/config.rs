//! `[edge.admit]`: how much at a time, and how fast. Every number has its reason beside it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[edge.admit]`: what one tenant, and one client of it, may use unless the tenant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admit {
    /// Requests of one tenant in flight.
    pub(crate) tenant_in_flight_max: u32,
    /// Requests of one tenant per second; bursts of twice as many pass.
    pub(crate) tenant_requests_per_second: u32,
    /// Requests of one client address (v4 /32, v6 /64) of one tenant in flight.
    pub(crate) client_in_flight_max: u32,
    /// Requests of one client address of one tenant per second; bursts of twice as many pass.
    pub(crate) client_requests_per_second: u32,
    /// Answers with sites' files on their way, in all.
    pub(crate) files_in_flight_max: u32,
    /// Answers with sites' files on their way to one client address.
    pub(crate) client_files_in_flight_max: u32,
    /// Client addresses remembered in all; the longest unseen is forgotten first.
    pub(crate) clients_max: usize,
    /// Requests that wait for a worker, per tenant, while none is ready.
    pub(crate) waiting_max: u32,
    /// How long they wait.
    #[serde(with = "humantime_serde")]
    pub(crate) waiting_timeout: Duration,
}

impl Default for Admit {
    fn default() -> Self {
        Self {
            tenant_in_flight_max: 512,
            tenant_requests_per_second: 500,
            // A page of a browser opens at most six HTTP/1.1 connections; offices share one address.
            client_in_flight_max: 128,
            client_requests_per_second: 100,
            // Each holds an open file and a piece of 64 KiB: 2048 are 128 MiB at the very worst.
            files_in_flight_max: 2048,
            // What two browsers ask for at once over HTTP/2; one address can take an eighth of what there is.
            client_files_in_flight_max: 256,
            clients_max: 100_000,
            // As many as may be in flight: who was let in is not turned away for a worker that warms up.
            waiting_max: 512,
            waiting_timeout: Duration::from_secs(10),
        }
    }
}
