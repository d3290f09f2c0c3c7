//! Ports that somebody opened, one or a range of them, as people write them and as they are stored.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A port with its protocol, or all from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct OpenPort {
    /// The first.
    first: u16,
    /// The last, which may be the first.
    last: u16,
    /// UDP instead of TCP.
    udp: bool,
}

impl OpenPort {
    /// One port.
    pub(crate) const fn one(port: u16, udp: bool) -> Self {
        Self { first: port, last: port, udp }
    }

    /// The first and the last, if they are of that protocol.
    pub(super) fn range(&self, udp: bool) -> Option<(u16, u16)> {
        (self.udp == udp).then_some((self.first, self.last))
    }

    /// The port, if it is a single one of TCP.
    pub(crate) fn single_tcp(&self) -> Option<u16> {
        (!self.udp && self.first == self.last).then_some(self.first)
    }

    /// Is that open with it?
    pub(crate) fn holds(&self, other: &Self) -> bool {
        self.udp == other.udp && self.first <= other.first && other.last <= self.last
    }

    /// Have both a port in common?
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.udp == other.udp && self.first <= other.last && other.first <= self.last
    }

    /// As ufw writes it: `8000:8010/udp`.
    pub(crate) fn for_ufw(&self) -> String {
        self.to_string().replace('-', ":")
    }
}

impl fmt::Display for OpenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, "/{}", if self.udp { "udp" } else { "tcp" })
    }
}

impl FromStr for OpenPort {
    type Err = String;

    /// `8080`, `8080/tcp`, `51820/udp`, `8000-8010`, `8000-8010/udp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        match (number(first), number(last), protocol) {
            (Some(first), Some(last), "tcp" | "udp") if first <= last => {
                Ok(Self { first, last, udp: protocol == "udp" })
            }
            (Some(first), Some(last), "tcp" | "udp") => {
                Err(format!("a range begins with its lowest port: `{last}-{first}/{protocol}`"))
            }
            _ => Err("write a port like `8080`, `8080/tcp` or `51820/udp`, and a range like `8000-8010/udp`"
                .to_owned()),
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
    fn ports_and_ranges_are_read_with_their_protocol() {
        for (given, want) in [
            ("8080", Some("8080/tcp")),
            ("51820/udp", Some("51820/udp")),
            ("8000-8010", Some("8000-8010/tcp")),
            ("8000-8010/udp", Some("8000-8010/udp")),
            ("8000-8000", Some("8000/tcp")),
            ("8010-8000", None),
            ("8000-", None),
            ("0-5", None),
            ("1-2-3", None),
            ("1-65536", None),
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
        assert_eq!("8000-8010/udp".parse::<OpenPort>().unwrap().for_ufw(), "8000:8010/udp");
        assert!("8010-8000".parse::<OpenPort>().unwrap_err().contains("`8000-8010/tcp`"));
    }

    #[test]
    fn a_range_holds_and_meets_what_lies_in_it_with_its_protocol() {
        let port = |text: &str| text.parse::<OpenPort>().unwrap();
        let range = port("8000-8010");
        for (other, holds, meets) in [
            ("8000", true, true),
            ("8010", true, true),
            ("8011", false, false),
            ("8005/udp", false, false),
            ("7990-8000", false, true),
            ("7000-9000", false, true),
            ("8001-8009", true, true),
        ] {
            assert_eq!((range.holds(&port(other)), range.meets(&port(other))), (holds, meets), "{other}");
        }
    }
}
