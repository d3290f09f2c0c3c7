//! How the admin API says no: `application/problem+json` (RFC 9457) with a stable code and, where there is
//! one, the remedy. Operators read it, so it may name files and users, but never a secret.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::error::{Fault, Kind};

/// The code of an order that needs a running gateway.
pub(crate) const NOT_RUNNING: &str = "gateway-not-running";

/// The code of a caller who may not give orders.
pub(crate) const NOT_PERMITTED: &str = "not-permitted";

/// One refusal or failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// The status code once more, as RFC 9457 has it.
    pub(crate) status: u16,
    /// A short summary: the status's own words.
    pub(crate) title: String,
    /// A stable word for scripts.
    pub(crate) code: String,
    /// What happened, in one lower-case sentence.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub(crate) fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        Self {
            status,
            title: title.unwrap_or("Error").to_owned(),
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
        }
    }

    /// The same with a remedy.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An order that only a running gateway can carry out.
    pub(crate) fn not_running(what: &str) -> Self {
        Self::new(503, NOT_RUNNING, format!("the gateway is not running, and {what} needs it"))
            .hint("start it with `gateway run`")
    }

    /// A failure of this machine: disk, permissions.
    pub(crate) fn machine(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::new(500, "machine", format!("cannot {what}: {error}"))
    }

    /// Whatever a room reports. Everybody who may read this is an operator, so the text is whole.
    pub(crate) fn of(fault: &impl Fault) -> Self {
        let status = match (fault.code(), fault.kind()) {
            ("tenant-unknown" | "key-unknown" | "job-unknown", _) => 404,
            (
                "tenant-exists"
                | "tenant-conflict"
                | "tenant-declared"
                | "key-exists"
                | "backend-deploy-held"
                | "backend-gave-way",
                _,
            ) => 409,
            ("disk-full", _) => 507,
            (_, Kind::Client) => 422,
            (_, Kind::Tenant) => 409,
            (_, Kind::Backend | Kind::Database) => 502,
            (_, Kind::Operator | Kind::Gateway) => 500,
        };
        let mut detail = fault.to_string();
        let mut cause = std::error::Error::source(fault);
        while let Some(error) = cause {
            let text = error.to_string();
            // Transparent and well-meaning wrappers repeat what they wrap.
            if !detail.contains(&text) {
                detail = format!("{detail}: {text}");
            }
            cause = error.source();
        }
        // Where a text ends in its remedy, the remedy gets a line of its own on the terminal.
        let remedy = match fault.code() {
            "tenant-unknown" | "tenant-exists" | "key-exists" | "key-unknown" | "database-url-invalid" => {
                "; "
            }
            "tenant-declared" => ": ",
            _ => "\nhint: ",
        };
        let (detail, hint) = match detail.split_once(remedy) {
            Some((detail, hint)) => (detail.to_owned(), Some(hint.to_owned())),
            None => (detail, None),
        };
        Self { hint, ..Self::new(status, fault.code(), detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        // The audit line takes the code from here, so that it need not read bodies.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Audience;

    #[derive(Debug, thiserror::Error)]
    #[error("the file is no database\nhint: restore it")]
    struct Broken(#[source] std::io::Error);

    impl Fault for Broken {
        fn kind(&self) -> Kind {
            Kind::Database
        }
        fn audience(&self) -> Audience {
            Audience::Operator
        }
        fn code(&self) -> &'static str {
            "broken"
        }
    }

    #[test]
    fn a_fault_becomes_a_status_by_who_is_to_blame_with_its_code_and_hint() {
        #[derive(Debug, thiserror::Error)]
        #[error("plain")]
        struct Plain(Kind);
        impl Fault for Plain {
            fn kind(&self) -> Kind {
                self.0
            }
            fn audience(&self) -> Audience {
                Audience::Anyone
            }
            fn code(&self) -> &'static str {
                "plain"
            }
        }
        for (kind, status) in [
            (Kind::Client, 422),
            (Kind::Tenant, 409),
            (Kind::Backend, 502),
            (Kind::Database, 502),
            (Kind::Operator, 500),
            (Kind::Gateway, 500),
        ] {
            let problem = Problem::of(&Plain(kind));
            assert_eq!((problem.status, problem.code.as_str()), (status, "plain"));
        }
        let problem = Problem::of(&Broken(std::io::Error::other("it is")));
        assert_eq!(problem.detail, "the file is no database");
        assert_eq!(problem.hint.as_deref(), Some("restore it: it is"));
    }

    #[test]
    fn the_registrys_remedies_become_hints() {
        use crate::tenant::{Conflict, Database, TenantError, TenantId};
        let id = || "acme".parse::<TenantId>().unwrap();
        let database = |url: &str| {
            let problem = url.parse::<Database>().unwrap_err();
            TenantError::Database { id: id(), problem }
        };
        for (error, status, hint) in [
            (TenantError::Unknown { id: id(), near: None }, 404, "gateway tenant list"),
            (TenantError::Unknown { id: id(), near: "acne".parse().ok() }, 404, "did you mean `acne`?"),
            (TenantError::Exists(id()), 409, "gateway tenant set acme"),
            (TenantError::Declared(id()), 409, "gateway reload"),
            (TenantError::OwnFile(id()), 422, "name another file"),
            (database("postgres://u:p@h/d"), 422, "sqlite://acme.db"),
            (database("redis://h"), 422, "use `sqlite://"),
            (database("sqlite://a.db?mode=ro"), 422, "drop `?`"),
            (database("sqlite://../a.db"), 422, "without `..`"),
            (database("sqlite://:memory:"), 422, "name a file"),
            (database("acme.db"), 422, "write it like"),
            (TenantError::Conflicts(vec![Conflict::Id(id())]), 409, "`[[tenant]]`"),
        ] {
            let problem = Problem::of(&error);
            assert_eq!(problem.status, status);
            assert!(problem.hint.as_deref().is_some_and(|text| text.contains(hint)), "{problem:?}");
            assert!(!problem.detail.contains(hint), "{problem:?}");
        }
    }

    #[tokio::test]
    async fn a_problem_is_problem_json_and_reads_back() {
        use http_body_util::BodyExt;
        let unknown = crate::tenant::TenantError::Unknown { id: "acme".parse().unwrap(), near: None };
        let problem = Problem::of(&unknown);
        let response = problem.clone().into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["code"], "tenant-unknown");
        assert_eq!(serde_json::from_slice::<Problem>(&body).unwrap(), problem);
    }
}
