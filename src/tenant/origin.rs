//! What may stand in the whitelist: an exact origin, or one with a leading wildcard label.
//!
//! Parsed once, on entry. A request's `Origin` is never parsed into this type: browsers send the canonical
//! serialisation (Fetch standard, "origin serialization"), so the lookup compares text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::host::is_dns_name;

/// `https://acme.example`, `http://localhost:5173` or `https://*.acme.example` in canonical form: lower-case,
/// punycode, default port dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OriginPattern {
    /// The canonical text; a wildcard's host begins with `*.`.
    text: Box<str>,
    wildcard: bool,
}

/// Why a text cannot stand in the whitelist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{origin}` is no origin: {reason}")]
pub(crate) struct OriginProblem {
    origin: String,
    reason: String,
}

impl OriginPattern {
    /// The canonical text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Does it begin with a wildcard label?
    pub(crate) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The host without scheme, star and port.
    pub(crate) fn host(&self) -> &str {
        let host = self.text.split_once("://").map_or("", |(_, rest)| rest);
        without_port(host.strip_prefix("*.").unwrap_or(host))
    }
}

impl FromStr for OriginPattern {
    type Err = OriginProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let problem = |reason: String| OriginProblem { origin: text.chars().take(200).collect(), reason };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| problem("begin with `https://` or `http://`".into()))?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "https" && scheme != "http" {
            return Err(problem(format!("the scheme is `{scheme}`, but browsers call from https or http")));
        }
        let (wildcard, rest) = match rest.strip_prefix("*.") {
            Some(base) => (true, base),
            None => (false, rest),
        };
        if rest.contains('*') {
            return Err(problem("a wildcard is one leading label, as in `https://*.acme.example`".into()));
        }
        if rest.contains(['/', '?', '#', '@', '\\', '%']) || rest.contains(char::is_whitespace) {
            return Err(problem("write scheme, host and port alone, without path, query or user".into()));
        }
        let url = url::Url::parse(&format!("{scheme}://{rest}")).map_err(|e| problem(e.to_string()))?;
        let name = match url.host() {
            Some(url::Host::Domain(name)) => is_dns_name(name),
            Some(_) => true,
            None => false,
        };
        let host = url.host_str().filter(|_| name);
        let host = host.ok_or_else(|| {
            problem("the host is no name that browsers call from, or it ends in a dot".into())
        })?;
        if wildcard {
            wildcard_base(host).map_err(problem)?;
        }
        let star = if wildcard { "*." } else { "" };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self { text: format!("{scheme}://{star}{host}{port}").into(), wildcard })
    }
}

/// `a.example:8443` → `a.example`, `[::1]:3000` → `[::1]`.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Do two names belong to one owner, as the Public Suffix List sees it? A wildcard reaches no further: below
/// `amazonaws.com` lies `s3.amazonaws.com`, where strangers register, so `*.amazonaws.com` does not cover them.
pub(super) fn same_owner(name: &str, base: &str) -> bool {
    is_local(base) || psl::domain_str(base).is_some_and(|domain| psl::domain_str(name) == Some(domain))
}

/// `localhost` is no public registry, and development needs `*.localhost`.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// May anyone own all names below `host`? Not where the Public Suffix List says that strangers register there.
fn wildcard_base(host: &str) -> Result<(), String> {
    if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
        return Err("an address has no names below it".into());
    }
    if is_local(host) {
        return Ok(());
    }
    match psl::domain_str(host) {
        Some(_) => Ok(()),
        None => Err(format!(
            "`{host}` is a public suffix: anyone can register a name below it; list the exact origins"
        )),
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for OriginPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for OriginPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_stored_in_the_form_browsers_send() {
        for (text, want) in [
            ("https://acme.example", "https://acme.example"),
            ("HTTPS://Acme.Example:443", "https://acme.example"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://acme.example:80", "http://acme.example"),
            ("https://münchen.example", "https://xn--mnchen-3ya.example"),
            ("https://*.acme.example", "https://*.acme.example"),
            ("https://*.Shops.acme.example:8443", "https://*.shops.acme.example:8443"),
            ("http://*.localhost:3000", "http://*.localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(text.parse::<OriginPattern>().map(|o| o.to_string()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_no_browser_page_can_have_as_origin_is_refused_with_the_reason() {
        for bad in [
            "",
            "null",
            "*",
            "acme.example",
            "ftp://acme.example",
            "https://",
            "https://acme.example/",
            "https://acme.example/x",
            "https://a@acme.example",
            "https://acme.example?x",
            "https://*",
            "https://*.",
            "https://*.*.acme.example",
            "https://a.*.example",
            "https://a*.example",
            "https://acme.example:99999",
            "https://acme.example.",
            "https://a b.example",
            "file:///x",
            "https://*.127.0.0.1",
            "https://acme.example\\x",
            "https://a%2e.example",
            "https://$(reboot).example",
            "https://a;b.example",
            "https://a'b.example",
            "https://a..example",
        ] {
            assert!(bad.parse::<OriginPattern>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_wildcard_over_a_public_suffix_is_refused() {
        for bad in ["https://*.com", "https://*.co.uk", "https://*.vercel.app", "https://*.github.io"] {
            assert!(bad.parse::<OriginPattern>().is_err(), "{bad:?} was taken");
        }
        assert!("https://*.mine.vercel.app".parse::<OriginPattern>().is_ok());
    }

    #[test]
    fn an_origins_host_is_its_name_alone() {
        for (text, host) in [
            ("https://acme.example:8443", "acme.example"),
            ("https://*.acme.example", "acme.example"),
            ("http://[::1]:3000", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(text.parse::<OriginPattern>().unwrap().host(), host, "{text}");
        }
    }

    #[test]
    fn names_below_a_public_suffix_do_not_belong_to_the_owner_of_a_name_above_it() {
        assert!(same_owner("a.acme.example", "acme.example"));
        assert!(same_owner("a.localhost", "localhost"));
        assert!(!same_owner("stranger.s3.amazonaws.com", "amazonaws.com"));
        assert!(same_owner("console.amazonaws.com", "amazonaws.com"));
    }
}
