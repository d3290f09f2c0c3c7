//! What a tenant's front ends may do across origins: the policy that preflights announce.

use http::HeaderValue;
use serde::{Deserialize, Serialize};

/// A CORS policy. Lists hold exact, case-insensitive names; `*` can not be configured together with
/// credentials, in no list (Fetch standard, 3.2.5: a browser would read it as the literal name `*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CorsPolicy {
    /// Methods a preflight allows.
    pub(crate) methods: Vec<String>,
    /// Request headers a preflight allows.
    pub(crate) headers: Vec<String>,
    /// Response headers that scripts may read.
    pub(crate) exposed_headers: Vec<String>,
    /// May requests carry cookies and HTTP authentication?
    pub(crate) credentials: bool,
    /// How long browsers may remember a preflight.
    #[serde(with = "humantime_serde")]
    pub(crate) max_age: std::time::Duration,
}

impl Default for CorsPolicy {
    fn default() -> Self {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        Self {
            methods: words(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            headers: words(&["authorization", "content-type", "x-requested-with"]),
            exposed_headers: words(&["x-request-id"]),
            credentials: false,
            // Chromium caps at two hours, Firefox at a day; ten minutes lets a policy change be seen soon.
            max_age: std::time::Duration::from_secs(600),
        }
    }
}

/// A policy as the header values that announce it.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    /// `Access-Control-Allow-Methods`.
    pub(crate) methods: Option<HeaderValue>,
    /// `Access-Control-Allow-Headers`.
    pub(crate) headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`.
    pub(crate) exposed_headers: Option<HeaderValue>,
    /// `Access-Control-Allow-Credentials`?
    pub(crate) credentials: bool,
    /// `Access-Control-Max-Age`.
    pub(crate) max_age: HeaderValue,
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CorsProblem {
    /// `*` and credentials.
    #[error("`*` in `{list}` cannot go together with `credentials = true`: list the names")]
    StarWithCredentials {
        /// The offending list's key.
        list: &'static str,
    },
    /// Not an HTTP token.
    #[error("`{value}` in `{list}` is no HTTP name")]
    NoToken {
        /// The offending list's key.
        list: &'static str,
        /// The offending entry.
        value: String,
    },
}

impl CorsPolicy {
    /// Every problem of this policy.
    pub(crate) fn problems(&self) -> Vec<CorsProblem> {
        let lists = [
            ("methods", &self.methods),
            ("headers", &self.headers),
            ("exposed_headers", &self.exposed_headers),
        ];
        let mut problems = Vec::new();
        for (list, values) in lists {
            for value in values {
                if value == "*" && self.credentials {
                    problems.push(CorsProblem::StarWithCredentials { list });
                } else if http::Method::from_bytes(value.as_bytes()).is_err() {
                    // A method and a header name are the same production: RFC 9110 5.6.2 `token`.
                    problems.push(CorsProblem::NoToken { list, value: value.clone() });
                }
            }
        }
        problems
    }

    /// Would a browser that asks for this method go on? (Fetch standard, CORS-preflight fetch, step 7.)
    pub(crate) fn allows_method(&self, method: &str) -> bool {
        matches!(method, "GET" | "HEAD" | "POST")
            || self.methods.iter().any(|allowed| allowed == method || allowed == "*")
    }

    /// Would a browser that asks for this request header go on? (`Authorization` is never covered by `*`.)
    pub(crate) fn allows_header(&self, header: &str) -> bool {
        self.headers.iter().any(|allowed| {
            allowed.eq_ignore_ascii_case(header)
                || (allowed == "*" && !header.eq_ignore_ascii_case("authorization"))
        })
    }

    /// This policy as header values, made once so that answers only clone them.
    pub(crate) fn announcement(&self) -> Announcement {
        Announcement {
            methods: Self::joined(&self.methods),
            headers: Self::joined(&self.headers),
            exposed_headers: Self::joined(&self.exposed_headers),
            credentials: self.credentials,
            max_age: HeaderValue::from(self.max_age.as_secs()),
        }
    }

    /// A list as a header value, or none when empty. The entries are tokens, so this cannot fail.
    pub(crate) fn joined(list: &[String]) -> Option<HeaderValue> {
        (!list.is_empty()).then(|| HeaderValue::from_str(&list.join(", ")).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_together_with_credentials_is_a_problem_in_every_list() {
        let star = || vec!["*".to_owned()];
        let with = |change: fn(&mut CorsPolicy, Vec<String>), credentials| {
            let mut policy = CorsPolicy { credentials, ..CorsPolicy::default() };
            change(&mut policy, star());
            policy.problems().len()
        };
        let lists: [fn(&mut CorsPolicy, Vec<String>); 3] =
            [|p, v| p.methods = v, |p, v| p.headers = v, |p, v| p.exposed_headers = v];
        for change in lists {
            assert_eq!((with(change, true), with(change, false)), (1, 0));
        }
    }

    #[test]
    fn names_that_are_no_tokens_are_problems() {
        let policy =
            CorsPolicy { headers: vec!["a b".into(), "x:y".into(), "".into()], ..Default::default() };
        assert_eq!(policy.problems().len(), 3);
    }
}
