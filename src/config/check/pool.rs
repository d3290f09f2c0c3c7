//! Checks of the pools' numbers and of the doors.

use super::Check;

/// A writer and a reader, and the two that are kept for tenants that hold none.
const BUDGET_LEAST: u32 = 4;

impl Check<'_> {
    pub(super) fn pool(&mut self) {
        let pool = &self.config.pool;
        let budget: &[&str] = &["pool", "budget"];
        if (1..BUDGET_LEAST).contains(&pool.budget) {
            let message =
                "too small: a tenant needs a writer and a reader, and 2 are kept for those that hold none";
            self.problem(budget, message, format!("write {BUDGET_LEAST} or more; 64 is the default"));
        }
        if pool.tenant_max > pool.budget {
            let message = format!("more than the whole budget of {}", pool.budget);
            let remedy = "make it smaller than `pool.budget`, or 0 for a quarter of it";
            self.contradiction(&["pool", "tenant_max"], &[budget], message, remedy);
        }
        if pool.tenant_max == 1 {
            let message = "too small: a tenant needs a writer and a reader";
            self.problem(
                &["pool", "tenant_max"],
                message,
                "write 2 or more, or 0 for a quarter of the budget",
            );
        }
        if pool.tenant_max != 0 && pool.tenant_min > pool.tenant_max {
            let message = format!("the floor is above `pool.tenant_max` = {}", pool.tenant_max);
            self.contradiction(
                &["pool", "tenant_min"],
                &[&["pool", "tenant_max"]],
                message,
                "make it smaller",
            );
        }
        self.floors();
        if pool.statement_timeout > pool.transaction_timeout {
            let message = "longer than `pool.transaction_timeout`: it could never be reached";
            let also: &[&str] = &["pool", "transaction_timeout"];
            self.contradiction(
                &["pool", "statement_timeout"],
                &[also],
                message,
                "make it shorter, or the other longer",
            );
        }
        if pool.wait_timeout > self.config.edge.limits.first_byte_timeout {
            let message = "longer than `edge.limits.first_byte_timeout`: the caller has its error before";
            self.warn(&["pool", "wait_timeout"], message, "make it shorter");
        }
    }

    /// What is reserved must be there.
    fn floors(&mut self) {
        let config = self.config;
        let floor = |own: Option<u32>| u64::from(own.unwrap_or(config.pool.tenant_min));
        let tenants = config.tenant.iter().filter(|t| t.database.is_some() || t.database_file.is_some());
        let sum: u64 = tenants.map(|tenant| floor(tenant.limits.connections_min)).sum();
        if sum.max(u64::from(config.pool.tenant_min)) > u64::from(config.pool.budget) {
            let message = format!(
                "the floors add up to {}, more than the budget of {}",
                sum.max(u64::from(config.pool.tenant_min)),
                config.pool.budget
            );
            let remedy = "raise `pool.budget`, or lower `pool.tenant_min` and the tenants' `connections_min`";
            self.contradiction(&["pool", "budget"], &[&["pool", "tenant_min"]], message, remedy);
        }
        for (index, tenant) in config.tenant.iter().enumerate() {
            let index = index.to_string();
            let (most, least) = (tenant.limits.connections_max, tenant.limits.connections_min);
            let key = |last| ["tenant", index.as_str(), "limits", last];
            if most.is_some_and(|most| most > config.pool.budget) {
                let message = format!("more than the whole budget of {}", config.pool.budget);
                let also: &[&str] = &["pool", "budget"];
                self.contradiction(
                    &key("connections_max"),
                    &[also],
                    message,
                    "make it smaller than `pool.budget`",
                );
            }
            if let (Some(most), Some(least)) = (most, least)
                && least > most
            {
                let message = format!("the floor is above `connections_max` = {most}");
                self.contradiction(
                    &key("connections_min"),
                    &[&key("connections_max")],
                    message,
                    "make it smaller",
                );
            }
        }
    }

    pub(super) fn doors(&mut self) {
        if !self.config.door.sqlite.listen.ip().to_canonical().is_loopback() {
            let message = "a door is for this machine's backend alone";
            let remedy = "use a loopback address, such as \"127.0.0.1:0\" (0 takes a free port)";
            self.problem(&["door", "sqlite", "listen"], message, remedy);
        }
    }
}
