//! `gateway job run`: a run of a job now, as it goes on. It goes on to its end when this command is ended.

use axum::body::Body;
use http::Method;

use super::{Client, Failure, escape, out, took, verdict_line};
use crate::{
    admin::{JobEvent, JobOrder, OutputLine, RunView},
    cli::logs::each_line,
    tenant::TenantId,
};

/// The outcome names every tenant: room for a hundred thousand.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Run a job now, and show what it writes and how it ends
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A run that is under way already is not joined. Ctrl-C ends this command, and not the run. Exit code 1 if the \
run, or the run for one tenant, did not end with exit code 0.

Examples:
  gateway job run nightly
  gateway job run nightly --tenant navaja
  gateway job run nightly --json | jq '.verdicts[] | select(.outcome != \"done\")'")]
pub(crate) struct Run {
    /// The job
    name: String,
    /// For this tenant alone
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    form: out::Form,
}

impl Run {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let order = JobOrder { tenant: self.tenant.clone() };
        let unwritable = |error| Failure::failed(format!("the order cannot be written: {error}"));
        let body = Body::from(serde_json::to_vec(&order).map_err(unwritable)?);
        let path = format!("/jobs/{}/run", escape(&self.name));
        let answer = client.send(Method::POST, &path, body).await?;
        let mut over = None;
        each_line(answer, EVENT_BYTES_MAX, |line| {
            if let Ok(event) = serde_json::from_slice(line) {
                self.hear(event, &mut over);
            }
        })
        .await?;
        let run = over.ok_or_else(|| {
            Failure::failed("the gateway broke off before the run was over")
                .hint("`gateway job list` shows what becomes of it")
        })?;
        if self.form.json {
            out::json(&run)?;
        } else {
            let bad = run.verdicts.iter().filter(|verdict| !verdict.outcome.is_good()).count();
            let (number, total) = (run.number, run.verdicts.len());
            let (name, word, time) = (&self.name, run.outcome.told(), took(run.duration_ms));
            out::line(format!("run {number} of job {name} {word} after {time}: {bad} of {total} went wrong"));
        }
        if run.outcome.is_good() { Ok(()) } else { Err(Failure::told()) }
    }

    /// Scripts get one JSON document at the end, and progress beside it.
    fn hear(&self, event: JobEvent, over: &mut Option<RunView>) {
        let show = |text: String| if self.form.json { out::remark(text) } else { out::line(text) };
        match event {
            JobEvent::Begun(run) => out::remark(format!("run {} of job {} begins", run.number, self.name)),
            JobEvent::Line(line) => show(self.prefixed(&line)),
            JobEvent::Verdict(verdict) => show(verdict_line(&self.name, &verdict)),
            JobEvent::Missed(count) => {
                out::remark(format!(
                    "[{count} lines missed: too slow; `gateway logs --worker job/{}`]",
                    self.name
                ));
            }
            JobEvent::Over(run) => *over = Some(run),
        }
    }

    /// `navaja | text` where it is run for each tenant.
    fn prefixed(&self, line: &OutputLine) -> String {
        match line.worker.rsplit_once('/') {
            Some((job, tenant)) if job.contains('/') => format!("{tenant} | {}", line.text),
            _ => line.text.clone(),
        }
    }
}
