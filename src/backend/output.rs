//! What the workers write: kept in a bounded ring per worker slot, logged, and sent to whoever follows.
//! It must never make a worker wait.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One line that a worker wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputLine {
    /// Such as `api/0`.
    pub(crate) worker: String,
    /// The process that wrote it.
    pub(crate) pid: u32,
    /// Where it wrote it.
    pub(crate) stream: Stream,
    /// When it was read.
    pub(crate) at: Timestamp,
    /// The line without its end; bytes that are no UTF-8 are replaced.
    pub(crate) text: String,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The last lines as they stand in an error message.
pub(super) fn quoted(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}
