//! One run: the program once, or once per active tenant, so many at a time, each with a verdict of its own. It ends
//! early when it is told to, and must never leave a process behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Plan},
    config::Each,
    outcome::{Outcome, Verdict},
};
use crate::{
    backend::{Ending, Errand},
    tenant::{Registry, Status, Tenant, TenantId, Tickets},
};

/// Where tenants and their tickets come from.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// Who the tenants are.
    pub(super) registry: Arc<Registry>,
    /// What makes their tickets.
    pub(super) tickets: Arc<Tickets>,
}

/// One run.
pub(super) struct Run {
    pub(super) counter: Counter,
    pub(super) board: Arc<Board>,
    pub(super) plan: Arc<Plan>,
    /// Those who watch it.
    pub(super) verdicts: broadcast::Sender<Verdict>,
    pub(super) ending: CancellationToken,
}

impl Run {
    /// Run it to its end: for one tenant, if it is named, else for all that the job is for.
    pub(super) async fn carry_out(self, only: Option<TenantId>) -> Vec<Verdict> {
        let whom: Vec<Option<TenantId>> = match (self.plan.config.each, only) {
            (None, _) => vec![None],
            (Some(Each::Tenant), Some(one)) => vec![Some(one)],
            (Some(Each::Tenant), None) => self.tenants().into_iter().map(Some).collect(),
        };
        self.board.total_is(whom.len());
        let one = async |tenant: Option<TenantId>| {
            let verdict = self.one(tenant).await;
            self.tell(&verdict);
            verdict
        };
        stream::iter(whom).map(one).buffer_unordered(self.plan.config.concurrency.max(1)).collect().await
    }

    /// Those that are served beside these workers, in the order of their names.
    fn tenants(&self) -> Vec<TenantId> {
        let snapshot = self.counter.registry.snapshot();
        let mine = snapshot.tenants().filter(|tenant| self.plan.serves(tenant));
        let mut ids: Vec<_> = mine.map(|tenant| tenant.id.clone()).collect();
        ids.sort();
        ids
    }

    fn tell(&self, verdict: &Verdict) {
        self.board.one_ended();
        let (job, tenant) = (&self.board.name, verdict.tenant.as_ref().map_or("-", TenantId::as_str));
        let Verdict { outcome, detail, duration_ms, .. } = verdict;
        if outcome.is_good() {
            tracing::info!(job, tenant, outcome = outcome.word(), duration_ms, "{detail}");
        } else {
            tracing::error!(job, tenant, outcome = outcome.word(), duration_ms, "{detail}");
        }
        // Fails only when nobody watches.
        drop(self.verdicts.send(verdict.clone()));
    }

    async fn one(&self, tenant: Option<TenantId>) -> Verdict {
        let began = Instant::now();
        let (outcome, exit, detail) = match self.errand(tenant.as_ref()) {
            _ if self.ending.is_cancelled() => (Outcome::Ended, None, "it was not begun".to_owned()),
            Ok(errand) => self.process(&errand).await,
            Err(reason) => (Outcome::Skipped, None, reason),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Verdict { tenant, outcome, exit, detail, duration_ms }
    }

    /// What to run, or why not: the tenant as it is now, which may be another than when the run began.
    fn errand(&self, id: Option<&TenantId>) -> Result<Errand, String> {
        let Board { name, ring, .. } = &*self.board;
        let mut env = self.plan.config.env.clone();
        let mut errand_name = format!("job/{name}");
        if let Some(id) = id {
            let snapshot = self.counter.registry.snapshot();
            let tenant = snapshot.by_id(id.as_str()).ok_or("the tenant has been removed")?;
            if tenant.status != Status::Active {
                return Err(format!("the tenant is {}", tenant.status.as_str()));
            }
            if !self.plan.serves(tenant) {
                return Err("the tenant is another backend's".to_owned());
            }
            errand_name = format!("{errand_name}/{id}");
            env.insert("GATEWAY_TENANT".to_owned(), id.to_string());
            // Whatever the backend's own says: it is another's.
            env.insert(
                "DATABASE_URL".to_owned(),
                self.counter.tickets.database_url(tenant).unwrap_or_default(),
            );
        }
        env.insert("GATEWAY_JOB".to_owned(), name.clone());
        Ok(Errand {
            name: errand_name,
            command: self.plan.config.command.clone(),
            env,
            ring: Arc::clone(ring),
        })
    }

    async fn process(&self, errand: &Errand) -> (Outcome, Option<i32>, String) {
        let mut running = match self.plan.backend.errand(errand).await {
            Ok(running) => running,
            Err(error) => return (Outcome::Failed, None, error.to_string()),
        };
        let timeout = self.plan.config.timeout;
        tokio::select! {
            biased;
            Ending { exit, reason } = running.ended() => match exit {
                Some(0) => (Outcome::Done, exit, "done".to_owned()),
                _ => (Outcome::Failed, exit, reason),
            },
            () = self.ending.cancelled() => {
                let Ending { exit, reason } = running.stop().await;
                (Outcome::Ended, exit, format!("the gateway ended it: {reason}"))
            }
            () = tokio::time::sleep(timeout) => {
                let Ending { exit, reason } = running.stop().await;
                (Outcome::TimedOut, exit, format!("it took longer than {}: {reason}", spoken(timeout)))
            }
        }
    }
}

impl Plan {
    /// Is that tenant served by the backend that the job is for? As requests find it: a tenant's own backend, else the
    /// host's, else the only one.
    pub(super) fn serves(&self, tenant: &Tenant) -> bool {
        match &tenant.backend {
            Some(backend) => *backend == self.backend_name,
            None => self.only_backend || self.backend.has_hosts(),
        }
    }
}

fn spoken(timeout: Duration) -> impl std::fmt::Display {
    humantime::format_duration(timeout)
}
