//! What can go wrong between a ticket and a connection. Every text names the tenant and the limit that said
//! no; none repeats a path to strangers.

use std::{io, path::PathBuf, time::Duration};

use crate::{
    error::{Audience, Fault, Kind},
    tenant::TenantId,
};

/// Why there is no connection, copy or migration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    /// The wait for a connection ended.
    #[error("tenant `{tenant}` waited {:?} for a database connection: {limit}", whole_ms(*waited))]
    Wait {
        /// Who waited.
        tenant: TenantId,
        /// How long (`pool.wait_timeout`).
        waited: Duration,
        /// What it waited for, with the name of the setting.
        limit: String,
    },
    /// Too many wait already.
    #[error("tenant `{tenant}` has {waiting} requests waiting for a connection already (`pool.waiting_max`)")]
    Crowd {
        /// Who waits.
        tenant: TenantId,
        /// How many.
        waiting: u32,
    },
    /// Suspended, removed, rotated, or the gateway is stopping.
    #[error("the database of tenant `{0}` is closed")]
    Closed(TenantId),
    /// No database in the registry.
    #[error("tenant `{0}` has no database")]
    NoDatabase(TenantId),
    /// Two tenants' paths lead to one file.
    #[error("`{path}` of tenant `{tenant}` is the same file as the database of tenant `{holder}`")]
    Shared {
        /// Who asked.
        tenant: TenantId,
        /// Who has it open.
        holder: TenantId,
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be made or opened.
    #[error("cannot open `{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite said no.
    #[error("cannot use the database `{path}`: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// No room for a copy.
    #[error("the disk is full: there is no room in `{0}`\nhint: make room there and try again")]
    Full(PathBuf),
    /// `quick_check` found damage.
    #[error("the database `{path}` is damaged: {finding}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first finding.
        finding: String,
    },
    /// A migration file's name or content cannot be used.
    #[error("migration `{name}`: {problem}")]
    Migration {
        /// The file's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Our own thread died.
    #[error("a database thread ended early: {0}")]
    Thread(String),
}

impl Fault for PoolError {
    fn kind(&self) -> Kind {
        match self {
            Self::Wait { .. } | Self::Crowd { .. } | Self::Closed(_) => Kind::Tenant,
            Self::NoDatabase(_) | Self::Shared { .. } | Self::Migration { .. } => Kind::Operator,
            Self::File { .. } | Self::Sqlite { .. } | Self::Full(_) | Self::Damaged { .. } => Kind::Database,
            Self::Thread(_) => Kind::Gateway,
        }
    }

    fn audience(&self) -> Audience {
        match self {
            Self::Wait { .. } | Self::Crowd { .. } | Self::Closed(_) | Self::NoDatabase(_) => {
                Audience::Anyone
            }
            _ => Audience::Operator,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Wait { .. } => "pool-wait-timeout",
            Self::Crowd { .. } => "pool-waiting-max",
            Self::Closed(_) => "pool-closed",
            Self::NoDatabase(_) => "no-database",
            Self::Shared { .. } => "database-shared",
            Self::File { .. } | Self::Sqlite { .. } => "database-unusable",
            Self::Full(_) => "disk-full",
            Self::Damaged { .. } => "database-damaged",
            Self::Migration { .. } => "migration-failed",
            Self::Thread(_) => "database-thread",
        }
    }
}

/// Nobody reads nanoseconds of a wait.
fn whole_ms(waited: Duration) -> Duration {
    Duration::from_secs(waited.as_secs()) + Duration::from_millis(waited.subsec_millis().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_milliseconds() {
        let waited = Duration::from_nanos(5_001_148_796);
        let error = PoolError::Wait { tenant: "acme".parse().unwrap(), waited, limit: "x".into() };
        assert_eq!(error.to_string(), "tenant `acme` waited 5.001s for a database connection: x");
    }
}
