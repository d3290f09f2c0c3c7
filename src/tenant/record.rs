//! One tenant: the value in which the two lines meet.

use std::{fmt, sync::OnceLock};

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::{Announcement, CorsPolicy, Database, Epoch, HostName, OriginPattern, TenantId, TenantLimits};

/// What a tenant may do now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Requests pass.
    #[default]
    Active,
    /// 503 and Retry-After: back soon, as during a migration. Tickets stay good.
    Paused,
    /// 403, tickets dead.
    Suspended,
}

impl Status {
    /// The lower-case word used in tables, JSON and the registry.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
        }
    }

    /// The status of that word.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Suspended].into_iter().find(|status| status.as_str() == word)
    }
}

/// SHA-256 of a key of 256 random bits: it needs no salt, since nothing can be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash(pub(crate) [u8; 32]);

impl KeyHash {
    /// The hash of a key as the caller presents it.
    pub(crate) fn of(key: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// A key with which callers that are no browser page name the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantKey {
    /// What the operator calls it, unique within the tenant.
    pub(crate) name: String,
    /// The key itself was shown once and is stored nowhere.
    pub(crate) hash: KeyHash,
    /// When it was made, seconds since the Unix epoch.
    pub(crate) created_unix_s: i64,
}

/// Made from other fields on first use. A clone begins without it, since clones are made to be changed.
#[derive(Debug)]
pub(super) struct Made<T>(OnceLock<T>);

impl<T> Default for Made<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Clone for Made<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// One customer: who calls for it, where its data is, what it may use.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    /// Its name everywhere.
    pub(crate) id: TenantId,
    /// The origins of its front ends.
    pub(crate) origins: Vec<OriginPattern>,
    /// The hosts that are its own, such as `api.acme.example`.
    pub(crate) hosts: Vec<HostName>,
    /// Its database; without one it gets no ticket.
    pub(crate) database: Option<Database>,
    /// The backend that serves it; `None` takes the host's, or the only one.
    pub(crate) backend: Option<String>,
    /// Active, paused or suspended.
    pub(crate) status: Status,
    /// Ends its tickets when it changes.
    pub(crate) epoch: Epoch,
    /// Its own CORS policy; `None` takes the default.
    pub(crate) cors: Option<CorsPolicy>,
    /// Its own limits.
    pub(crate) limits: TenantLimits,
    /// Keys for callers that are no browser page.
    pub(crate) keys: Vec<TenantKey>,
    /// Declared as `[[tenant]]` in the configuration, and so not to be edited by the CLI.
    pub(crate) declared: bool,
    /// The database URL of the default ticket mode, made once: it is stable for the epoch's life.
    pub(super) url: OnceLock<HeaderValue>,
    /// Its own CORS policy as header values, made once.
    pub(super) announcement: Made<Announcement>,
    /// Its id as a header value, made once.
    pub(super) id_header: Made<HeaderValue>,
}

impl Tenant {
    /// An active tenant with nothing but a name and a fresh epoch.
    pub(crate) fn new(id: TenantId) -> Self {
        Self {
            id,
            origins: Vec::new(),
            hosts: Vec::new(),
            database: None,
            backend: None,
            status: Status::Active,
            epoch: Epoch::random(),
            cors: None,
            limits: TenantLimits::default(),
            keys: Vec::new(),
            declared: false,
            url: OnceLock::new(),
            announcement: Made::default(),
            id_header: Made::default(),
        }
    }

    /// Its own CORS policy as header values; `None` when it takes the default.
    pub(crate) fn announcement(&self) -> Option<&Announcement> {
        let policy = self.cors.as_ref()?;
        Some(self.announcement.0.get_or_init(|| policy.announcement()))
    }

    /// Its id as a header value. Ids are letters, digits and hyphens, so this cannot fail.
    pub(crate) fn id_header(&self) -> &HeaderValue {
        let make = || HeaderValue::from_str(self.id.as_str()).unwrap_or(HeaderValue::from_static("-"));
        self.id_header.0.get_or_init(make)
    }

    /// End every ticket issued so far: a new epoch, and no remembered URL.
    pub(crate) fn end_tickets(&mut self) {
        self.epoch = Epoch::random();
        self.url = OnceLock::new();
    }

    /// Same in everything that is of record? The remembered URL is not.
    pub(super) fn same_record(&self, other: &Self) -> bool {
        let Self {
            id,
            origins,
            hosts,
            database,
            backend,
            status,
            epoch,
            cors,
            limits,
            keys,
            declared,
            url: _,
            announcement: _,
            id_header: _,
        } = self;
        (id, origins, hosts, database, backend, status)
            == (&other.id, &other.origins, &other.hosts, &other.database, &other.backend, &other.status)
            && (epoch, cors, limits, keys, declared)
                == (&other.epoch, &other.cors, &other.limits, &other.keys, &other.declared)
    }
}
