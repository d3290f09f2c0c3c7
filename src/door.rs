//! Local endpoints through which the backend reaches a database in that database's own protocol. It names
//! pools and tenants, never the edge.

mod config;
mod office;

pub(crate) use self::{
    config::Config,
    office::{OfficeParts, SOCKET as TICKETS_SOCKET, TicketOffice},
};
