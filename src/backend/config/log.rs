//! `[backend.NAME.log]`: how much of the workers' output is let through, and which files it is written to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::backend::output::Rules;

const MIB: u64 = 1024 * 1024;

/// `[backend.NAME.log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Lines of one worker's stream in a second; what is more is dropped, and said to be.
    pub(crate) lines_per_second_max: u32,
    /// Their bytes.
    pub(crate) bytes_per_second_max: u64,
    /// Where the file `NAME.log` is; none: there is no file.
    pub(crate) directory: Option<PathBuf>,
    /// Its size; what would make it larger begins a new one.
    pub(crate) file_max_mb: u64,
    /// Files kept besides it.
    pub(crate) files_kept: usize,
    /// An older one is put aside, too.
    #[serde(with = "humantime_serde")]
    pub(crate) rotate_after: Duration,
    /// Files put aside go after this, however few there are.
    #[serde(with = "humantime_serde")]
    pub(crate) kept_for: Duration,
}

impl Default for Log {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            // Far above what an application says on purpose, far below what costs others the processor.
            lines_per_second_max: 1000,
            // A thousand lines of a kilobyte; what a small server's disk still takes beside everything else.
            bytes_per_second_max: MIB,
            directory: None,
            // With the seven others at most 128 MiB a backend.
            file_max_mb: 16,
            files_kept: 7,
            rotate_after: day,
            kept_for: 14 * day,
        }
    }
}

impl Log {
    /// The file of this backend.
    pub(crate) fn path(&self, backend: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(format!("{backend}.log")))
    }

    /// The rules that its files are written by; relative paths start at `config_dir`.
    pub(in crate::backend) fn rules(&self, backend: &str, config_dir: &Path) -> Option<Rules> {
        Some(Rules {
            path: config_dir.join(self.path(backend)?),
            file_bytes_max: self.file_max_mb.saturating_mul(MIB),
            files_kept: self.files_kept,
            rotate_after: self.rotate_after,
            kept_for: self.kept_for,
        })
    }
}
