//! `gateway job`: what runs beside the web, by the clock or always.

mod run;
mod stop;

use jiff::{Timestamp, tz::TimeZone};

use super::{Client, Failure, logs::escape, out};
use crate::admin::{JobView, Outcome, RunView, Verdict};

/// Show jobs and what became of them, run one now, and end its run
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Job {
    List(List),
    Show(Show),
    Run(run::Run),
    Stop(stop::Stop),
}

/// Show every job: when it is due, and how its last run ended
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway job list
  gateway job list --json | jq '.[] | select(.runs[0].outcome == \"failed\") | .name'")]
pub(crate) struct List {
    #[command(flatten)]
    form: out::Form,
}

/// Show the last runs of one job, and what became of each tenant
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway job show nightly
  gateway job show nightly --json")]
pub(crate) struct Show {
    /// The job
    name: String,
    #[command(flatten)]
    form: out::Form,
}

impl Job {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(client).await,
            Self::Show(show) => show.run(client).await,
            Self::Run(run) => run.run(client).await,
            Self::Stop(stop) => stop.run(client).await,
        }
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let jobs: Vec<JobView> = client.show("/jobs").await?;
        if self.form.json {
            return out::json(&jobs);
        }
        if jobs.is_empty() {
            out::remark("there is no job: add a `[job.NAME]` to the configuration and reload");
            return Ok(());
        }
        let now = Timestamp::now();
        out::line(out::table(&HEAD, jobs.iter().map(|job| row(job, now))));
        Ok(())
    }
}

impl Show {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let job: JobView = client.show(&format!("/jobs/{}", escape(&self.name))).await?;
        if self.form.json {
            return out::json(&job);
        }
        out::line(summary(&job, Timestamp::now()));
        if !job.runs.is_empty() {
            let head = ["run", "by", "started", "took", "outcome", "good", "bad"];
            out::line(format!("\n{}", out::table(&head, job.runs.iter().map(run_row))));
        }
        let told = job.runs.iter().flat_map(|run| run.verdicts.iter().map(move |verdict| (run, verdict)));
        let told: Vec<_> = told.map(|(run, verdict)| verdict_row(run, verdict)).collect();
        if !told.is_empty() {
            let head = ["run", "tenant", "outcome", "took", "detail"];
            out::line(format!("\n{}", out::table(&head, told)));
        }
        Ok(())
    }
}

/// The columns of a job: what fits on a terminal. The rest is `job show`'s.
pub(super) const HEAD: [&str; 6] = ["job", "when", "next", "state", "last run", "outcome"];

/// The row of a job.
pub(super) fn row(job: &JobView, now: Timestamp) -> [String; 6] {
    let state = match (&job.under_way, &job.program) {
        (Some(run), _) => format!("run {} ({}/{})", run.number, run.ended, run.total),
        (None, Some(program)) => program.state.clone(),
        (None, None) => "waiting".to_owned(),
    };
    let last = job.runs.first();
    let outcome = match (last, &job.program) {
        (Some(run), _) => outcome_of(run),
        (None, program) => program.as_ref().and_then(|one| one.last_error.clone()).unwrap_or_default(),
    };
    [
        job.name.clone(),
        job.schedule.clone().unwrap_or_else(|| "always".to_owned()),
        job.next.map(|next| away(next, now)).unwrap_or_default(),
        state,
        last.map(|run| away(run.started, now)).unwrap_or_default(),
        outcome,
    ]
}

/// What there is to know of a job besides its runs.
fn summary(job: &JobView, now: Timestamp) -> String {
    let each = if job.each_tenant { ", once per active tenant" } else { "" };
    let mut lines = vec![format!("job {} of backend {}{each}", job.name, job.backend)];
    match (&job.schedule, &job.timezone) {
        (Some(schedule), Some(zone)) => lines.push(format!("when: {schedule}, by the clock of {zone}")),
        _ => lines.push("when: always".to_owned()),
    }
    if let Some(next) = job.next {
        lines.push(format!("next: {}", moment(next, now, job.timezone.as_deref())));
    }
    if let Some(run) = &job.under_way {
        lines.push(format!("run {} is under way: {} of {} have ended", run.number, run.ended, run.total));
    }
    if let Some(program) = &job.program {
        let pid = program.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        lines.push(format!("state: {}{pid}, {} restarts", program.state, program.restarts));
        lines.extend(program.last_error.iter().map(|error| format!("last error: {error}")));
    }
    if job.overlaps_skipped > 0 {
        let times = out::times(job.overlaps_skipped);
        lines.push(format!("left out {times}, because a run was under way when the next was due"));
    }
    lines.join("\n")
}

/// `failed: 1 of 12` where there are several, the one verdict's sentence where there is one.
fn outcome_of(run: &RunView) -> String {
    let word = run.outcome.word();
    let bad: Vec<_> = run.verdicts.iter().filter(|verdict| !verdict.outcome.is_good()).collect();
    match (&bad[..], &run.verdicts[..]) {
        ([], _) => word.to_owned(),
        ([one], [_]) => format!("{word}: {}", one.detail),
        _ => format!("{word}: {} of {}", bad.len(), run.verdicts.len()),
    }
}

fn run_row(run: &RunView) -> [String; 7] {
    let bad = run.verdicts.iter().filter(|verdict| !verdict.outcome.is_good()).count();
    let by = match run.by {
        crate::admin::By::Schedule => "schedule",
        crate::admin::By::Order => "order",
    };
    [
        run.number.to_string(),
        by.to_owned(),
        format!("{:.0}", run.started),
        took(run.duration_ms),
        run.outcome.word().to_owned(),
        (run.verdicts.len() - bad + run.verdicts_left_out).to_string(),
        bad.to_string(),
    ]
}

