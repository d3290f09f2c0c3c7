//! Checks of the workers' output and its files.

use super::Check;
use crate::backend::Config as Backend;

/// A byte of a line takes as many in a file at most, written as JSON.
const ESCAPED_BYTES: usize = 6;

/// What stands around a line in a file: time, worker, process, stream.
const RECORD_BYTES: usize = 256;

/// Longer lines would be held in memory whole, a thousand of them for each worker.
const LINE_BYTES_MAX: usize = 1024 * 1024;

impl Check<'_> {
    pub(super) fn log(&mut self, name: &str, backend: &Backend) {
        if backend.output_line_bytes_max > LINE_BYTES_MAX {
            let message = "lines that long are not kept whole";
            let remedy = "write a number up to 1048576; a longer line is cut in several";
            self.problem(&["backend", name, "output_line_bytes_max"], message, remedy);
        }
        let Some(path) = backend.log.path(name).filter(|_| backend.upstream.is_none()) else { return };
        let key = ["backend", name, "log", "directory"];
        let access_log = ["edge", "access_log", "path"];
        if self.config.edge.access_log.path.as_ref() == Some(&path) {
            let message = format!("{} is the access log already", path.display());
            self.contradiction(&key, &[&access_log], message, "give one of the two another directory");
        }
        // What lies in it is hidden from the sandbox.
        let directory = backend.directory.as_deref().unwrap_or(self.directory);
        if backend.log.directory.as_ref().is_some_and(|logs| directory.starts_with(logs)) {
            let message =
                "the application lies in it, and workers cannot see the directory of their log files";
            let remedy = "name a directory for log files alone, such as \"/var/log/gateway\"";
            self.contradiction(&key, &[&["backend", name, "directory"]], message, remedy);
        }
        let longest =
            backend.output_line_bytes_max.saturating_mul(ESCAPED_BYTES).saturating_add(RECORD_BYTES);
        let file_bytes = backend.log.file_max_mb.saturating_mul(1024 * 1024);
        if u64::try_from(longest).unwrap_or(u64::MAX) > file_bytes {
            let message = "the longest line would not fit a file";
            let lines = ["backend", name, "output_line_bytes_max"];
            let remedy = "make `file_max_mb` larger, or `output_line_bytes_max` smaller";
            self.contradiction(&["backend", name, "log", "file_max_mb"], &[&lines], message, remedy);
        }
    }
}
