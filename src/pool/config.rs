//! The pool room's part of the configuration: how many connections there may be, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::budget::standard_max;

/// `[pool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Connections that one database server may see from us, over all tenants. SQLite files count together
    /// as one server: each connection is a few file descriptors and a page cache of this process.
    pub(crate) budget: u32,
    /// Connections of one tenant; 0 is a quarter of the budget, at least 2.
    pub(crate) tenant_max: u32,
    /// Connections reserved for each tenant.
    pub(crate) tenant_min: u32,
    /// How long a request for a connection waits.
    #[serde(with = "humantime_serde")]
    pub(crate) wait_timeout: Duration,
    /// Waiting requests of one tenant.
    pub(crate) waiting_max: u32,
    /// A connection unused for this long is closed.
    #[serde(with = "humantime_serde")]
    pub(crate) idle_timeout: Duration,
    /// Longest single statement.
    #[serde(with = "humantime_serde")]
    pub(crate) statement_timeout: Duration,
    /// Longest transaction, from BEGIN to its end.
    #[serde(with = "humantime_serde")]
    pub(crate) transaction_timeout: Duration,
    /// SQLite only.
    pub(crate) sqlite: Sqlite,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            budget: 64,
            tenant_max: 0,
            tenant_min: 0,
            wait_timeout: Duration::from_secs(5),
            waiting_max: 256,
            idle_timeout: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(10),
            transaction_timeout: Duration::from_secs(30),
            sqlite: Sqlite::default(),
        }
    }
}

impl Config {
    /// The tenant maximum in force where a tenant says nothing else.
    pub(crate) fn standard_max(&self) -> u32 {
        if self.tenant_max == 0 { standard_max(self.budget) } else { self.tenant_max }
    }

    /// Do the tenants' floors fit into the budget? Each is a tenant's own `connections_min` or `None` for
    /// the default. `Some` is the problem's text.
    pub(crate) fn floors_problem(&self, floors: impl IntoIterator<Item = Option<u32>>) -> Option<String> {
        let floor = |own: Option<u32>| u64::from(own.unwrap_or(self.tenant_min));
        let sum: u64 = floors.into_iter().map(floor).sum();
        (sum > u64::from(self.budget)).then(|| {
            format!(
                "the tenants' reserved connections add up to {sum}, more than `pool.budget` = {}; \
                 raise the budget or lower `pool.tenant_min` and the tenants' `connections_min`",
                self.budget
            )
        })
    }

    /// Values that cannot work, as (key, problem).
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.budget < 2 {
            problems
                .push(("pool.budget", "at least 2: a SQLite tenant has a writer and a reader".to_owned()));
        }
        if self.tenant_max == 1 || self.tenant_max > self.budget {
            let problem = format!("0 (a quarter of the budget), or 2 to `pool.budget` = {}", self.budget);
            problems.push(("pool.tenant_max", problem));
        }
        if self.tenant_min > self.standard_max() {
            let problem = format!("at most a tenant's maximum, {}", self.standard_max());
            problems.push(("pool.tenant_min", problem));
        }
        for (key, value) in [
            ("pool.wait_timeout", self.wait_timeout),
            ("pool.idle_timeout", self.idle_timeout),
            ("pool.statement_timeout", self.statement_timeout),
            ("pool.transaction_timeout", self.transaction_timeout),
        ] {
            if value.is_zero() {
                problems.push((key, "more than zero, such as `5s`".to_owned()));
            }
        }
        if self.waiting_max == 0 {
            problems.push(("pool.waiting_max", "at least 1".to_owned()));
        }
        if self.sqlite.readers_max == 0 {
            problems.push(("pool.sqlite.readers_max", "at least 1".to_owned()));
        }
        problems
    }
}

/// `[pool.sqlite]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sqlite {
    /// Readers per file, beside the one writer.
    pub(crate) readers_max: u32,
    /// Page cache of one connection, KiB.
    pub(crate) cache_kib: u32,
    /// Rows and values of one answer, bytes.
    pub(crate) response_bytes_max: usize,
    /// Size of one database file, bytes; a tenant that fills it gets "full", its neighbours nothing.
    pub(crate) file_bytes_max: u64,
}

impl Default for Sqlite {
    fn default() -> Self {
        Self {
            readers_max: 4,
            cache_kib: 2048,
            response_bytes_max: 10 * 1024 * 1024,
            file_bytes_max: 10 * 1024 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_floors_beyond_the_budget_are_one() {
        let config = Config::default();
        assert_eq!(config.problems(), []);
        assert_eq!(config.floors_problem([Some(60), None, Some(4)]), None);
        let problem = config.floors_problem([Some(60), Some(5)]).unwrap();
        assert!(problem.contains("65") && problem.contains("pool.budget"), "{problem}");
        let bad = Config { budget: 1, tenant_max: 9, waiting_max: 0, ..config };
        let keys: Vec<_> = bad.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["pool.budget", "pool.tenant_max", "pool.waiting_max"]);
    }
}
