//! Which tenants a command means, and the verdict each of them gets.

use std::collections::BTreeSet;

use crate::{
    cli::{Client, Failure, out},
    tenant::{TenantId, TenantView},
};

/// Keep the named tenants, in the registry's order, or all of them; only those with a database count.
pub(super) async fn select(client: &Client, ids: &[TenantId], all: bool) -> Result<Vec<TenantId>, Failure> {
    choose(&super::all(client).await?, ids, all)
}

fn choose(tenants: &[TenantView], ids: &[TenantId], all: bool) -> Result<Vec<TenantId>, Failure> {
    if all {
        let with_database = tenants.iter().filter(|tenant| tenant.database.is_some());
        return Ok(with_database.map(|tenant| tenant.id.clone()).collect());
    }
    // Every wrong name at once, before anything has begun.
    let wanted: BTreeSet<_> = ids.iter().collect();
    let unknown: Vec<_> =
        wanted.iter().filter(|id| !tenants.iter().any(|tenant| tenant.id == ***id)).collect();
    if unknown.is_empty() {
        return Ok(wanted.into_iter().cloned().collect());
    }
    let names: Vec<_> = unknown.iter().map(|id| format!("`{id}`")).collect();
    Err(Failure::failed(format!("there is no tenant {}", names.join(", ")))
        .hint("`gateway tenant list` shows all of them"))
}

/// What became of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Verdict {
    /// Which.
    pub(super) tenant: TenantId,
    /// Did it go well?
    pub(super) good: bool,
    /// What was done, or why not.
    pub(super) detail: String,
}

impl Verdict {
    /// `✓ navaja: 2 applied`.
    pub(super) fn line(&self) -> String {
        format!("{} {}: {}", if self.good { '✓' } else { '✗' }, self.tenant, self.detail)
    }
}

/// The last line, and the exit code: one tenant that failed is a failed order.
pub(super) fn conclude(verdicts: &[Verdict], form: out::Form) -> Result<(), Failure> {
    let failed = verdicts.iter().filter(|verdict| !verdict.good).count();
    if form.json {
        out::json(&verdicts)?;
    } else {
        out::line(format!("{} of {} tenants done, {failed} failed", verdicts.len() - failed, verdicts.len()));
    }
    if failed == 0 { Ok(()) } else { Err(Failure::told()) }
}
