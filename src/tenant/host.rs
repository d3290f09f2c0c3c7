//! A host name as it stands in `Host`, SNI and certificates: lower-case punycode, no port, no trailing dot.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A domain name (or an IP literal) in its one canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HostName(Arc<str>);

/// Why a text is no host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{host}` is no host name: {reason}")]
pub(crate) struct HostProblem {
    host: String,
    reason: String,
}

impl HostName {
    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Is this an IP address rather than a name? No certificate authority in use here signs those.
    pub(crate) fn is_address(&self) -> bool {
        self.0.starts_with('[') || self.0.parse::<std::net::IpAddr>().is_ok()
    }
}

impl FromStr for HostName {
    type Err = HostProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let problem =
            |reason: &str| HostProblem { host: text.chars().take(100).collect(), reason: reason.to_owned() };
        if text.contains("://") {
            return Err(problem("write the name alone, without a scheme"));
        }
        if text.contains(['/', '?', '#', '@', '\\', '%']) || text.contains(char::is_whitespace) {
            return Err(problem("write the name alone, such as `api.example.com`"));
        }
        if text.contains('*') {
            return Err(problem("wildcards are for origins; a host is one exact name"));
        }
        let bare = text.strip_suffix('.').unwrap_or(text);
        match url::Host::parse(bare) {
            Ok(url::Host::Domain(name)) if !is_dns_name(&name) => {
                Err(problem("names hold letters, digits, hyphens, underscores and dots"))
            }
            Ok(host) => Ok(Self(host.to_string().into())),
            Err(_) if bare.contains(':') => Err(problem("write the name alone, without a port")),
            Err(error) => Err(problem(&error.to_string())),
        }
    }
}

/// The URL standard lets `$`, `;` or quotes stand in a domain. No name in DNS that anyone serves has them, and
/// ours are printed into commands that people paste. Empty labels and names too long for DNS go too.
pub(super) fn is_dns_name(name: &str) -> bool {
    // 253: RFC 1035 2.3.4, in text form without the last dot; 63 a label.
    name.len() <= 253
        && name.split('.').all(|label| {
            matches!(label.len(), 1..=63)
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        })
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for HostName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_lower_case_punycode_and_anything_more_than_a_name_is_refused() {
        for (text, want) in [
            ("API.Example.com", "api.example.com"),
            ("münchen.example.", "xn--mnchen-3ya.example"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(text.parse::<HostName>().map(|h| h.to_string()).as_deref(), Ok(want));
        }
        for bad in [
            "",
            "https://a.example",
            "a.example:443",
            "*.a.example",
            "a b",
            "a/b",
            "a@b",
            "a%2eb",
            "a..b",
            ".a",
            "$(x).b",
            "a;b",
            "`a`.b",
            "a'b",
        ] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?} was taken");
        }
    }
}
