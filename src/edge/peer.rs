//! The other end of a connection, and behind it the client: the same, unless the peer is a trusted proxy. No
//! stranger's forwarding header may ever decide who the client is.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue};

use super::{
    activity::Activity,
    authority::Scheme,
    config::Network,
    forwarded::{self, Chain, ForwardingHeader},
};

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
    /// The chain that its address was taken from.
    pub(crate) chain: Chain,
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

    /// The client of a request: whoever a trusted proxy says, else the peer itself.
    pub(crate) fn client(&self, proxies: (&[Network], ForwardingHeader), headers: &HeaderMap) -> Client {
        if !self.trusted {
            return Client { address: self.address, scheme: self.scheme, chain: Chain::Ours };
        }
        let told = forwarded::told(self.address, proxies, headers);
        Client { address: told.address, scheme: told.scheme.unwrap_or(self.scheme), chain: told.chain }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::forwarded::{FORWARDED_FOR, FORWARDED_PROTO},
        *,
    };

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
        let client = peer.client((&trusted, ForwardingHeader::XForwardedFor), &headers);
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
