//! What one worker may use up, kept by the kernel. Memory is not among it: Node reserves far more address space
//! than it uses, so `memory_max_mb` looks at what is resident instead.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// `[backend.NAME.limits]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rlimits {
    /// Open files and connections; the gateway's own limit, if left out.
    pub(crate) open_files: Option<u64>,
    /// Processes and threads of the workers' user in all, not of one worker.
    pub(crate) processes: Option<u64>,
    /// Bytes of a core dump. None by default: it would hold every secret of the process.
    pub(crate) core_bytes: u64,
    /// Bytes of any file it writes.
    pub(crate) file_bytes: Option<u64>,
}

impl Rlimits {
    /// Set them for this process and what it becomes, hard: no program raises them again.
    pub(super) fn set(&self) -> Result<(), String> {
        let all = [
            ("open_files", Resource::RLIMIT_NOFILE, self.open_files),
            ("processes", Resource::RLIMIT_NPROC, self.processes),
            ("core_bytes", Resource::RLIMIT_CORE, Some(self.core_bytes)),
            ("file_bytes", Resource::RLIMIT_FSIZE, self.file_bytes),
        ];
        for (key, resource, value) in all {
            let Some(value) = value else { continue };
            if let Err(error) = setrlimit(resource, value, value) {
                let hard = getrlimit(resource).map_or(0, |(_, hard)| hard);
                return Err(format!("limits.{key} cannot be {value}: {error}; the gateway's own is {hard}"));
            }
        }
        Ok(())
    }
}
