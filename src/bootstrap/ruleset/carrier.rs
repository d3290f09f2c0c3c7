//! What a tunnel arrives in where that is no port which everybody may reach: packets of a protocol of their own, or datagrams
//! from the other end alone. Without a rule for it a default drop ends the tunnel, and with it perhaps the machine's only IPv6.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// The protocols that carry others (iana.org/assignments/protocol-numbers), as `/etc/protocols` and nft name them.
const PROTOCOLS: [(u8, &str); 6] =
    [(4, "ipip"), (41, "ipv6"), (47, "gre"), (50, "esp"), (51, "ah"), (137, "mpls")];

/// Who sends, where nothing says who.
const ANY: &str = "any";

/// How it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arrives {
    /// In packets of this protocol.
    Protocol(u8),
    /// In datagrams to this port.
    Udp(u16),
}

/// What a tunnel arrives in, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Carrier {
    /// How.
    pub(crate) arrives: Arrives,
    /// From the other end; from anybody where that may be anywhere.
    pub(crate) from: Option<IpAddr>,
}

impl Carrier {
    /// The rule that lets it in. What is inside it meets the same chain again, as packets of the tunnel's own interface.
    pub(super) fn rule(&self) -> String {
        let from = match self.from {
            None => String::new(),
            Some(IpAddr::V4(from)) => format!("ip saddr {from} "),
            Some(IpAddr::V6(from)) => format!("ip6 saddr {from} "),
        };
        match self.arrives {
            Arrives::Protocol(number) => format!("{from}meta l4proto {number} accept"),
            Arrives::Udp(port) => format!("{from}udp dport {port} accept"),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arrives {
            Arrives::Udp(port) => write!(f, "{port}/udp")?,
            Arrives::Protocol(number) => match PROTOCOLS.iter().find(|(known, _)| *known == number) {
                Some((_, name)) => f.write_str(name)?,
                None => write!(f, "{number}")?,
            },
        }
        match self.from {
            Some(from) => write!(f, "@{from}"),
            None => write!(f, "@{ANY}"),
        }
    }
}

impl FromStr for Carrier {
    type Err = String;

    /// `ipv6@192.0.2.1`, `gre@any`, `4500/udp@198.51.100.9`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write it like `gre@192.0.2.1`, `ipv6@192.0.2.1`, `esp@any` or `4500/udp@192.0.2.1`".to_owned()
        };
        let (what, from) = text.split_once('@').ok_or_else(wrong)?;
        let from = match from {
            ANY => None,
            from => Some(from.parse().map_err(|_| wrong())?),
        };
        let named =
            PROTOCOLS.iter().find(|(_, name)| *name == what).map(|(number, _)| Arrives::Protocol(*number));
        let port = || Some(Arrives::Udp(what.strip_suffix("/udp")?.parse().ok().filter(|port| *port != 0)?));
        let arrives = named.or_else(port).ok_or_else(wrong)?;
        match (arrives, from) {
            // A port for everybody is opened as one.
            (Arrives::Udp(_), None) => Err(wrong()),
            _ => Ok(Self { arrives, from }),
        }
    }
}

impl From<Carrier> for String {
    fn from(carrier: Carrier) -> Self {
        carrier.to_string()
    }
}

impl TryFrom<String> for Carrier {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_are_read_as_they_are_shown_and_nothing_else_is_one() {
        for text in
            ["ipip@any", "ipv6@192.0.2.1", "gre@2001:db8::1", "esp@192.0.2.1", "ah@any", "4500/udp@192.0.2.1"]
        {
            assert_eq!(text.parse::<Carrier>().unwrap().to_string(), text);
        }
        for text in [
            "gre",
            "@any",
            "tcp@192.0.2.1",
            "gre@nowhere",
            "0/udp@192.0.2.1",
            "4500/udp@any",
            "4500@192.0.2.1",
        ] {
            assert!(text.parse::<Carrier>().is_err(), "{text}");
        }
    }
}
