//! The header of the PROXY protocol: what is one is one whatever follows, no part of it is one, and the client that a
//! balancer names is the client that we see.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gateway::fuzz::{ProxyHeader, proxy_header};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let ProxyHeader::Complete { bytes: end, .. } = proxy_header(bytes) {
        let whole = proxy_header(bytes);
        assert!(end <= bytes.len(), "it takes {end} of {} bytes", bytes.len());
        assert_eq!(proxy_header(&bytes[..end]), whole, "what follows changes it");
        for part in 0..end {
            assert_eq!(proxy_header(&bytes[..part]), ProxyHeader::Incomplete, "{part} of its {end} bytes");
        }
    }
    if let Some(client) = client(bytes) {
        for header in [line(client), binary(client)] {
            let want = ProxyHeader::Complete { bytes: header.len(), client: Some(client) };
            assert_eq!(proxy_header(&header), want, "{header:?}");
            assert_eq!(proxy_header(&[&header[..], bytes].concat()), want, "{header:?} and more");
        }
    }
});

/// An address out of the first bytes.
fn client(bytes: &[u8]) -> Option<SocketAddr> {
    let (port, rest) = bytes.split_first_chunk::<2>()?;
    let address = match (rest.first_chunk::<16>(), rest.first_chunk::<4>()) {
        // One that IPv4 hides in is shown as IPv4 elsewhere.
        (Some(v6), _) => Some(IpAddr::V6(Ipv6Addr::from(*v6))).filter(|address| address.to_canonical().is_ipv6())?,
        (None, Some(v4)) => IpAddr::V4(Ipv4Addr::from(*v4)),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

/// Version 1.
fn line(client: SocketAddr) -> Vec<u8> {
    let (family, other) = if client.is_ipv4() { ("TCP4", "198.51.100.1") } else { ("TCP6", "2001:db8::1") };
    format!("PROXY {family} {} {other} {} 443\r\n", client.ip(), client.port()).into_bytes()
}

/// Version 2.
fn binary(client: SocketAddr) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match client.ip() {
        IpAddr::V4(address) => {
            bytes.extend([0x11, 0, 12]);
            bytes.extend(address.octets());
            bytes.extend([198, 51, 100, 1]);
        }
        IpAddr::V6(address) => {
            bytes.extend([0x21, 0, 36]);
            bytes.extend(address.octets());
            bytes.extend(Ipv6Addr::LOCALHOST.octets());
        }
    }
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(443_u16.to_be_bytes());
    bytes
}
