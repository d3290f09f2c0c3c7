//! The PROXY protocol, versions 1 and 2: a load balancer that passes bytes says before them who sends them. What
//! stands here is a pure function over bytes; it must never take a byte of what follows the header for its own, and
//! never believe one that could be read in two ways.
//!
//! The specification is `doc/proxy-protocol.txt` of HAProxy.

mod checksum;
mod receive;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

pub(crate) use self::receive::remote;

/// Version 1 is one line of at most this, its end included (section 2.1).
const LINE_BYTES_MAX: usize = 107;

/// Version 2 with everything that proxies add to it: a TLS client's certificate is the largest, some 2 KiB.
pub(crate) const HEADER_BYTES_MAX: usize = 4096;

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// Source and destination: addresses, then ports.
const V4_BYTES: usize = 12;
const V6_BYTES: usize = 36;
/// Two paths of 108 bytes.
const UNIX_BYTES: usize = 216;

/// Type of the field that holds the header's CRC32c.
const CRC32C: u8 = 0x03;

/// `edge.proxy_protocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProxyProtocol {
    /// Nobody's header is read.
    #[default]
    Off,
    /// Trusted proxies may send one.
    Accept,
    /// Trusted proxies must send one.
    Require,
}

/// Who a header says is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// A client behind the proxy.
    Client(SocketAddr),
    /// The proxy itself, with a health check (`LOCAL`).
    Itself,
    /// A client whose address the proxy cannot tell (`UNKNOWN`, Unix sockets).
    Unknown,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// No such header: something else begins here.
    Absent,
    /// They may become one.
    Incomplete,
    /// One, and how long it is.
    Complete { announced: Announced, bytes: usize },
    /// They begin like one and are none.
    Invalid(&'static str),
}

/// Read the header at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Header {
    let begins = |with: &[u8]| {
        let both = bytes.len().min(with.len());
        (bytes[..both] == with[..both]).then_some(both == with.len())
    };
    match (begins(LINE_START), begins(SIGNATURE)) {
        (Some(true), _) => line(bytes),
        (_, Some(true)) => binary(bytes),
        (None, None) => Header::Absent,
        _ => Header::Incomplete,
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443`.
fn line(bytes: &[u8]) -> Header {
    let looked_at = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', looked_at) else {
        let full = looked_at.len() == LINE_BYTES_MAX;
        return if full { Header::Invalid("the line does not end") } else { Header::Incomplete };
    };
    let Some(line) = looked_at[LINE_START.len()..end].strip_suffix(b"\r") else {
        return Header::Invalid("the line does not end in CR LF");
    };
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let announced = match words[..] {
        // What follows must be ignored (section 2.1), but is text.
        [b"UNKNOWN", ..] if line.iter().all(|byte| matches!(byte, b' '..=b'~')) => Some(Announced::Unknown),
        [family @ (b"TCP4" | b"TCP6"), source, destination, source_port, destination_port] => {
            let address = |text| address(family == b"TCP4", text);
            let ends = (address(source), address(destination), port(source_port), port(destination_port));
            let (Some(source), Some(_), Some(port), Some(_)) = ends else {
                return Header::Invalid("the line's addresses or ports make no sense");
            };
            Some(Announced::Client(SocketAddr::new(source, port)))
        }
        _ => None,
    };
    announced.map_or(Header::Invalid("the line makes no sense"), |announced| Header::Complete {
        announced,
        bytes: end + 1,
    })
}

fn address(v4: bool, text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if v4 { text.parse().ok().map(IpAddr::V4) } else { text.parse().ok().map(IpAddr::V6) }
}

/// Decimal, without leading zeros.
fn port(text: &[u8]) -> Option<u16> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

/// Version 2.
fn binary(bytes: &[u8]) -> Header {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        // A version or command that we do not know is none in what follows either.
        return bytes.get(SIGNATURE.len()).map_or(Header::Incomplete, |command| match command {
            0x20 | 0x21 => Header::Incomplete,
            _ => Header::Invalid("the version or command is not known"),
        });
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Header::Invalid("the header is too long");
    }
    if !matches!(command, 0x20 | 0x21) {
        return Header::Invalid("the version or command is not known");
    }
    let Some(body) = rest.get(..length) else { return Header::Incomplete };
    let bytes = &bytes[..FIXED_BYTES + length];
    let read = match (command, family) {
        // Whatever it says about addresses must be ignored (section 2.2).
        (0x20, _) => Ok((Announced::Itself, &body[..0])),
        (_, 0x00) => Ok((Announced::Unknown, &body[..0])),
        (_, 0x11) => client_v4(body).ok_or("the addresses are cut short"),
        (_, 0x21) => client_v6(body).ok_or("the addresses are cut short"),
        (_, 0x31 | 0x32) => {
            let fields = body.get(UNIX_BYTES..).ok_or("the addresses are cut short");
            fields.map(|fields| (Announced::Unknown, fields))
        }
        (_, 0x12 | 0x22) => Err("it announces datagrams"),
        _ => Err("the address family is not known"),
    };
    match read.and_then(|(announced, fields)| check_fields(bytes, fields).map(|()| announced)) {
        Ok(announced) => Header::Complete { announced, bytes: bytes.len() },
        Err(reason) => Header::Invalid(reason),
    }
}

/// The source, and what follows the addresses.
fn client_v4(body: &[u8]) -> Option<(Announced, &[u8])> {
    let (addresses, fields) = body.split_first_chunk::<V4_BYTES>()?;
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
    let client = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    Some((Announced::Client(client.into()), fields))
}

fn client_v6(body: &[u8]) -> Option<(Announced, &[u8])> {
    let (addresses, fields) = body.split_first_chunk::<V6_BYTES>()?;
    let address = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
    Some((Announced::Client((address, u16::from_be_bytes([addresses[32], addresses[33]])).into()), fields))
}

/// Fields are skipped, but they must fill the header exactly, and a checksum among them must be right.
fn check_fields(header: &[u8], mut fields: &[u8]) -> Result<(), &'static str> {
    while !fields.is_empty() {
        let Some(([kind, high, low], rest)) = fields.split_first_chunk::<3>() else {
            return Err("a field is cut short");
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else { return Err("a field is cut short") };
        if *kind == CRC32C {
            let at = header.len() - rest.len() - length;
            let wanted = value.first_chunk::<4>().filter(|_| length == 4).map(|sum| u32::from_be_bytes(*sum));
            if wanted != Some(checksum::crc32c_without(header, at..at + length)) {
                return Err("the checksum is wrong");
            }
        }
        fields = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
