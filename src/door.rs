//! Local endpoints through which the backend reaches a database in that database's own protocol. It names
//! pools and tenants, never the edge.

mod config;
mod error;
mod knock;
mod office;
mod sqlite;
mod unix;

pub(crate) use self::{
    config::{Config, Sqlite},
    error::DoorError,
    office::{OfficeParts, SOCKET as TICKETS_SOCKET, TicketOffice},
    sqlite::{DoorParts, DoorStatus, SqliteDoor},
};
