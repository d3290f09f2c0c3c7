//! Every reason for which a request gets an answer of our own. It says who is to blame and what the caller may
//! read; how the answer looks is `rescue`'s business alone.

use http::StatusCode;

use crate::{
    error::{Audience, Fault, Kind},
    tenant::TenantId,
};

/// Why a request was not passed on, or why nothing usable came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No Host, or nothing that is a host.
    #[error("the request names no valid host")]
    HostInvalid,
    /// `Host` or `Origin` twice: two readers could take two different ones.
    #[error("the header `{0}` may stand in a request only once")]
    HeaderTwice(&'static str),
    /// A head that could be read in two ways.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// `Expect` with anything but `100-continue`.
    #[error("the expectation is not one that can be met here")]
    ExpectationUnknown,
    /// More or larger headers than configured.
    #[error("the request's headers are too large")]
    HeadersTooLarge,
    /// A head that did not end in time.
    #[error("the request's headers did not arrive in time")]
    HeadersSlow,
    /// A larger body than configured.
    #[error("the request's body is larger than {bytes_max} bytes")]
    BodyTooLarge {
        /// `limits.body_bytes_max`.
        bytes_max: u64,
    },
    /// The client stopped sending in the middle of the body.
    #[error("the request's body did not arrive in time")]
    BodyStalled,
    /// The client's body broke off or was malformed.
    #[error("the request's body broke off")]
    BodyBroken,
    /// A host that nobody here owns.
    #[error("this host is not served here")]
    HostNotServed,
    /// `Origin: null`: sandboxed frames, files, redirects across origins.
    #[error("pages without an origin (`null`) are not admitted")]
    OriginNull,
    /// An origin in nobody's whitelist.
    #[error("this origin is not listed")]
    OriginNotListed,
    /// No origin on a shared host, and `no_origin = "refuse"`.
    #[error("requests without an origin are not admitted on this host")]
    OriginRequired,
    /// Two parts of the request name two different tenants.
    #[error("the origin or key and the host belong to two different tenants")]
    TenantsDiffer,
    /// `x-gateway-key` that opens nothing.
    #[error("the key is not valid")]
    KeyInvalid,
    /// An open path that names nobody.
    #[error("the request names no tenant that exists")]
    TenantUnknown,
    /// Suspended.
    #[error("this account is suspended")]
    Suspended(TenantId),
    /// Paused.
    #[error("this account is paused for maintenance; try again soon")]
    Paused(TenantId),
    /// More requests per second than allowed.
    #[error("too many requests; slow down")]
    TooFast {
        /// When one more would pass.
        retry_after_s: u64,
    },
    /// More requests in flight than allowed.
    #[error("too many requests at once")]
    TooMany,
    /// Nothing of a site is there.
    #[error("there is nothing at this address")]
    NotFound,
    /// A method that this address does not take.
    #[error("this address takes {allow} alone")]
    MethodNotAllowed {
        /// Those it takes.
        allow: &'static str,
    },
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    #[error("the file has changed")]
    PreconditionFailed,
    /// A range beyond the file's end.
    #[error("the file has only {bytes} bytes")]
    RangeNotSatisfiable {
        /// How long it is.
        bytes: u64,
    },
    /// A site's file cannot be read.
    #[error("a site's file: {0}")]
    FileFailed(String),
    /// Several backends, and nothing says which.
    #[error("no backend is configured for this host")]
    NoBackend,
    /// No worker got ready in time, or too many requests wait for one already.
    #[error("the application is not ready; try again soon")]
    NoWorker,
    /// The operator has stopped the backend.
    #[error("the application has been stopped for maintenance; try again later")]
    BackendStopped,
    /// No file descriptor is left for a connection to a worker.
    #[error("out of file descriptors (raise LimitNOFILE)")]
    NoDescriptor,
    /// A worker took the request and gave no usable answer.
    #[error("the application failed to answer: {0}")]
    WorkerFailed(String),
    /// A worker did not begin its answer in time.
    #[error("the application did not answer in time")]
    WorkerSlow,
}

