//! What a backend tells about itself: for `gateway status`, the admin API and the dashboard. No secrets:
//! neither environment nor command line is part of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackendStatus {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Who runs it.
    pub(crate) kind: BackendKind,
    /// Its workers by slot; while a reload rolls, a slot shows two.
    pub(crate) workers: Vec<WorkerStatus>,
}

/// Who runs a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendKind {
    /// We do.
    Command,
    /// Something else does.
    Upstream,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerStatus {
    /// Such as `api/0`.
    pub(crate) name: String,
    /// Its process, if it has one.
    pub(crate) pid: Option<u32>,
    /// `starting`, `ready`, `unwell`, `draining`, `back-off`, `finished`; an upstream is `starting`, `ready` or
    /// `unreachable`.
    pub(crate) state: String,
    /// Since when it is in that state.
    pub(crate) since: Timestamp,
    /// How often it was started again after it had failed.
    pub(crate) restarts: u64,
    /// Requests it has not finished.
    pub(crate) in_flight: usize,
    /// What its process holds resident, its descendants not counted.
    pub(crate) memory_mb: Option<u64>,
    /// How long the last good answer of its health path took.
    pub(crate) health_ms: Option<u64>,
    /// Why it failed last.
    pub(crate) last_error: Option<String>,
    /// The last lines it wrote before that.
    pub(crate) last_lines: Vec<String>,
}
