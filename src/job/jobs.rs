//! All jobs of the house: started, changed by a reload, ordered to run, ended. A job that a reload does not change is
//! not touched by it; its run under way goes on.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    always::Always,
    board::{Board, Plan},
    clockwork::{Clockwork, Order},
    config::{Config, When},
    error::JobError,
    outcome::{JobView, RunView, UnderWay, Verdict},
    records::Records,
    run::Counter,
};
use crate::{
    backend::{Backend, BackendKind, OutputLine},
    error::nearest,
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{Registry, Status, TenantId, Tickets},
};

/// Orders to one job that may wait; each is answered at once.
const ORDERS_WAITING_MAX: usize = 8;

/// What the jobs stand on.
pub(crate) struct JobsParts {
    /// Who the tenants are.
    pub(crate) registry: Arc<Registry>,
    /// What makes their tickets.
    pub(crate) tickets: Arc<Tickets>,
    /// Beside whose workers they run.
    pub(crate) backends: BTreeMap<String, Arc<Backend>>,
    /// Outcomes go to `jobs/` in it.
    pub(crate) state_dir: PathBuf,
    /// Counts the tasks; only [`Jobs::end`] ends them.
    pub(crate) shutdown: Shutdown,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
}

/// Every job. Dropping it ends all runs in order, without waiting for them.
pub(crate) struct Jobs {
    parts: JobsParts,
    jobs: Mutex<BTreeMap<String, Job>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    ending: CancellationToken,
}

/// A run that was ordered, as it goes on.
pub(crate) struct Watching {
    /// Which.
    pub(crate) run: UnderWay,
    /// What is written beside the workers from its beginning on, by whomever.
    pub(crate) lines: broadcast::Receiver<OutputLine>,
    /// Each verdict; a watcher that is too slow misses some, and finds them in the outcome.
    pub(crate) verdicts: broadcast::Receiver<Verdict>,
    /// The outcome.
    pub(crate) over: oneshot::Receiver<RunView>,
}