impl Refusal {
    /// The answer's status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::HostInvalid | Self::HeaderTwice(_) | Self::Malformed(_) | Self::BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            Self::ExpectationUnknown => StatusCode::EXPECTATION_FAILED,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersSlow | Self::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Self::HostNotServed => StatusCode::MISDIRECTED_REQUEST,
            Self::OriginNull
            | Self::OriginNotListed
            | Self::OriginRequired
            | Self::TenantsDiffer
            | Self::Suspended(_) => StatusCode::FORBIDDEN,
            Self::KeyInvalid => StatusCode::UNAUTHORIZED,
            Self::TenantUnknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::FileFailed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooFast { .. } | Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Paused(_)
            | Self::NoBackend
            | Self::NoWorker
            | Self::NoDescriptor
            | Self::BackendStopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::WorkerFailed(_) => StatusCode::BAD_GATEWAY,
            Self::WorkerSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Does an HTTP/1 connection end with it? Where this request ends is not what its sender thinks, or its sender
    /// speaks no HTTP: what follows could be a part of it.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::HostInvalid
                | Self::HeaderTwice(_)
                | Self::Malformed(_)
                | Self::ExpectationUnknown
                | Self::HeadersTooLarge
                | Self::BodyStalled
                | Self::BodyBroken
        )
    }

    /// `Retry-After`, where trying again makes sense.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooFast { retry_after_s } => Some(*retry_after_s),
            // Requests end within seconds, and a worker starts within seconds.
            Self::TooMany | Self::NoWorker | Self::NoDescriptor => Some(1),
            // A migration takes longer; five seconds keep a thousand waiting pages at 200 requests a second.
            Self::Paused(_) => Some(5),
            // Somebody has to give an order first.
            Self::BackendStopped => Some(30),
            _ => None,
        }
    }
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match self {
            Self::Suspended(_) | Self::Paused(_) | Self::TooFast { .. } | Self::TooMany => Kind::Tenant,
            Self::NoBackend | Self::FileFailed(_) | Self::NoDescriptor => Kind::Operator,
            Self::NoWorker | Self::BackendStopped | Self::WorkerFailed(_) | Self::WorkerSlow => Kind::Backend,
            _ => Kind::Client,
        }
    }

    fn audience(&self) -> Audience {
        match self {
            Self::WorkerFailed(_) | Self::FileFailed(_) | Self::NoDescriptor => Audience::Operator,
            _ => Audience::Anyone,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::HostInvalid => "host-invalid",
            Self::HeaderTwice(_) => "header-twice",
            Self::Malformed(_) => "malformed",
            Self::ExpectationUnknown => "expectation-unknown",
            Self::HeadersTooLarge => "headers-too-large",
            Self::HeadersSlow => "headers-slow",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::BodyStalled => "body-stalled",
            Self::BodyBroken => "body-broken",
            Self::HostNotServed => "host-not-served",
            Self::OriginNull => "origin-null",
            Self::OriginNotListed => "origin-not-listed",
            Self::OriginRequired => "origin-required",
            Self::TenantsDiffer => "tenants-differ",
            Self::KeyInvalid => "key-invalid",
            Self::TenantUnknown => "tenant-unknown",
            Self::Suspended(_) => "tenant-suspended",
            Self::Paused(_) => "tenant-paused",
            Self::TooFast { .. } => "too-many-requests",
            Self::TooMany => "too-many-in-flight",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::PreconditionFailed => "precondition-failed",
            Self::RangeNotSatisfiable { .. } => "range-not-satisfiable",
            Self::FileFailed(_) => "file-failed",
            Self::NoBackend => "no-backend",
            Self::NoWorker => "no-worker",
            Self::BackendStopped => "backend-stopped",
            Self::NoDescriptor => "no-descriptor",
            Self::WorkerFailed(_) => "worker-failed",
            Self::WorkerSlow => "worker-slow",
        }
    }
}
