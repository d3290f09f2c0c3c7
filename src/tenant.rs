//! Who is calling: tenants, their origins and hosts, the registry that holds them, and the ticket with which
//! the backend opens their database. It knows no HTTP path, no worker and no pool.

mod change;
mod config;
mod cors_policy;
mod database;
mod epoch;
mod error;
mod host;
mod id;
mod limits;
mod origin;
mod paths;
mod record;
mod refusals;
mod registry;
mod seal;
mod store;
mod tenants;
mod ticket;
mod view;

#[cfg(test)]
pub(crate) use self::ticket::Issued;
pub(crate) use self::{
    change::{ApplyReport, Change, Clear, NewTenant, TenantSpec},
    config::{Config, Declared},
    cors_policy::{Announcement, CorsPolicy, CorsProblem},
    database::{Database, DatabaseProblem, DatabaseText, Engine},
    epoch::Epoch,
    error::TenantError,
    host::HostName,
    id::TenantId,
    limits::TenantLimits,
    origin::OriginPattern,
    paths::TenantPaths,
    record::{KeyHash, Status, Tenant, TenantKey},
    refusals::{Refusal, RefusalReason, Refusals, RefusedView},
    registry::{Conflict, Registry, Snapshot},
    seal::SealKey,
    store::count,
    tenants::{Defaults, Tenants},
    ticket::{Admitted, Door, DoorAddresses, LiveTicket, TicketMode, TicketProblem, Tickets},
    view::{KeyView, TenantView},
};
