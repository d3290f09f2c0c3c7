//! The task of a job that runs by the clock: waits, runs, obeys orders, one run at a time. A run that is due while
//! another is under way is left out, counted and told; what was due while no gateway ran is not made up for.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board,
    config::When,
    error::JobError,
    jobs::Watching,
    outcome::{By, Outcome, RunView, UnderWay, Verdict},
    run::{Counter, Run},
};
use crate::{
    metrics::{JobLabels, JobRunLabels, Metrics},
    tenant::TenantId,
};

/// The clock may be set while we sleep: look at it this often.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// A clock that is set back by no more than this is one that was a little fast: what is due waits for it.
const FAST_MAX: SignedDuration = SignedDuration::from_mins(1);

/// A clock that is set back by no more than this shows times that have been: what has run at one of them does not run
/// again. Beyond it (as in cron(8)) it had shown no time at all.
const REPEATED_MAX: SignedDuration = SignedDuration::from_hours(3);

/// Verdicts that a slow watcher may be behind; it gets all of them with the outcome.
const VERDICTS_WAITING_MAX: usize = 1024;

/// An order to a job.
pub(super) enum Order {
    /// Run now.
    Run {
        /// For this tenant alone.
        tenant: Option<TenantId>,
        /// Answered when it begins.
        answer: oneshot::Sender<Result<Watching, JobError>>,
    },
    /// End the run that is under way.
    Stop {
        /// Who hears of its end; or at once that there is none.
        answer: oneshot::Sender<Result<RunView, JobError>>,
    },
    /// The board has another plan.
    Look,
}

/// The state of the task.
pub(super) struct Clockwork {
    pub(super) board: Arc<Board>,
    pub(super) counter: Counter,
    pub(super) metrics: Arc<Metrics>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) ending: CancellationToken,
}

/// A run under way, and who wants to hear of its end.
struct Begun {
    work: Pin<Box<dyn Future<Output = Vec<Verdict>> + Send>>,
    view: UnderWay,
    clock: Instant,
    told: Option<oneshot::Sender<RunView>>,
    ending: CancellationToken,
    /// Who has told it to end and waits for that.
    stoppers: Vec<oneshot::Sender<Result<RunView, JobError>>>,
}

impl Clockwork {
    pub(super) async fn run(mut self) {
        if let Some(succeeded) = self.board.succeeded() {
            // An alert on its age must not fall silent over a new start.
            let labels = JobLabels { job: self.board.name.clone() };
            self.metrics.job_last_success_seconds.get_or_create(&labels).set(succeeded.as_second());
        }
        let mut begun: Option<Begun> = None;
        let mut due = self.due_after(Timestamp::now());
        let (mut look, mut fired) = (Look::now(), None);
        loop {
            self.board.next_is(due);
            tokio::select! {
                biased;
                () = self.ending.cancelled() => break,
                verdicts = over(&mut begun) => self.conclude(begun.take(), verdicts).await,
                order = self.orders.recv() => match order {
                    None => break,
                    Some(Order::Look) => {
                        let now = Timestamp::now();
                        due = still_due(due, now).or_else(|| self.due_after(self.not_again(fired, now)));
                    }
                    Some(Order::Run { tenant, answer }) => self.obey(&mut begun, tenant, answer),
                    Some(Order::Stop { answer }) => self.stop(&mut begun, answer),
                },
                clock = until(due, &mut look) => {
                    if clock == Clock::SetBack {
                        due = self.due_after(self.not_again(fired, Timestamp::now()));
                        tracing::warn!(job = self.board.name, "the clock was set back: the job's time is found anew");
                        continue;
                    }
                    match &begun {
                        Some(begun) => self.leave_out(begun.view.number).await,
                        None => begun = Some(self.begin(By::Schedule, None, broadcast::channel(1).0)),
                    }
                    let now = Timestamp::now();
                    fired = due;
                    due = self.due_after(due.map_or(now, |due| due.max(now)));
                }
            }
        }
        self.board.next_is(None);
        if begun.is_some() {
            // It has been told to end by the same word as we.
            let verdicts = over(&mut begun).await;
            self.conclude(begun.take(), verdicts).await;
        }
    }

