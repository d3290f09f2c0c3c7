//! The open connections to tenants' databases, and how they are shared fairly. It knows no protocol.

mod config;
mod copy;
mod error;
mod migrate;
mod pools;

pub(crate) use self::{
    config::Config,
    copy::{check, online_copy},
    error::PoolError,
    migrate::{MigrationFile, MigrationReport, migrate},
    pools::{PoolHold, PoolStatus, Pools},
};
