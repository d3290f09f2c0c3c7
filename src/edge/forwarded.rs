//! Which of a proxy's two chains is believed, `X-Forwarded-For` or `Forwarded` (RFC 7239), and what it says. Most proxies
//! write one and pass on anybody's other: the other must never decide who the client is.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};

use super::{authority::Scheme, config::Network};

/// The chain of clients and proxies.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// `edge.forwarding_header`: what the trusted proxies write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardingHeader {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`; `Forwarded` is anybody's.
    #[default]
    XForwardedFor,
    /// `Forwarded`; the others are anybody's.
    Forwarded,
}

/// The chain that is believed, and so continued towards the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    /// None: it begins with us.
    Ours,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

/// What a trusted proxy says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) address: IpAddr,
    pub(super) scheme: Option<Scheme>,
    pub(super) chain: Chain,
}

/// Read what the proxy at `peer` says, whose headers are believed.
pub(super) fn told(
    peer: IpAddr,
    (trusted, written): (&[Network], ForwardingHeader),
    headers: &HeaderMap,
) -> Told {
    let (found, chain) = match written {
        ForwardingHeader::XForwardedFor => (by_x(peer, trusted, headers), Chain::XForwardedFor),
        ForwardingHeader::Forwarded => (by_rfc(peer, trusted, headers), Chain::Forwarded),
    };
    match found {
        (Some(address), scheme) => Told { address, scheme, chain },
        (None, scheme) => Told { address: peer, scheme, chain: Chain::Ours },
    }
}

type Client = (Option<IpAddr>, Option<Scheme>);

fn by_x(peer: IpAddr, trusted: &[Network], headers: &HeaderMap) -> Client {
    let last = headers.get_all(FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
    let scheme = last.and_then(|list| list.rsplit(',').next()).and_then(scheme_of);
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(',')).map(parse_hop);
    let there = headers.contains_key(FORWARDED_FOR);
    (there.then(|| nearest(peer, trusted, hops)), scheme)
}

fn by_rfc(peer: IpAddr, trusted: &[Network], headers: &HeaderMap) -> Client {
    if !headers.contains_key(header::FORWARDED) {
        return (None, None);
    }
    // A quote that does not end could swallow what the proxy itself has written: then nothing is known.
    let Some(hops) = hops(headers) else { return (Some(peer), None) };
    let scheme = hops.last().and_then(|hop| scheme_of(hop.proto.as_deref()?));
    // One that names nobody (`proto=https` alone) says nothing of who it is.
    let names_somebody = hops.iter().any(|hop| hop.node.is_some());
    let nodes = hops.iter().rev().map(|hop| parse_hop(hop.node.as_deref()?));
    (names_somebody.then(|| nearest(peer, trusted, nodes)), scheme)
}

/// The nearest address in the chain that is no trusted proxy.
fn nearest(peer: IpAddr, trusted: &[Network], hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut nearest = peer;
    for hop in hops {
        // What a trusted proxy did not write itself is unreadable from here on.
        let Some(address) = hop else { break };
        nearest = address;
        if !trusted.iter().any(|network| network.contains(address)) {
            break;
        }
    }
    nearest
}

fn scheme_of(text: &str) -> Option<Scheme> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("https") {
        return Some(Scheme::Https);
    }
    text.eq_ignore_ascii_case("http").then_some(Scheme::Http)
}

/// An address, perhaps with a port, IPv6 perhaps in brackets.
pub(crate) fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|hop: SocketAddr| hop.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// One element of `Forwarded`, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hop {
    /// `for`.
    pub(crate) node: Option<String>,
    proto: Option<String>,
}

/// Every element of `Forwarded`, farthest first; none if it cannot be read.
pub(crate) fn hops(headers: &HeaderMap) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        let mut rest = line.to_str().ok()?;
        let mut hop = Hop::default();
        loop {
            let (name, value, left) = pair(rest)?;
            match name.to_ascii_lowercase().as_str() {
                "for" => hop.node = Some(value),
                "proto" => hop.proto = Some(value),
                _ => {}
            }
            let left = left.trim_start();
            match left.split_at_checked(1) {
                Some((";", next)) => rest = next,
                Some((",", next)) => {
                    hops.push(std::mem::take(&mut hop));
                    rest = next;
                }
                None => break,
                Some(_) => return None,
            }
        }
        hops.push(hop);
    }
    Some(hops)
}