fn verdict_row(run: &RunView, verdict: &Verdict) -> [String; 5] {
    [
        run.number.to_string(),
        verdict.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        verdict.outcome.word().to_owned(),
        took(verdict.duration_ms),
        verdict.detail.clone(),
    ]
}

/// `✓ navaja: done, 1.2 s`.
fn verdict_line(job: &str, verdict: &Verdict) -> String {
    let sign = match verdict.outcome {
        Outcome::Done => '✓',
        Outcome::Skipped => '-',
        _ => '✗',
    };
    let who = verdict.tenant.as_ref().map_or_else(|| job.to_owned(), ToString::to_string);
    format!("{sign} {who}: {}, {}", verdict.detail, took(verdict.duration_ms))
}

fn took(duration_ms: u64) -> String {
    if duration_ms < 10_000 {
        return format!("{}.{} s", duration_ms / 1000, duration_ms % 1000 / 100);
    }
    out::duration(duration_ms / 1000)
}

/// `in 5 h 0 min`, `3 s ago`.
fn away(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let away = out::duration(seconds.unsigned_abs());
    if seconds < 0 { format!("{away} ago") } else { format!("in {away}") }
}

/// `2026-11-24 17:30 (in 5 h 0 min)`, by the clock that the job goes by; UTC where this machine does not know its zone.
fn moment(at: Timestamp, now: Timestamp, zone: Option<&str>) -> String {
    let there = zone.and_then(|zone| at.in_tz(zone).ok()).unwrap_or_else(|| at.to_zoned(TimeZone::UTC));
    format!("{} ({})", there.strftime("%F %H:%M"), away(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(more: serde_json::Value) -> JobView {
        let mut job = serde_json::json!({
            "name": "nightly", "backend": "api", "schedule": "30 3 * * *", "timezone": "UTC", "each_tenant": true,
            "next": "2026-01-02T03:30:00Z", "under_way": null, "overlaps_skipped": 0, "runs": [], "program": null,
        });
        for (key, value) in more.as_object().unwrap() {
            job[key] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_row_says_when_a_job_is_due_and_what_became_of_it() {
        let now = "2026-01-01T03:30:00Z".parse().unwrap();
        let verdict = |tenant: Option<&str>, outcome: &str| {
            serde_json::json!({"tenant": tenant, "outcome": outcome, "exit": null, "detail": "as it was",
                "duration_ms": 1250})
        };
        let run = |outcome: &str, verdicts: Vec<serde_json::Value>| {
            serde_json::json!([{"number": 3, "by": "schedule", "started": "2026-01-01T03:29:00Z",
                "duration_ms": 9, "outcome": outcome, "verdicts": verdicts, "verdicts_left_out": 0}])
        };
        let fresh = row(&job(serde_json::json!({})), now);
        assert_eq!(fresh, ["nightly", "30 3 * * *", "in 1 d 0 h", "waiting", "", ""]);
        let madrid = summary(&job(serde_json::json!({"timezone": "Europe/Madrid"})), now);
        let want = "job nightly of backend api, once per active tenant\nwhen: 30 3 * * *, by the clock of Europe/Madrid\n\
            next: 2026-01-02 04:30 (in 1 d 0 h)";
        assert_eq!(madrid, want);
        let verdicts = vec![verdict(Some("a"), "done"), verdict(Some("b"), "failed")];
        let failed = job(serde_json::json!({"runs": run("failed", verdicts)}));
        assert_eq!(row(&failed, now)[4..], ["1 min 0 s ago", "failed: 1 of 2"]);
        let alone = job(serde_json::json!({"runs": run("timed-out", vec![verdict(None, "timed-out")])}));
        assert_eq!(row(&alone, now)[5], "timed-out: as it was");
        let begun = serde_json::json!({"number": 4, "by": "order", "started": now, "ended": 1, "total": 2});
        let running = job(serde_json::json!({"under_way": begun, "overlaps_skipped": 2}));
        assert_eq!(row(&running, now)[3], "run 4 (1/2)");
        let told = summary(&running, now);
        assert!(told.contains("\nrun 4 is under way: 1 of 2 have ended\nleft out 2 times"), "{told}");
        let program = serde_json::json!({"state": "back-off", "pid": 7, "since": now, "restarts": 2,
            "last_error": "it ended with exit code 1"});
        let always =
            job(serde_json::json!({"schedule": null, "timezone": null, "each_tenant": false, "next": null,
            "program": program}));
        assert_eq!(row(&always, now)[1..], ["always", "", "back-off", "", "it ended with exit code 1"]);
        let want = "job nightly of backend api\nwhen: always\nstate: back-off, pid 7, 2 restarts\n\
            last error: it ended with exit code 1";
        assert_eq!(summary(&always, now), want);
        assert_eq!(verdict_line("nightly", &failed.runs[0].verdicts[1]), "✗ b: as it was, 1.2 s");
    }

    #[test]
    fn a_table_of_jobs_fits_on_a_terminal() {
        let now = "2026-01-01T03:30:00Z".parse().unwrap();
        let wide = job(serde_json::json!({"name": "reminders-sms", "schedule": "*/15 8-18 * * mon-sat",
            "timezone": "America/Argentina/Buenos_Aires"}));
        let text = out::table(&HEAD, [row(&wide, now)]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
