//! What holds below a path: `[[edge.path]]` laid over the limits of all. Looked up once a request, and handed to every
//! step that needs it; a path that may lead elsewhere (`/open/../private`) must never get the terms of a prefix.

use std::time::Duration;

use http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::tenant::HostName;

use super::{
    authority::Authority,
    config::{CacheRule, Limits},
    settings::is_plain,
};

/// `[[edge.path]]`: what differs below a path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathRule {
    /// The prefix.
    pub(crate) prefix: String,
    /// Only on this host.
    #[serde(default)]
    pub(crate) host: Option<HostName>,
    /// `shared`: public answers may be cached for all tenants alike.
    #[serde(default)]
    pub(crate) cache: CacheRule,
    /// Request body, bytes; instead of `edge.limits.body_bytes_max`.
    #[serde(default)]
    pub(crate) body_bytes_max: Option<u64>,
    /// Time for a worker to begin its answer; instead of `edge.limits.first_byte_timeout`.
    #[serde(default, with = "humantime_serde")]
    pub(crate) first_byte_timeout: Option<Duration>,
    /// A body without progress for this long is cut; instead of `edge.limits.body_idle_timeout`.
    #[serde(default, with = "humantime_serde")]
    pub(crate) body_idle_timeout: Option<Duration>,
    /// Bytes of a body a second, at the least; instead of `edge.limits.body_bytes_per_second_min`.
    #[serde(default)]
    pub(crate) body_bytes_per_second_min: Option<u32>,
    /// May answers be compressed?
    #[serde(default = "yes")]
    pub(crate) compress: bool,
}

fn yes() -> bool {
    true
}

/// What holds for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) body_bytes_max: u64,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) body_idle_timeout: Duration,
    pub(crate) body_bytes_per_second_min: u32,
    pub(crate) cache: CacheRule,
    pub(crate) compress: bool,
}

/// The terms of every path.
#[derive(Debug)]
pub(crate) struct PathRules {
    usual: Terms,
    rules: Vec<Rule>,
    /// Does a rule ask for the host? Reading it costs something.
    by_host: bool,
}

#[derive(Debug)]
struct Rule {
    host: Option<HostName>,
    prefix: String,
    terms: Terms,
}

impl PathRules {
    /// The rules in the order in which they are asked: those of a host first, then the longest prefix.
    pub(crate) fn new(limits: &Limits, rules: &[PathRule]) -> Self {
        let usual = Terms {
            body_bytes_max: limits.body_bytes_max,
            first_byte_timeout: limits.first_byte_timeout,
            body_idle_timeout: limits.body_idle_timeout,
            body_bytes_per_second_min: limits.body_bytes_per_second_min,
            cache: CacheRule::Private,
            compress: true,
        };
        let rule = |rule: &PathRule| Rule {
            host: rule.host.clone(),
            prefix: rule.prefix.clone(),
            terms: Terms {
                body_bytes_max: rule.body_bytes_max.unwrap_or(usual.body_bytes_max),
                first_byte_timeout: rule.first_byte_timeout.unwrap_or(usual.first_byte_timeout),
                body_idle_timeout: rule.body_idle_timeout.unwrap_or(usual.body_idle_timeout),
                body_bytes_per_second_min: rule
                    .body_bytes_per_second_min
                    .unwrap_or(usual.body_bytes_per_second_min),
                cache: rule.cache,
                compress: rule.compress,
            },
        };
        let mut rules: Vec<Rule> = rules.iter().map(rule).collect();
        rules.sort_by_key(|rule| (rule.host.is_none(), std::cmp::Reverse(rule.prefix.len())));
        let by_host = rules.iter().any(|rule| rule.host.is_some());
        Self { usual, rules, by_host }
    }

    /// What holds for this request.
    pub(crate) fn of(&self, head: &Parts) -> Terms {
        if self.rules.is_empty() {
            return self.usual;
        }
        let path = head.uri.path();
        if !is_plain(path) {
            return self.usual;
        }
        // A host that cannot be read is refused further on; until then it has no terms of its own.
        let authority = if self.by_host { Authority::of(head).ok() } else { None };
        let host = authority.as_ref().map(Authority::name);
        let holds = |rule: &&Rule| {
            path.starts_with(&rule.prefix)
                && rule.host.as_ref().is_none_or(|wanted| host == Some(wanted.as_str()))
        };
        self.rules.iter().find(holds).map_or(self.usual, |rule| rule.terms)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn rule(host: Option<&str>, prefix: &str, body_bytes_max: Option<u64>) -> PathRule {
        PathRule {
            prefix: prefix.to_owned(),
            host: host.map(|host| host.parse().unwrap()),
            cache: CacheRule::default(),
            body_bytes_max,
            first_byte_timeout: None,
            body_idle_timeout: None,
            body_bytes_per_second_min: None,
            compress: true,
        }
    }

    #[test]
    fn a_hosts_own_rule_comes_first_then_the_longest_prefix_and_what_it_leaves_out_is_usual() {
        let rules = PathRules::new(
            &Limits::default(),
            &[
                rule(None, "/", Some(1)),
                rule(None, "/uploads/", Some(2)),
                rule(None, "/uploads/small/", None),
                rule(Some("files.example"), "/up", Some(3)),
            ],
        );
        let usual = Limits::default().body_bytes_max;
        for (host, path, bytes_max) in [
            ("a.example", "/x", 1),
            ("a.example", "/uploads/x", 2),
            ("a.example", "/uploads/small/x", usual),
            ("a.example", "/uploads/../x", usual),
            ("FILES.example:8443", "/uploads/small/x", 3),
            ("files.example", "/x", 1),
        ] {
            let head = Request::builder().uri(path).header("host", host).body(()).unwrap().into_parts().0;
            assert_eq!(rules.of(&head).body_bytes_max, bytes_max, "{host}{path}");
        }
    }
}
