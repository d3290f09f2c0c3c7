//! The settings that `add` and `set` have in common: limits and the CORS policy.

use crate::{
    cli::Failure,
    tenant::{CorsPolicy, TenantLimits},
};

/// Limits and policy of a tenant where they differ from the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Policy {
    /// Requests in flight at a time
    #[arg(long, value_name = "N")]
    in_flight_max: Option<u32>,
    /// Requests per second, averaged
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// Open database connections at a time
    #[arg(long, value_name = "N")]
    connections_max: Option<u32>,
    /// Database connections reserved for this tenant
    #[arg(long, value_name = "N")]
    connections_min: Option<u32>,
    /// A CORS policy of its own, as JSON; what is left out is as built in
    #[arg(long, value_name = "JSON")]
    cors: Option<String>,
}

impl Policy {
    /// The limits; those not given stay as they are.
    pub(super) fn limits(&self) -> TenantLimits {
        TenantLimits {
            in_flight_max: self.in_flight_max,
            requests_per_second: self.requests_per_second,
            connections_max: self.connections_max,
            connections_min: self.connections_min,
        }
    }

    /// The policy.
    pub(super) fn cors(&self) -> Result<Option<CorsPolicy>, Failure> {
        let Some(text) = &self.cors else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            Failure::usage(format!("`--cors` cannot be read: {error}"))
                .hint("write it like `--cors '{\"credentials\": true, \"headers\": [\"content-type\"]}'`")
        })
    }
}
