//! The jobs' place in the house: beside the backends, above registry and doors.

use std::{collections::BTreeMap, sync::Arc};

use super::super::Lives;
use crate::{
    backend::Backend,
    config::Config,
    job::{Jobs, JobsParts},
    metrics::Metrics,
    tenant::{Registry, Tickets},
};

/// Start those of the configuration.
pub(super) fn start(
    config: &Config,
    backends: &BTreeMap<String, Arc<Backend>>,
    (registry, tickets): (&Arc<Registry>, &Arc<Tickets>),
    lives: &Lives,
    metrics: &Arc<Metrics>,
) -> Arc<Jobs> {
    let parts = JobsParts {
        registry: registry.clone(),
        tickets: tickets.clone(),
        backends: backends.clone(),
        state_dir: config.state_dir.clone(),
        shutdown: lives.backends.clone(),
        metrics: metrics.clone(),
    };
    Jobs::start(parts, &config.job)
}
