//! How one job is, for all to see: what its task writes down and status reads. It must never be locked over an await.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::{
    config::{Config, Each, When},
    outcome::{JobView, ProgramView, RunView, UnderWay},
    records::Records,
};
use crate::backend::{Backend, Ring};

/// A job as it is to be run: its configuration with everything that it names.
#[derive(Debug)]
pub(super) struct Plan {
    /// As configured.
    pub(super) config: Config,
    /// When.
    pub(super) when: When,
    /// The backend's name.
    pub(super) backend_name: String,
    /// Beside whose workers.
    pub(super) backend: Arc<Backend>,
    /// Is that the only one, so that every tenant is its?
    pub(super) only_backend: bool,
}

/// One job's.
#[derive(Debug)]
pub(super) struct Board {
    /// The job.
    pub(super) name: String,
    /// What it wrote.
    pub(super) ring: Arc<Ring>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: Arc<Plan>,
    next: Option<Timestamp>,
    under_way: Option<UnderWay>,
    records: Records,
    program: Option<ProgramView>,
}

impl Board {
    /// A job's with what earlier gateways remembered of it.
    pub(super) fn new(name: String, plan: Arc<Plan>, path: PathBuf) -> Arc<Self> {
        let records = Records::read(&path);
        let state = State { plan, next: None, under_way: None, records, program: None };
        Arc::new(Self { name, ring: Arc::default(), path, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is run from now on.
    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.state().plan)
    }

    /// Run it like this from now on.
    pub(super) fn plan_is(&self, plan: Arc<Plan>) {
        self.state().plan = plan;
    }

    /// When a run went well last, under an earlier gateway also.
    pub(super) fn succeeded(&self) -> Option<Timestamp> {
        self.state().records.succeeded
    }

    /// When it is due next.
    pub(super) fn next_is(&self, next: Option<Timestamp>) {
        self.state().next = next;
    }

    /// A run begins: its number.
    pub(super) fn begins(&self, run: impl FnOnce(u64) -> UnderWay) -> UnderWay {
        let mut state = self.state();
        state.records.number += 1;
        let run = run(state.records.number);
        state.under_way = Some(run.clone());
        run
    }

    /// So many processes will there be.
    pub(super) fn total_is(&self, total: usize) {
        if let Some(run) = &mut self.state().under_way {
            run.total = total;
        }
    }

    /// One process has ended.
    pub(super) fn one_ended(&self) {
        if let Some(run) = &mut self.state().under_way {
            run.ended += 1;
        }
    }

    /// A run was due while another was under way.
    pub(super) async fn overlap(&self) {
        self.state().records.overlaps_skipped += 1;
        self.write().await;
    }

    /// A run is over.
    pub(super) async fn over(&self, run: RunView) {
        {
            let mut state = self.state();
            let kept = state.plan.config.runs_kept;
            state.records.push(run, kept);
            state.under_way = None;
        }
        self.write().await;
    }

    /// How the program that runs always is.
    pub(super) fn program_is(&self, change: impl FnOnce(&mut ProgramView)) {
        let mut state = self.state();
        let fresh = || ProgramView {
            state: String::new(),
            pid: None,
            since: Timestamp::now(),
            restarts: 0,
            last_error: None,
        };
        let program = state.program.get_or_insert_with(fresh);
        program.since = Timestamp::now();
        change(program);
    }

    async fn write(&self) {
        let (records, path) = (self.state().records.clone(), self.path.clone());
        let written = tokio::task::spawn_blocking(move || records.write(&path)).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            let (job, path) = (&self.name, self.path.display());
            tracing::warn!(job, %path, %error, "the outcome is not kept beyond this gateway's end");
        }
    }

    /// What may be told of it.
    pub(super) fn view(&self) -> JobView {
        let state = self.state();
        let config = &state.plan.config;
        let (schedule, timezone) = match &state.plan.when {
            When::Scheduled(schedule) => (Some(schedule.text().to_owned()), Some(config.timezone.clone())),
            When::Always => (None, None),
        };
        JobView {
            name: self.name.clone(),
            backend: state.plan.backend_name.clone(),
            each_tenant: config.each == Some(Each::Tenant),
            next: state.next,
            under_way: state.under_way.clone(),
            overlaps_skipped: state.records.overlaps_skipped,
            // What runs always has no runs; it may have had some before it was changed.
            runs: if schedule.is_some() { state.records.runs.iter().cloned().collect() } else { Vec::new() },
            program: state.program.clone(),
            schedule,
            timezone,
        }
    }
}
