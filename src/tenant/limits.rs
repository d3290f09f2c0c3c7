//! How much of the machine one tenant, and one client of it, may use.

use serde::{Deserialize, Serialize};

/// Limits of a tenant where they differ from the defaults in `[edge.admit]` and `[pool]`; `None` takes the
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TenantLimits {
    /// Requests in flight at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight_max: Option<u32>,
    /// Requests per second, averaged; bursts of twice as many pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_second: Option<u32>,
    /// Open database connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_max: Option<u32>,
    /// Database connections reserved for this tenant alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_min: Option<u32>,
}

impl TenantLimits {
    /// Is every limit the default's?
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
