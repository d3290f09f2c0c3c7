//! `gateway worker-exec`: how the gateway starts a worker. Not for people.

use std::ffi::OsString;

use super::Failure;

/// Become a worker: bind this process's life to the gateway's, then exec
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct WorkerExec {
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl WorkerExec {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match crate::backend::worker_exec(self.command) {}
    }
}
