//! Checks of the pools' numbers and of the doors.

use super::Check;

impl Check<'_> {
    pub(super) fn pool(&mut self) {
        let pool = &self.config.pool;
        // The room knows its own numbers; those of zero have been reported already.
        for (key, needs) in pool.problems() {
            let parts: Vec<&str> = key.split('.').collect();
            if !self.problems.iter().any(|problem| problem.key == key) {
                let because_of: &[&[&str]] = &[&["pool", "budget"], &["pool", "tenant_max"]];
                self.contradiction(
                    &parts,
                    because_of,
                    "the pools cannot work with this",
                    format!("write {needs}"),
                );
            }
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
        let tenants = config.tenant.iter().filter(|tenant| tenant.database.is_some());
        let floors = tenants.map(|tenant| tenant.limits.connections_min);
        if let Some(problem) = config.pool.floors_problem(floors) {
            let (message, remedy) = problem.split_once("; ").unwrap_or((&problem, "raise the budget"));
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
