//! The other end of a connection, and behind it the client: the same, unless the peer is a trusted proxy. No
//! stranger's forwarding header may ever decide who the client is.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{activity::Activity, authority::Scheme, config::Network};

/// The chain of clients and proxies.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who a connection comes from: the address that the kernel says, or the one that a trusted proxy announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote {
    /// IPv4 in IPv6 counts as IPv4.
    pub(crate) address: IpAddr,
    /// Are its forwarding headers believed?
    pub(crate) trusted: bool,
}

impl Remote {
    /// Whoever has this address.
    pub(crate) fn new(address: SocketAddr, trusted: &[Network]) -> Self {
        let address = address.ip().to_canonical();
        Self { address, trusted: trusted.iter().any(|network| network.contains(address)) }
    }
}

/// One connection's other end.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address; IPv4 in IPv6 counts as IPv4.
    pub(crate) address: IpAddr,
    /// Are its forwarding headers believed?
    pub(crate) trusted: bool,
    /// How it connected to us.
    pub(crate) scheme: Scheme,
    /// `HTTP/1.1` or `HTTP/2`, for the access log.
    pub(crate) protocol: &'static str,
    /// Its address as a header value: most requests are forwarded with just this.
    pub(crate) address_header: HeaderValue,
    /// What the connection is doing, for its timeouts.
    pub(crate) activity: Arc<Activity>,
}

/// Who sent a request, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address, for limits and logs.
    pub(crate) address: IpAddr,
    /// The scheme of the page's world.
    pub(crate) scheme: Scheme,
}

impl Peer {
    /// The other end of a new connection.
    pub(crate) fn new(
        Remote { address, trusted }: Remote,
        scheme: Scheme,
        protocol: &'static str,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            address,
            trusted,
            scheme,
            protocol,
            address_header: HeaderValue::try_from(address.to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            activity,
        }
    }

    /// The client of a request: the nearest address in the chain that is no trusted proxy.
    pub(crate) fn client(&self, trusted: &[Network], headers: &HeaderMap) -> Client {
        let mut client = Client { address: self.address, scheme: self.scheme };
        if !self.trusted {
            return client;
        }
        let last = headers.get_all(FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
        match last.and_then(|list| list.rsplit(',').next()).map(str::trim) {
            Some("https") => client.scheme = Scheme::Https,
            Some("http") => client.scheme = Scheme::Http,
            _ => {}
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for hop in lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(',')).map(str::trim) {
            // What a trusted proxy did not write itself is unreadable from here on.
            let Some(address) = parse_hop(hop) else { break };
            client.address = address;
            if !trusted.iter().any(|network| network.contains(address)) {
                break;
            }
        }
        client
    }
}

/// An address, perhaps with a port.
pub(crate) fn parse_hop(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse().ok().map(|hop: SocketAddr| hop.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, chain: &[&'static str], proto: Option<&'static str>) -> (String, Scheme) {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let remote = Remote::new(peer.parse().unwrap(), &trusted);
        let peer = Peer::new(remote, Scheme::Http, "HTTP/1.1", Arc::default());
        let mut headers = HeaderMap::new();
        for line in chain {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        if let Some(proto) = proto {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
        }
        let client = peer.client(&trusted, &headers);
        (client.address.to_string(), client.scheme)
    }

    #[test]
    fn strangers_are_never_believed() {
        assert_eq!(check("192.0.2.1:9", &["10.1.1.1"], Some("https")), ("192.0.2.1".into(), Scheme::Http));
    }

    #[test]
    fn behind_trusted_proxies_the_client_is_the_nearest_address_that_is_none() {
        for (chain, client) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.2.2.2"], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9,10.2.2.2"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["1.1.1.1, garbage, 10.2.2.2"], "10.2.2.2"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(
                check("10.0.0.1:9", chain, Some("https")),
                (client.into(), Scheme::Https),
                "{chain:?}"
            );
        }
        assert_eq!(check("[::ffff:10.0.0.1]:9", &["203.0.113.9"], None).0, "203.0.113.9");
    }
}
