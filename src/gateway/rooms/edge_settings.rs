//! What the edge is told of the backends: who serves which host, and how.

use std::{collections::BTreeMap, sync::Arc};

use super::super::defaults::host_names;
use crate::{
    backend::{self, Backend},
    config::Config,
    edge::{BackendRoute, EdgeSettings},
    tenant::TicketMode,
};

/// From the configuration and the backends that run.
pub(super) fn of(config: &Config, backends: &BTreeMap<String, Arc<Backend>>) -> EdgeSettings {
    let route = |(name, backend): (&String, &Arc<Backend>)| {
        let settings = config.backend.get(name);
        let ticket = match settings.map(|settings| settings.ticket) {
            Some(backend::Ticket::Request) => TicketMode::Request,
            _ => TicketMode::Tenant,
        };
        let hosts = settings.map(|settings| host_names(&settings.hosts)).unwrap_or_default();
        let sticky = settings.and_then(|settings| settings.sticky);
        (name.clone(), BackendRoute { roster: backend.roster(), hosts, ticket, sticky })
    };
    EdgeSettings {
        config: config.edge.clone(),
        tls: config.tls.clone(),
        cors: config.cors.clone(),
        backends: backends.iter().map(route).collect(),
    }
}
