//! `gateway worker-guard`: ends what workers have started when their gateway has been killed. Not for people.

use super::Failure;

/// Wait for the gateway's end, then end the process groups that it has left
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct WorkerGuard {
    #[arg(long)]
    alone: bool,
}

impl WorkerGuard {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let guarded = crate::backend::worker_guard(self.alone);
        guarded.map_err(|error| Failure::failed(format!("worker-guard: {error}")))
    }
}
