//! `[tls.acme]`: which certificate authority, how often it is asked, and what it is told. Plain values; what is
//! wrong with them is said by the configuration's checks.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[tls.acme]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AcmeConfig {
    /// The authority's directory, an https URL.
    pub(crate) directory: String,
    /// E-mail addresses that the authority may write to.
    pub(crate) contact: Vec<String>,
    /// PEM certificates to trust the directory's own TLS by, instead of Mozilla's list.
    pub(crate) ca_file: Option<PathBuf>,
    /// The name of an account elsewhere that the authority wants ours bound to.
    pub(crate) external_account_id: Option<String>,
    /// The file with that account's MAC key, base64url.
    pub(crate) external_account_key_file: Option<PathBuf>,
    /// New certificates per registered domain in seven days.
    pub(crate) per_domain_weekly: u32,
    /// Names in one certificate.
    pub(crate) names_per_certificate_max: u32,
    /// Orders in an hour, over all hosts.
    pub(crate) orders_hourly_max: u32,
    /// Orders under way at once.
    pub(crate) orders_at_once_max: u32,
    /// Name servers that say where a host leads; empty is the system's.
    pub(crate) resolvers: Vec<NameServer>,
    /// Time for one request to the authority.
    #[serde(with = "humantime_serde")]
    pub(crate) request_timeout: Duration,
    /// Time for a whole order.
    #[serde(with = "humantime_serde")]
    pub(crate) order_timeout: Duration,
    /// Pause after a host's first failed order; later ones are three times as long each.
    #[serde(with = "humantime_serde")]
    pub(crate) retry_first: Duration,
    /// The longest such pause.
    #[serde(with = "humantime_serde")]
    pub(crate) retry_longest: Duration,
    /// How long a new host waits for others to share its certificate with.
    #[serde(with = "humantime_serde")]
    pub(crate) gather: Duration,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            directory: LETS_ENCRYPT_PRODUCTION_DIRECTORY.to_owned(),
            contact: Vec::new(),
            ca_file: None,
            external_account_id: None,
            external_account_key_file: None,
            // Let's Encrypt: 50. Five are left for whoever else orders under the domain.
            per_domain_weekly: 45,
            // Let's Encrypt takes 100; one name that fails holds up fewer this way, and handshakes stay small.
            names_per_certificate_max: 50,
            // Let's Encrypt: 300 in three hours.
            orders_hourly_max: 90,
            orders_at_once_max: 4,
            resolvers: Vec::new(),
            request_timeout: Duration::from_secs(30),
            order_timeout: Duration::from_secs(300),
            // 5 min, 15 min, 45 min…: three orders in the first hour, where Let's Encrypt bears five failures.
            retry_first: Duration::from_secs(300),
            retry_longest: Duration::from_secs(12 * 3600),
            gather: Duration::from_secs(2),
        }
    }
}

/// A name server: an address, with a port where it is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameServer(pub(crate) SocketAddr);

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = || text.parse().ok().map(|address| SocketAddr::new(address, 53));
        text.parse().ok().or_else(bare).map(Self).ok_or_else(|| {
            format!("`{text}` is no name server: write its address, such as `9.9.9.9` or `127.0.0.1:5353`")
        })
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_with_or_without_port() {
        for (text, want) in [
            ("9.9.9.9", "9.9.9.9:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("2620:fe::fe", "[2620:fe::fe]:53"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(text.parse::<NameServer>().map(|server| server.to_string()).as_deref(), Ok(want));
        }
        for bad in ["", "dns.example", "9.9.9.9:", "9.9.9.9:x"] {
            assert!(bad.parse::<NameServer>().is_err(), "{bad:?} was taken");
        }
    }
}
