//! What an operator orders: a new tenant, a change to one, or the whole of one for `apply`. Plain data; what it
//! means is decided in `tenants`. Database URLs travel as [`DatabaseText`], which never prints itself.

use serde::{Deserialize, Serialize};

use super::{CorsPolicy, DatabaseText, HostName, OriginPattern, Status, TenantId, TenantLimits};

/// `gateway tenant add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// Its name.
    pub(crate) id: TenantId,
    /// The origins of its front ends.
    #[serde(default)]
    pub(crate) origins: Vec<OriginPattern>,
    /// Hosts of its own.
    #[serde(default)]
    pub(crate) hosts: Vec<HostName>,
    /// Its database URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<DatabaseText>,
    /// The backend that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// Its own CORS policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<CorsPolicy>,
    /// Its own limits.
    #[serde(default)]
    pub(crate) limits: TenantLimits,
}

/// `gateway tenant set`: what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Change {
    /// Origins to add.
    pub(crate) add_origins: Vec<OriginPattern>,
    /// Origins to take away.
    pub(crate) remove_origins: Vec<OriginPattern>,
    /// Hosts to add.
    pub(crate) add_hosts: Vec<HostName>,
    /// Hosts to take away.
    pub(crate) remove_hosts: Vec<HostName>,
    /// Another database. Its tickets change with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<DatabaseText>,
    /// Another backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// A whole policy of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<CorsPolicy>,
    /// Methods to allow besides its policy's; a tenant without one starts from the default policy.
    pub(crate) add_methods: Vec<String>,
    /// Request headers to allow besides its policy's; likewise.
    pub(crate) add_headers: Vec<String>,
    /// The limits to change; those left out stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<TenantLimits>,
    /// What goes back to the default, before all else.
    pub(crate) clear: Vec<Clear>,
}

/// What `set` can take away whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Clear {
    /// No database, and so no ticket.
    Database,
    /// The host's backend, or the only one.
    Backend,
    /// The default policy.
    Cors,
    /// The default limits.
    Limits,
}

/// The whole of a tenant, as `export` writes and `apply` reads it. Lists and settings left out are empty. Keys and
/// epoch are never in it; a database or status left out stays as it is, since an export may not hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantSpec {
    /// Its name.
    pub(crate) id: TenantId,
    /// The origins of its front ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) origins: Vec<OriginPattern>,
    /// Hosts of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<HostName>,
    /// Its database URL; exported only where it holds no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<DatabaseText>,
    /// The backend that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// Active, paused or suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status>,
    /// Its own limits.
    #[serde(default, skip_serializing_if = "TenantLimits::is_default")]
    pub(crate) limits: TenantLimits,
    /// Its own CORS policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<CorsPolicy>,
}

/// What `apply` or a reload's `[[tenant]]` tables did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyReport {
    /// New ones.
    pub(crate) added: Vec<TenantId>,
    /// Changed ones.
    pub(crate) changed: Vec<TenantId>,
    /// Those that were so already.
    pub(crate) unchanged: Vec<TenantId>,
    /// Removed ones. Their files stay.
    pub(crate) removed: Vec<TenantId>,
    /// Of the changed ones, those that an order had added and that the configuration declares now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) adopted: Vec<TenantId>,
}
