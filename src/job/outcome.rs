//! What became of jobs, for status, orders and scripts. No secret is in it: neither environment nor output.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::tenant::TenantId;

/// How a run, or one process of it, ended. Later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// With exit code 0.
    Done,
    /// It was not begun: the tenant is not active.
    Skipped,
    /// The gateway ended it, because it ended itself or the job has gone.
    Ended,
    /// It took longer than `timeout`.
    TimedOut,
    /// Anything else.
    Failed,
}

impl Outcome {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Ended => "ended",
            Self::TimedOut => "timed-out",
            Self::Failed => "failed",
        }
    }

    /// Is nobody to be told?
    pub(crate) fn is_good(self) -> bool {
        self <= Self::Skipped
    }
}

/// What made a run begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// The clock.
    Schedule,
    /// `gateway job run`.
    Order,
}

/// What became of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// For whom; none in a job that is not run for each.
    pub(crate) tenant: Option<TenantId>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Its exit code, if it had one.
    pub(crate) exit: Option<i32>,
    /// One sentence.
    pub(crate) detail: String,
    /// How long it took.
    pub(crate) duration_ms: u64,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunView {
    /// Counts up from 1.
    pub(crate) number: u64,
    /// Who wanted it.
    pub(crate) by: By,
    /// When it began.
    pub(crate) started: Timestamp,
    /// How long it took.
    pub(crate) duration_ms: u64,
    /// The worst of the verdicts.
    pub(crate) outcome: Outcome,
    /// Of the last run all; of those before it, those that were not good.
    pub(crate) verdicts: Vec<Verdict>,
    /// How many are remembered no longer.
    pub(crate) verdicts_left_out: usize,
}

/// A run that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    /// Its number.
    pub(crate) number: u64,
    /// Who wanted it.
    pub(crate) by: By,
    /// When it began.
    pub(crate) started: Timestamp,
    /// Processes that have ended.
    pub(crate) ended: usize,
    /// Processes in all.
    pub(crate) total: usize,
}

/// The program of a job that runs always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramView {
    /// `starting`, `running`, `back-off` or `finished`.
    pub(crate) state: String,
    /// Its process, if it has one.
    pub(crate) pid: Option<u32>,
    /// Since when it is in that state.
    pub(crate) since: Timestamp,
    /// How often it was started again after it had ended.
    pub(crate) restarts: u64,
    /// Why it ended last.
    pub(crate) last_error: Option<String>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobView {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// The backend beside whose workers it runs.
    pub(crate) backend: String,
    /// As configured; none for what runs always.
    pub(crate) schedule: Option<String>,
    /// Whose clocks that means.
    pub(crate) timezone: Option<String>,
    /// Is it run once per tenant?
    pub(crate) each_tenant: bool,
    /// When it is due next.
    pub(crate) next: Option<Timestamp>,
    /// The run under way.
    pub(crate) under_way: Option<UnderWay>,
    /// Runs that were due while another was under way, and so were left out.
    pub(crate) overlaps_skipped: u64,
    /// The last runs, the latest first.
    pub(crate) runs: Vec<RunView>,
    /// The program that runs always.
    pub(crate) program: Option<ProgramView>,
}

impl JobView {
    /// What the operator should know.
    pub(crate) fn warning(&self) -> Option<String> {
        let name = &self.name;
        if let Some(program) = self.program.as_ref().filter(|program| program.state == "back-off") {
            let reason = program.last_error.as_deref().unwrap_or("it ended");
            return Some(format!("job {name}: {reason}; it is started again after a pause"));
        }
        let last = self.runs.first().filter(|run| !run.outcome.is_good())?;
        let bad = last.verdicts.iter().find(|verdict| verdict.outcome == last.outcome)?;
        let of = bad.tenant.as_ref().map(|tenant| format!(" for {tenant}")).unwrap_or_default();
        Some(format!("job {name}: its last run {}{of}: {}", last.outcome.told(), bad.detail))
    }
}

impl Outcome {
    /// As a sentence goes on.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Done => "is done",
            Self::Skipped => "was skipped",
            Self::Ended => "was ended",
            Self::TimedOut => "timed out",
            Self::Failed => "failed",
        }
    }
}