/// `name=value` at the beginning of a text, the value a token or a quoted string, and what follows. An element or a pair
/// may be empty.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start();
    if text.is_empty() || text.starts_with([',', ';']) {
        return Some(("", String::new(), text));
    }
    let (name, rest) = text.split_once('=')?;
    if name.contains(['"', ',', ';']) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        // Colons and brackets belong in quotes, but there are proxies that do not know.
        let end = rest.find([',', ';', ' ', '\t', '"']).unwrap_or(rest.len());
        let (value, left) = rest.split_at(end);
        return (!left.starts_with('"')).then(|| (name.trim(), value.to_owned(), left));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name.trim(), value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn check(written: ForwardingHeader, lines: &[(&'static str, &'static str)]) -> (String, Option<Scheme>) {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:aa::/48".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let told = told(PROXY.parse().unwrap(), (&trusted, written), &headers);
        (told.address.to_string(), told.scheme)
    }

    #[test]
    fn a_chain_of_rfc_7239_is_read_like_the_other() {
        for (line, client, scheme) in [
            ("for=203.0.113.9", "203.0.113.9", None),
            ("For=203.0.113.9;Proto=HTTPS;by=10.0.0.1;host=api.example", "203.0.113.9", Some(Scheme::Https)),
            ("for=\"203.0.113.9:4711\";proto=http", "203.0.113.9", Some(Scheme::Http)),
            ("for=\"[2001:db8::7]:4711\"", "2001:db8::7", None),
            ("for=\"[2001:db8::7]\"", "2001:db8::7", None),
            ("for=\"[::ffff:203.0.113.9]\"", "203.0.113.9", None),
            // The nearest that is no trusted proxy; what stands left of it anybody may have written.
            (
                "for=1.1.1.1, for=203.0.113.9;proto=http, for=10.2.2.2;proto=https",
                "203.0.113.9",
                Some(Scheme::Https),
            ),
            ("for=1.1.1.1,for=\"[2001:db8:aa::1]\"", "1.1.1.1", None),
            // Who cannot be read ends the search: the client is the proxy that wrote it.
            ("for=1.1.1.1, for=unknown", PROXY, None),
            ("for=1.1.1.1, for=_hidden, for=10.2.2.2", "10.2.2.2", None),
            ("for=1.1.1.1, proto=https", PROXY, Some(Scheme::Https)),
            ("proto=https", PROXY, Some(Scheme::Https)),
            ("for=\"1.1\\.1.1\"", "1.1.1.1", None),
            // A stranger's quote must not swallow what the proxy has written.
            ("for=\"1.1.1.1, for=203.0.113.9", PROXY, None),
            ("for=\"x, for=203.0.113.9;by=\"", PROXY, None),
            ("for, for=203.0.113.9", PROXY, None),
            ("", PROXY, None),
        ] {
            let told = check(ForwardingHeader::Forwarded, &[("forwarded", line)]);
            assert_eq!(told, (client.into(), scheme), "{line}");
            assert_eq!(check(ForwardingHeader::XForwardedFor, &[("forwarded", line)]), (PROXY.into(), None));
        }
        let lines = [("forwarded", "for=1.1.1.1"), ("forwarded", "for=203.0.113.9;proto=https")];
        assert_eq!(check(ForwardingHeader::Forwarded, &lines), ("203.0.113.9".into(), Some(Scheme::Https)));
    }

    #[test]
    fn of_two_stories_the_one_that_the_proxies_write_is_heard() {
        use ForwardingHeader::{Forwarded, XForwardedFor};
        let both = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1;proto=http"),
        ];
        for (written, lines, client, scheme) in [
            (XForwardedFor, &both[..], "203.0.113.9", Some(Scheme::Https)),
            (Forwarded, &both, "1.1.1.1", Some(Scheme::Http)),
            (
                XForwardedFor,
                &[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=\"")],
                "203.0.113.9",
                None,
            ),
            (Forwarded, &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")], PROXY, None),
        ] {
            assert_eq!(check(written, lines), (client.into(), scheme), "{written:?} {lines:?}");
        }
    }
}