/// One job's task.
#[derive(Debug)]
struct Job {
    board: Arc<Board>,
    orders: mpsc::Sender<Order>,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Jobs {
    /// Start all jobs. Those whose backend does not run here are left out, and told.
    pub(crate) fn start(parts: JobsParts, configs: &BTreeMap<String, Config>) -> Arc<Self> {
        let jobs = Self {
            parts,
            jobs: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            ending: CancellationToken::new(),
        };
        for (name, config) in configs {
            if let Err(error) = jobs.add(name, config) {
                tracing::error!(job = name, %error, "the job does not run");
            }
        }
        Arc::new(jobs)
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        // Every change is one insertion or removal.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &str, config: &Config) -> Result<(), JobError> {
        let plan = Arc::new(self.plan(name, config)?);
        let always = matches!(plan.when, When::Always);
        let board = Board::new(name.to_owned(), plan, Records::path(&self.parts.state_dir, name));
        let (orders, inbox) = mpsc::channel(ORDERS_WAITING_MAX);
        let ending = self.ending.child_token();
        let (metrics, shutdown) = (Arc::clone(&self.parts.metrics), &self.parts.shutdown);
        let task = if always {
            let always = Always { board: Arc::clone(&board), metrics, ending: ending.clone() };
            shutdown.spawn(always.run())
        } else {
            let counter = Counter {
                registry: Arc::clone(&self.parts.registry),
                tickets: Arc::clone(&self.parts.tickets),
            };
            let (board, ending) = (Arc::clone(&board), ending.clone());
            shutdown.spawn(Clockwork { board, counter, metrics, orders: inbox, ending }.run())
        };
        self.jobs().insert(name.to_owned(), Job { board, orders, ending, task });
        Ok(())
    }

    fn plan(&self, job: &str, config: &Config) -> Result<Plan, JobError> {
        let wrong = |reason: String| JobError::Backend { job: job.to_owned(), reason };
        let when = config.when().map_err(|problem| wrong(problem.message))?;
        let backends = &self.parts.backends;
        let found = match &config.backend {
            Some(name) => backends.get_key_value(name),
            None if backends.len() == 1 => backends.first_key_value(),
            None => return Err(wrong("there are several, and `backend` names none".to_owned())),
        };
        let (name, backend) = found.ok_or_else(|| wrong("a new one needs a new start".to_owned()))?;
        if backend.status().kind == BackendKind::Upstream {
            return Err(wrong(format!("`{name}` is an upstream, which something else runs")));
        }
        Ok(Plan {
            config: config.clone(),
            when,
            backend_name: name.clone(),
            backend: Arc::clone(backend),
            only_backend: backends.len() == 1,
        })
    }

    /// Put other jobs in force: new ones start, those that have gone end, and changed ones run in the new way from
    /// their next run on. What runs always is replaced. The names of those that cannot be put in force.
    pub(crate) async fn change_to(&self, configs: &BTreeMap<String, Config>) -> Vec<String> {
        let _one = self.changing.lock().await;
        let mut gone = Vec::new();
        {
            let mut jobs = self.jobs();
            let names: Vec<_> = jobs.keys().filter(|name| !configs.contains_key(*name)).cloned().collect();
            gone.extend(names.iter().filter_map(|name| jobs.remove(name)));
        }
        join_all(gone.into_iter().map(end)).await;
        let mut failed = Vec::new();
        for (name, config) in configs {
            if let Err(error) = self.change(name, config).await {
                tracing::error!(job = name, %error, "the job does not run as the configuration says");
                failed.push(name.clone());
            }
        }
        failed
    }

    async fn change(&self, name: &str, config: &Config) -> Result<(), JobError> {
        let Some(board) = self.jobs().get(name).map(|job| Arc::clone(&job.board)) else {
            return self.add(name, config);
        };
        let before = board.plan();
        if before.config == *config {
            return Ok(());
        }
        let plan = self.plan(name, config)?;
        if let (When::Scheduled(_), When::Scheduled(_)) = (&before.when, &plan.when) {
            board.plan_is(Arc::new(plan));
            let orders = self.jobs().get(name).map(|job| job.orders.clone());
            if let Some(orders) = orders {
                // Fails only when the job is ending.
                drop(orders.send(Order::Look).await);
            }
            return Ok(());
        }
        let old = self.jobs().remove(name);
        if let Some(old) = old {
            end(old).await;
        }
        self.add(name, config)
    }

    /// How every job is.
    pub(crate) fn list(&self) -> Vec<JobView> {
        self.jobs().values().map(|job| job.board.view()).collect()
    }

    /// How one job is.
    pub(crate) fn show(&self, name: &str) -> Result<JobView, JobError> {
        let jobs = self.jobs();
        jobs.get(name).map(|job| job.board.view()).ok_or_else(|| {
            let near = nearest(name, jobs.keys().map(String::as_str)).map(str::to_owned);
            JobError::Unknown { name: name.to_owned(), near }
        })
    }

    /// Run a job now, for one tenant or for all that it is for. Resolves when it has begun; it goes on to its end,
    /// whether it is watched or not.
    pub(crate) async fn run(&self, name: &str, tenant: Option<TenantId>) -> Result<Watching, JobError> {
        let (plan, orders) = self.ordered(name)?;
        if let Some(id) = &tenant {
            self.may_run(name, &plan, id)?;
        }
        let (answer, begun) = oneshot::channel();
        let ending = |()| JobError::Ending(name.to_owned());
        orders.send(Order::Run { tenant, answer }).await.map_err(|_| ending(()))?;
        begun.await.map_err(|_| ending(()))?
    }

    /// End the run of a job that is under way: SIGTERM, and after the backend's `stop_grace` SIGKILL. Resolves when it is
    /// over, with its outcome. Cancel safe: it ends all the same.
    pub(crate) async fn stop(&self, name: &str) -> Result<RunView, JobError> {
        let (_, orders) = self.ordered(name)?;
        let (answer, over) = oneshot::channel();
        let ending = |()| JobError::Ending(name.to_owned());
        orders.send(Order::Stop { answer }).await.map_err(|_| ending(()))?;
        over.await.map_err(|_| ending(()))?
    }

    /// The plan of a job that does not run always, and where it takes orders.
    fn ordered(&self, name: &str) -> Result<(Arc<Plan>, mpsc::Sender<Order>), JobError> {
        self.show(name)?;
        let found = self.jobs().get(name).map(|job| (job.board.plan(), job.orders.clone()));
        // It may go between the two.
        let (plan, orders) = found.ok_or_else(|| JobError::Ending(name.to_owned()))?;
        if matches!(plan.when, When::Always) {
            return Err(JobError::Always(name.to_owned()));
        }
        Ok((plan, orders))
    }

    fn may_run(&self, name: &str, plan: &Plan, id: &TenantId) -> Result<(), JobError> {
        if plan.config.each.is_none() {
            return Err(JobError::NotEach(name.to_owned()));
        }
        let snapshot = self.parts.registry.snapshot();
        let tenant = snapshot.by_id(id.as_str()).ok_or_else(|| JobError::TenantUnknown(id.clone()))?;
        if !plan.serves(tenant) {
            return Err(JobError::TenantElsewhere { tenant: id.clone(), job: name.to_owned() });
        }
        match tenant.status {
            Status::Active => Ok(()),
            status => Err(JobError::TenantNotActive { tenant: id.clone(), status: status.as_str() }),
        }
    }

    /// The last lines of every job, each job's oldest first.
    pub(crate) fn output(&self) -> Vec<OutputLine> {
        let jobs = self.jobs();
        jobs.values().flat_map(|job| job.board.ring.last(usize::MAX)).collect()
    }

    /// Begin the end: no run begins any more, and those under way are told to end.
    pub(crate) fn begin_end(&self) {
        self.ending.cancel();
    }

    /// Resolves when no process of any job is left. Idempotent.
    pub(crate) async fn end(&self) {
        self.begin_end();
        let _one = self.changing.lock().await;
        let jobs = std::mem::take(&mut *self.jobs());
        join_all(jobs.into_values().map(end)).await;
    }
}

/// End one for good; resolves when no process of it is left.
async fn end(mut job: Job) {
    job.ending.cancel();
    // An error is a panic of the task: it dropped its processes, and so killed them.
    drop((&mut job.task).await);
}
