//! A port that somebody opened, as people write it and as it is stored.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A port with its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct OpenPort {
    /// The port.
    pub(crate) port: u16,
    /// UDP instead of TCP.
    pub(crate) udp: bool,
}

impl fmt::Display for OpenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, if self.udp { "udp" } else { "tcp" })
    }
}

impl FromStr for OpenPort {
    type Err = String;

    /// `8080`, `8080/tcp`, `51820/udp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = port.parse().ok().filter(|port| *port != 0);
        match (port, protocol) {
            (Some(port), "tcp" | "udp") => Ok(Self { port, udp: protocol == "udp" }),
            _ => Err("write a port like `8080`, `8080/tcp` or `51820/udp`".to_owned()),
        }
    }
}

impl From<OpenPort> for String {
    fn from(port: OpenPort) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for OpenPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_with_their_protocol() {
        for (given, want) in [
            ("8080", Some("8080/tcp")),
            ("51820/udp", Some("51820/udp")),
            ("0", None),
            ("22/sctp", None),
            ("x", None),
        ] {
            assert_eq!(
                given.parse::<OpenPort>().ok().map(|port| port.to_string()).as_deref(),
                want,
                "{given}"
            );
        }
    }
}
