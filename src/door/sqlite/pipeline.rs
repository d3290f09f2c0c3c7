//! One request at the door, top to bottom: knock → stream → lease → run → park or close → answer.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    encode,
    protocol::{Failure, PipelineBody, StreamRequest},
    stream::{Owner, Stream, Streams},
    work::{Seat, Want, Work, WorkLimits},
};
use crate::{
    error::{Audience, Fault},
    metrics::{Metrics, TenantLabels},
    pool::{Access, Lease, PoolError, Pools},
    shutdown::Shutdown,
    tenant::{Admitted, Tenant},
};

/// What a pipeline runs with.
pub(super) struct Engine {
    pub(super) pools: Arc<Pools>,
    pub(super) streams: Arc<Streams>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) life: Shutdown,
    pub(super) limits: WorkLimits,
}

impl Engine {
    /// Carry out a pipeline; the body of the answer. When this future is dropped, what runs is stopped and the
    /// stream is rolled back and closed.
    pub(super) async fn pipeline(
        &self,
        admitted: &Admitted,
        ticket: &str,
        body: PipelineBody,
    ) -> Result<Vec<u8>, Failure> {
        let tenant = &*admitted.tenant;
        let owner = Owner { tenant: tenant.id.clone(), epoch: tenant.epoch, ticket: ticket.to_owned() };
        let stays_open = !body.requests.iter().any(|request| matches!(request, StreamRequest::Close));
        let Stream { session, lease, place } = match &body.baton {
            Some(baton) => self.streams.take(baton, &owner)?,
            None => self.streams.open(&tenant.id, stays_open)?,
        };
        let work = Work::new(session, body.requests, self.limits);
        let (work, lease) = self.carry_out(tenant, admitted.ends.as_ref(), work, lease).await?;
        let labels = TenantLabels { tenant: tenant.id.to_string() };
        self.metrics.statements_total.get_or_create(&labels).inc_by(work.statements);
        let ended = admitted.ends.as_ref().is_some_and(CancellationToken::is_cancelled);
        let baton = if work.session.closed || ended {
            None
        } else {
            // Between requests only a transaction, or what a connection remembers, is worth a connection.
            let lease = lease.filter(|lease| !lease.is_clean());
            let stream = Stream { session: work.session, lease, place };
            Some(self.streams.park(stream, owner, admitted.ends.clone(), &self.life))
        };
        Ok(answer(baton.as_deref(), &work.results))
    }

    async fn carry_out(
        &self,
        tenant: &Tenant,
        ends: Option<&CancellationToken>,
        mut work: Work,
        mut lease: Option<Lease>,
    ) -> Result<(Work, Option<Lease>), Failure> {
        // A stream with a connection goes on there; one without first does what needs none.
        let mut want = if lease.is_some() { Want::Lease(Access::Read) } else { work.advance(None) };
        let mut fresh = lease.is_none();
        while let Want::Lease(access) = want {
            if fresh {
                match self.exchange(tenant, ends, lease.take(), access).await {
                    Ok(taken) => lease = Some(taken),
                    Err(failure) => {
                        work.refuse(&failure);
                        break;
                    }
                }
            }
            fresh = true;
            let Some(held) = lease.take() else { break };
            let access = held.access();
            let ran = held.run(ends, move |running| {
                let want = work.advance(Some(&Seat { running, access }));
                (work, want)
            });
            let (held, (done, wants)) = ran.await.map_err(|error| failure_of(&error))?;
            (work, want, lease) = (done, wants, Some(held));
        }
        Ok((work, lease))
    }

    /// Give back the connection at hand and take one of the other kind.
    async fn exchange(
        &self,
        tenant: &Tenant,
        ends: Option<&CancellationToken>,
        held: Option<Lease>,
        access: Access,
    ) -> Result<Lease, Failure> {
        if held.as_ref().is_some_and(|held| !held.is_clean()) {
            let message = "the stream's temporary tables or settings are on another connection; begin the \
                           transaction before them";
            return Err(Failure::new("STREAM_PINNED", message));
        }
        drop(held);
        let ended = async {
            match ends {
                Some(ends) => ends.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lease = self.pools.lease(tenant, access) => lease.map_err(|error| failure_of(&error)),
            () = ended => Err(super::statement::stopped(crate::pool::Stop::Ended)),
        }
    }
}

fn answer(baton: Option<&str>, results: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(results.len() + 128);
    body.extend_from_slice(br#"{"baton":"#);
    encode::optional(&mut body, baton);
    body.extend_from_slice(br#","base_url":null,"results":["#);
    body.extend_from_slice(results);
    body.extend_from_slice(b"]}");
    body
}

/// The pool's errors as the application reads them: what the operator alone may read goes to the log.
fn failure_of(error: &PoolError) -> Failure {
    let code = match error {
        PoolError::Wait { .. } => "POOL_WAIT_TIMEOUT",
        PoolError::Crowd { .. } => "POOL_WAITING_MAX",
        PoolError::Closed(_) => "DATABASE_CLOSED",
        PoolError::NoDatabase(_) => "DATABASE_UNKNOWN",
        _ => "DATABASE_UNUSABLE",
    };
    match error.audience() {
        Audience::Anyone => Failure::new(code, error.to_string()),
        Audience::Operator => {
            tracing::error!(%error, code = error.code(), "a tenant's database cannot be used");
            Failure::new(code, "the database cannot be used now; the gateway's log says why")
        }
    }
}
