//! The open connections to tenants' databases, and how they are shared fairly. It knows no protocol.

mod authorize;
mod budget;
mod config;
mod connect;
mod copy;
mod error;
mod lease;
mod migrate;
#[expect(clippy::module_inception, reason = "one tenant's pool is the noun this room is named after")]
mod pool;
mod pools;
mod reset;
mod watchdog;

#[cfg(test)]
pub(crate) use self::migrate::MigrationReport;
pub(crate) use self::{
    config::{Config, Sqlite},
    copy::{check, online_copy},
    error::PoolError,
    lease::{Access, Lease, Running},
    migrate::{MigrationFile, migrate},
    pools::Pools,
    watchdog::Stop,
};

#[cfg(test)]
mod tests;
