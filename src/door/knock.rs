//! The knock: what a caller presents at a door becomes a tenant, or a refusal that does not say which part
//! was wrong. Every door begins here.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    metrics::Metrics,
    tenant::{self, Admitted, Registry, TicketProblem, Tickets},
};

/// What it takes to judge a ticket.
#[derive(Clone)]
pub(super) struct Doorkeeper {
    pub(super) tickets: Arc<Tickets>,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
}

impl Doorkeeper {
    /// `credential` is the ticket's name and password.
    pub(super) fn knock(
        &self,
        door: tenant::Door,
        credential: (&str, &str),
    ) -> Result<Admitted, TicketProblem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let admitted = self.tickets.admit(&self.registry.snapshot(), door, credential, now);
        if admitted.is_err() {
            self.metrics.knocks_refused_total.inc();
        }
        admitted
    }
}
