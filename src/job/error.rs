//! Why an order to a job is not carried out. Operators read it.

use crate::{
    error::{Audience, Fault, Kind, names_shown_by},
    tenant::TenantId,
};

/// A refused order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// There is no such job.
    #[error("there is no job `{name}`\nhint: {}", names_shown_by("gateway job list", .near.as_deref()))]
    Unknown {
        /// What the order named.
        name: String,
        /// What it may have meant.
        near: Option<String>,
    },
    /// Its backend does not run here.
    #[error("job `{job}` has no backend that runs: {reason}")]
    Backend {
        /// The job.
        job: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no runs.
    #[error(
        "job `{0}` runs always\nhint: `gateway status` shows how it is, `gateway logs --worker job/{0}` what it writes"
    )]
    Always(String),
    /// One run at a time.
    #[error("run {number} of job `{job}` is under way\nhint: wait for its end; `gateway job list` shows it")]
    UnderWay {
        /// The job.
        job: String,
        /// The run.
        number: u64,
    },
    /// A tenant was named.
    #[error("job `{0}` is not run per tenant\nhint: give it `each = \"tenant\"`, or leave `--tenant` out")]
    NotEach(String),
    /// There is no such tenant.
    #[error("there is no tenant `{0}`; `gateway tenant list` shows all of them")]
    TenantUnknown(TenantId),
    /// Its work rests.
    #[error("tenant `{tenant}` is {status}: no job runs for it\nhint: `gateway tenant resume {tenant}`")]
    TenantNotActive {
        /// The tenant.
        tenant: TenantId,
        /// `paused` or `suspended`.
        status: &'static str,
    },
    /// Another backend serves it.
    #[error("tenant `{tenant}` is served by another backend than job `{job}` is for")]
    TenantElsewhere {
        /// The tenant.
        tenant: TenantId,
        /// The job.
        job: String,
    },
    /// Nothing is there to be ended.
    #[error("no run of job `{0}` is under way\nhint: `gateway job show {0}` shows the last ones")]
    Idle(String),
    /// No run begins any more.
    #[error("job `{0}` is ending")]
    Ending(String),
}

impl Fault for JobError {
    fn kind(&self) -> Kind {
        match self {
            Self::Always(_) | Self::NotEach(_) => Kind::Client,
            Self::TenantNotActive { .. } | Self::TenantElsewhere { .. } | Self::UnderWay { .. } => {
                Kind::Tenant
            }
            _ => Kind::Operator,
        }
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "job-unknown",
            Self::Backend { .. } => "job-backend",
            Self::Always(_) => "job-always",
            Self::UnderWay { .. } => "job-under-way",
            Self::NotEach(_) => "job-not-each",
            Self::Idle(_) => "job-idle",
            Self::TenantUnknown(_) => "tenant-unknown",
            Self::TenantNotActive { .. } => "tenant-not-active",
            Self::TenantElsewhere { .. } => "tenant-elsewhere",
            Self::Ending(_) => "job-ending",
        }
    }
}
