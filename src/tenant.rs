//! Who is calling: tenants, their origins and hosts, the registry that holds them, and the ticket with which
//! the backend opens their database. It knows no HTTP path, no worker and no pool.

mod config;
mod cors_policy;
mod database;
mod epoch;
mod host;
mod id;
mod limits;
mod origin;
mod record;
mod registry;
mod ticket;

pub(crate) use self::{
    config::{Config, Declared},
    cors_policy::{Announcement, CorsPolicy, CorsProblem},
    database::{Database, DatabaseProblem, Engine},
    epoch::Epoch,
    host::{HostName, HostProblem},
    id::{TenantId, TenantIdProblem},
    limits::TenantLimits,
    origin::{OriginPattern, OriginProblem},
    record::{KeyHash, Status, Tenant, TenantKey},
    registry::{Conflict, Registry, Snapshot},
    ticket::{Admitted, Door, DoorAddresses, Issued, LiveTicket, TicketMode, TicketProblem, Tickets},
};
