//! May this tenant be served now? Asked only after `cors`, so that the front end can read the answer.

use crate::tenant::{Status, Tenant};

use super::refusal::Refusal;

/// Suspended and paused tenants end here.
pub(crate) fn check(tenant: Option<&Tenant>) -> Result<(), Refusal> {
    let Some(tenant) = tenant else { return Ok(()) };
    match tenant.status {
        Status::Active => Ok(()),
        Status::Paused => Err(Refusal::Paused(tenant.id.clone())),
        Status::Suspended => Err(Refusal::Suspended(tenant.id.clone())),
    }
}