    fn due_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.board.plan().when {
            When::Scheduled(schedule) => schedule.next(after),
            When::Always => None,
        }
    }

    /// After which moment the job is due on a clock that may have been set back, having run at `fired`. What runs every so
    /// often follows the time that passes.
    fn not_again(&self, fired: Option<Timestamp>, now: Timestamp) -> Timestamp {
        match &self.board.plan().when {
            When::Scheduled(schedule) if !schedule.is_interval() => not_again(fired, now),
            _ => now,
        }
    }

    fn obey(
        &self,
        begun: &mut Option<Begun>,
        tenant: Option<TenantId>,
        answer: oneshot::Sender<Result<Watching, JobError>>,
    ) {
        if let Some(begun) = begun {
            let (job, number) = (self.board.name.clone(), begun.view.number);
            drop(answer.send(Err(JobError::UnderWay { job, number })));
            return;
        }
        let (verdicts, seen) = broadcast::channel(VERDICTS_WAITING_MAX);
        let (told, over) = oneshot::channel();
        // Before it begins, so that its first line is among them.
        let lines = self.board.plan().backend.follow();
        let run = self.begin(By::Order, tenant, verdicts);
        // Whoever asked may have gone away; the run goes on all the same.
        drop(answer.send(Ok(Watching { run: run.view.clone(), lines, verdicts: seen, over })));
        *begun = Some(Begun { told: Some(told), ..run });
    }

    fn stop(&self, begun: &mut Option<Begun>, answer: oneshot::Sender<Result<RunView, JobError>>) {
        match begun {
            Some(begun) => {
                tracing::info!(job = self.board.name, run = begun.view.number, "job is told to end");
                begun.ending.cancel();
                // No more than there are orders that wait.
                begun.stoppers.retain(|stopper| !stopper.is_closed());
                begun.stoppers.push(answer);
            }
            None => drop(answer.send(Err(JobError::Idle(self.board.name.clone())))),
        }
    }

    fn begin(&self, by: By, tenant: Option<TenantId>, verdicts: broadcast::Sender<Verdict>) -> Begun {
        let started = Timestamp::now();
        let view = self.board.begins(|number| UnderWay { number, by, started, ended: 0, total: 0 });
        let job = &self.board.name;
        tracing::info!(job, run = view.number, "job begins");
        self.metrics.jobs_under_way.get_or_create(&JobLabels { job: job.clone() }).set(1);
        let ending = self.ending.child_token();
        let run = Run {
            counter: self.counter.clone(),
            board: Arc::clone(&self.board),
            plan: self.board.plan(),
            verdicts,
            ending: ending.clone(),
        };
        let (work, clock) = (Box::pin(run.carry_out(tenant)), Instant::now());
        Begun { work, view, clock, told: None, ending, stoppers: Vec::new() }
    }

    async fn leave_out(&self, number: u64) {
        let job = &self.board.name;
        tracing::warn!(job, run = number, "job is due, but a run of it is under way: left out");
        self.metrics.job_overlaps_total.get_or_create(&JobLabels { job: job.clone() }).inc();
        self.board.overlap().await;
    }

    async fn conclude(&self, begun: Option<Begun>, verdicts: Vec<Verdict>) {
        let Some(Begun { view: UnderWay { number, by, started, .. }, clock, told, stoppers, .. }) = begun
        else {
            return;
        };
        let outcome = verdicts.iter().map(|verdict| verdict.outcome).max().unwrap_or(Outcome::Done);
        let duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        let run = RunView { number, by, started, duration_ms, outcome, verdicts, verdicts_left_out: 0 };
        let job = self.board.name.clone();
        let (word, bad) = (outcome.word(), run.verdicts.iter().filter(|one| !one.outcome.is_good()).count());
        if outcome.is_good() {
            tracing::info!(job, run = number, outcome = word, duration_ms, "job is over");
        } else {
            tracing::error!(job, run = number, outcome = word, duration_ms, bad, "job is over");
        }
        let labels = JobRunLabels { job: job.clone(), outcome: word };
        self.metrics.job_runs_total.get_or_create(&labels).inc();
        let labels = JobLabels { job };
        self.metrics.jobs_under_way.get_or_create(&labels).set(0);
        if outcome.is_good() {
            let now = Timestamp::now().as_second();
            self.metrics.job_last_success_seconds.get_or_create(&labels).set(now);
        }
        self.board.over(run.clone()).await;
        // Told when the status says it as well.
        stoppers.into_iter().for_each(|stopper| drop(stopper.send(Ok(run.clone()))));
        drop(told.map(|told| told.send(run)));
    }
}

