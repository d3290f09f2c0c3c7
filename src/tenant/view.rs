//! A tenant as the operator may see it, in tables and JSON. It must never hold a secret: no URL with a password,
//! no key, no hash.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CorsPolicy, HostName, OriginPattern, Status, Tenant, TenantId, TenantLimits};

/// One tenant, for `list`, `show` and `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantView {
    /// Its name.
    pub(crate) id: TenantId,
    /// Active, paused or suspended.
    pub(crate) status: Status,
    /// The origins of its front ends.
    pub(crate) origins: Vec<OriginPattern>,
    /// Hosts of its own.
    pub(crate) hosts: Vec<HostName>,
    /// Its database, without user and password.
    pub(crate) database: Option<String>,
    /// The backend it names.
    pub(crate) backend: Option<String>,
    /// Its own CORS policy.
    pub(crate) cors: Option<CorsPolicy>,
    /// Its own limits.
    pub(crate) limits: TenantLimits,
    /// Its keys, by name.
    pub(crate) keys: Vec<KeyView>,
    /// Does the configuration file declare it?
    pub(crate) declared: bool,
}

/// A key, without anything that opens or proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyView {
    /// What the operator calls it.
    pub(crate) name: String,
    /// When it was made.
    pub(crate) created: Timestamp,
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        let key = |key: &super::TenantKey| KeyView {
            name: key.name.clone(),
            created: Timestamp::from_second(key.created_unix_s).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        Self {
            id: tenant.id.clone(),
            status: tenant.status,
            origins: tenant.origins.clone(),
            hosts: tenant.hosts.clone(),
            database: tenant.database.as_ref().map(ToString::to_string),
            backend: tenant.backend.clone(),
            cors: tenant.cors.clone(),
            limits: tenant.limits.clone(),
            keys: tenant.keys.iter().map(key).collect(),
            declared: tenant.declared,
        }
    }
}
