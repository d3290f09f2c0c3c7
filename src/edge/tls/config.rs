//! `[tls]` beyond where certificates come from: the oldest TLS, and HSTS. Plain values; what is wrong with them is
//! said by the configuration's checks.

use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

/// The oldest TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MinVersion {
    /// TLS 1.2, with forward secrecy and AEAD ciphers alone.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[tls.hsts]`: what browsers are told to remember, `Strict-Transport-Security`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hsts {
    /// Say it?
    pub(crate) enabled: bool,
    /// How long browsers remember it; zero makes them forget.
    #[serde(with = "humantime_serde")]
    pub(crate) max_age: Duration,
    /// For every name below the host too?
    pub(crate) include_subdomains: bool,
    /// May browser makers build the host into their lists?
    pub(crate) preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        // What the preload lists ask for; nobody who turns it on wants less for long.
        let max_age = Duration::from_secs(365 * 24 * 3600);
        Self { enabled: false, max_age, include_subdomains: false, preload: false }
    }
}

impl Hsts {
    /// The header, if there is to be one.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut text = format!("max-age={}", self.max_age.as_secs());
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        self.enabled.then(|| HeaderValue::try_from(text).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_is_configured_and_nothing_when_off() {
        let off = Hsts::default();
        assert_eq!(off.header(), None);
        let on = Hsts { enabled: true, ..off };
        assert_eq!(on.header().unwrap(), "max-age=31536000");
        let all = Hsts { include_subdomains: true, preload: true, ..on };
        assert_eq!(all.header().unwrap(), "max-age=31536000; includeSubDomains; preload");
        let forget = Hsts { max_age: Duration::ZERO, include_subdomains: false, preload: false, ..all };
        assert_eq!(forget.header().unwrap(), "max-age=0");
    }
}