/// What is due already when the plan changes is not forgotten over that.
fn still_due(due: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    due.filter(|due| *due <= now)
}

/// Resolves when the run under way is over; never, if there is none. Cancel safe.
async fn over(begun: &mut Option<Begun>) -> Vec<Verdict> {
    match begun {
        Some(begun) => begun.work.as_mut().await,
        None => std::future::pending().await,
    }
}

/// What the clock has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Due,
    SetBack,
}

/// The clock that may be set, and the one that may not, in one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    wall: Timestamp,
    clock: Instant,
}

impl Look {
    fn now() -> Self {
        Self { wall: Timestamp::now(), clock: Instant::now() }
    }

    /// By how much the clock is behind what it should show by then.
    fn behind(self, then: Self) -> SignedDuration {
        let passed = SignedDuration::try_from(then.clock - self.clock).unwrap_or(SignedDuration::MAX);
        passed.saturating_sub(then.wall.duration_since(self.wall))
    }
}

/// Resolves when the clock shows that moment, or was set back since the last look; never, if there is none. Cancel safe.
async fn until(due: Option<Timestamp>, last: &mut Look) -> Clock {
    let Some(due) = due else { return std::future::pending().await };
    loop {
        let look = Look::now();
        let behind = std::mem::replace(last, look).behind(look);
        if behind > FAST_MAX {
            return Clock::SetBack;
        }
        let left = Duration::try_from(due.duration_since(look.wall)).unwrap_or_default();
        if left.is_zero() {
            return Clock::Due;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// The moment after which a job is due on a clock that was set back to `now`, having run at `fired`.
fn not_again(fired: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let repeated = fired.filter(|fired| fired.duration_since(now) <= REPEATED_MAX);
    repeated.map_or(now, |fired| fired.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_due_in_the_moment_of_a_reload_is_not_left_out() {
        let now: Timestamp = "2026-01-02T03:30:00Z".parse().unwrap();
        let at = |seconds: i64| Some(now + jiff::SignedDuration::from_secs(seconds));
        assert_eq!([at(-1), at(0), at(1), None].map(|due| still_due(due, now)), [at(-1), at(0), None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_is_noticed_once_and_a_fast_one_waited_for() {
        let now = Look::now();
        let due = Some(now.wall + SignedDuration::from_hours(1));
        for (fast_by, clock) in [(50, None), (70, Some(Clock::SetBack)), (7200, Some(Clock::SetBack))] {
            let mut last = Look { wall: now.wall + SignedDuration::from_secs(fast_by), ..now };
            let seen = tokio::time::timeout(Duration::from_millis(1), until(due, &mut last)).await;
            assert_eq!(seen.ok(), clock, "{fast_by}");
            let again = tokio::time::timeout(Duration::from_millis(1), until(due, &mut last)).await;
            assert!(again.is_err(), "{fast_by}");
        }
        // Set forward: what is due by then is due.
        let mut last = Look { wall: now.wall - SignedDuration::from_hours(9), ..now };
        assert_eq!(until(Some(now.wall), &mut last).await, Clock::Due);
    }

    #[test]
    fn what_has_run_does_not_run_again_unless_the_clock_had_shown_no_time_at_all() {
        let now: Timestamp = "2026-01-02T03:30:00Z".parse().unwrap();
        let at = |hours: i64| now + SignedDuration::from_hours(hours);
        for (fired, after) in
            [(None, at(0)), (Some(at(-1)), at(0)), (Some(at(2)), at(2)), (Some(at(90_000)), at(0))]
        {
            assert_eq!(not_again(fired, now), after, "{fired:?}");
        }
    }
}
