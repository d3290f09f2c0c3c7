//! `gateway job stop`: the end of a run, whoever began it.

use http::Method;

use super::{Client, Failure, escape, out, took};
use crate::admin::RunView;

/// End the run of a job that is under way
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Its processes get SIGTERM, and after the backend's `stop_grace` SIGKILL; tenants whose turn has not come are left out. The \
command ends when none is left. The next run is due as before.

Examples:
  gateway job stop nightly
  gateway job stop nightly --json | jq .outcome")]
pub(crate) struct Stop {
    /// The job
    name: String,
    #[command(flatten)]
    form: out::Form,
}

impl Stop {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let path = format!("/jobs/{}/stop", escape(&self.name));
        let run: RunView = client.order(Method::POST, &path, None::<&()>).await?;
        if self.form.json {
            return out::json(&run);
        }
        let (name, number, time) = (&self.name, run.number, took(run.duration_ms));
        out::line(format!("run {number} of job {name} {} after {time}", run.outcome.told()));
        Ok(())
    }
}
