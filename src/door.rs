//! Local endpoints through which the backend reaches a database in that database's own protocol. It names
//! pools and tenants, never the edge.

mod config;

pub(crate) use self::config::Config;
