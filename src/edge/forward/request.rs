//! What a worker gets: a request built anew from what passes, and what we say ourselves set last, so that no
//! caller can speak in our name or strip what we say.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{
    super::{
        authority::Scheme,
        forwarded::{Chain, FORWARDED_FOR, FORWARDED_PROTO, hops, parse_hop},
        identify::Caller,
        names::{is_consumed, is_ours},
        peer::{Client, Peer},
        request_id::{REQUEST_ID, RequestId, TRACEPARENT},
        serve::Exchange,
    },
    lines::{decimal, write, write_first, write_line, write_list, write_words},
};

const TENANT: HeaderName = HeaderName::from_static("x-gateway-tenant");
const DATABASE_URL: HeaderName = HeaderName::from_static("x-gateway-database-url");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Who sent a request, and what it is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    /// The connection's other end.
    pub(super) peer: &'a Peer,
    /// What the page's world speaks.
    pub(super) scheme: Scheme,
    /// The chain that is continued.
    pub(super) chain: Chain,
    /// The request's name.
    pub(super) id: &'a RequestId,
}

impl<'a> Sender<'a> {
    /// Of the request in hand.
    pub(super) fn of(exchange: &'a Exchange) -> Self {
        let Client { scheme, chain, .. } = exchange.client;
        Self { peer: &exchange.peer, scheme, chain, id: exchange.record.id() }
    }
}

/// The request as the worker gets it, but for what depends on its body: lengths and codings are `sending`'s.
pub(super) fn rebuild(
    sender: Sender<'_>,
    caller: &Caller,
    head: &Parts,
    (database_url, upgrade): (Option<&HeaderValue>, bool),
    into: &mut Vec<u8>,
) {
    write_first(into, &head.method, &head.uri);
    write_line(into, &header::HOST, caller.authority.value());
    pass(head, into);
    if upgrade {
        write_words(into, &header::CONNECTION, b"upgrade");
        write_words(into, &header::UPGRADE, b"websocket");
    }
    if let Some(tenant) = &caller.tenant {
        write_line(into, &TENANT, tenant.id_header());
    }
    if let Some(url) = database_url {
        write_line(into, &DATABASE_URL, url);
    }
    write_line(into, &REQUEST_ID, &sender.id.header);
    write_words(into, &TRACEPARENT, &sender.id.traceparent(&head.headers));
    forwarding(sender, caller, head, into);
}

/// Write what may pass.
fn pass(head: &Parts, into: &mut Vec<u8>) {
    let listed = Listed::of(&head.headers);
    let mut cookies = false;
    for (name, value) in &head.headers {
        if is_consumed(name) || is_ours(name) || listed.contains(name) || *name == header::CONTENT_LENGTH {
            continue;
        }
        if *name != header::COOKIE {
            write_line(into, name, value);
        } else if !std::mem::replace(&mut cookies, true) {
            // HTTP/2 may cut cookies into crumbs; HTTP/1.1 takes one line (RFC 9113 8.2.3).
            write_list(into, name, b"; ", bytes_of(&head.headers, name));
        }
    }
}

fn bytes_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

/// Headers that `Connection` declares to be of this hop only.
pub(super) struct Listed<'a>(Vec<&'a str>);

impl<'a> Listed<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let tokens = values.flat_map(|value| value.split(',')).map(str::trim);
        // The usual words name nothing that would pass, and so cost no allocation.
        let usual = ["keep-alive", "close", "upgrade", ""];
        Self(tokens.filter(|token| !usual.iter().any(|word| token.eq_ignore_ascii_case(word))).collect())
    }

    pub(super) fn contains(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|token| token.eq_ignore_ascii_case(name.as_str()))
    }
}

/// Who called, how, and as what; the chain of a trusted proxy that is believed is continued, else it begins with us.
fn forwarding(sender: Sender<'_>, caller: &Caller, head: &Parts, into: &mut Vec<u8>) {
    let Sender { peer, scheme, chain, .. } = sender;
    // Both headers name the same chain: a proxy that writes only the one may pass on anybody's other.
    let (list, words) = earlier_hops(chain, &head.headers);
    let address = peer.address_header.as_bytes();
    write_list(into, &FORWARDED_FOR, b", ", list.iter().map(Vec::as_slice).chain([address]));
    write_words(into, &FORWARDED_PROTO, scheme.as_str().as_bytes());
    write_line(into, &FORWARDED_HOST, caller.authority.value());
    let port = match (caller.authority.port(), scheme) {
        (Some(port), _) => port.into(),
        (None, Scheme::Https) => 443,
        (None, Scheme::Http) => 80,
    };
    write_words(into, &FORWARDED_PORT, decimal(port, &mut [0; 20]));
    write(into, &[header::FORWARDED.as_str().as_bytes(), b": "]);
    words.iter().for_each(|hop| write(into, &[hop, b", "]));
    write_hop(sender, caller, into);
    into.extend_from_slice(b"\r\n");
}

/// A chain so far: for `X-Forwarded-For`, and in the words of RFC 7239.
type Hops = (Vec<Vec<u8>>, Vec<Vec<u8>>);

fn earlier_hops(chain: Chain, headers: &HeaderMap) -> Hops {
    let owned = |name| bytes_of(headers, name).map(<[u8]>::to_vec).collect();
    match chain {
        Chain::Ours => Hops::default(),
        Chain::XForwardedFor => {
            let lines = headers.get_all(FORWARDED_FOR).iter();
            let hops = lines.flat_map(|line| line.to_str().unwrap_or("unknown").split(','));
            let word = |hop: &str| match parse_hop(hop) {
                Some(IpAddr::V4(address)) => format!("for={address}"),
                Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
                None => "for=unknown".to_owned(),
            };
            (owned(&FORWARDED_FOR), hops.map(|hop| word(hop).into_bytes()).collect())
        }
        Chain::Forwarded => {
            // What cannot be read is not passed on either: it could swallow our own word.
            let Some(hops) = hops(headers) else { return Hops::default() };
            let address = |node: Option<String>| node.and_then(|node| parse_hop(&node));
            let word =
                |node| address(node).map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            (hops.into_iter().map(|hop| word(hop.node).into_bytes()).collect(), owned(&header::FORWARDED))
        }
    }
}

/// One hop of RFC 7239: `for=192.0.2.1;proto=https;host=api.example`.
fn write_hop(sender: Sender<'_>, caller: &Caller, into: &mut Vec<u8>) {
    let (address, host) = (sender.peer.address_header.as_bytes(), caller.authority.value().as_bytes());
    let (open, close): (&[u8], &[u8]) =
        if sender.peer.address.is_ipv6() { (b"\"[", b"]\"") } else { (b"", b"") };
    // A colon is no token character, so a host with a port (or an IPv6 address) is quoted.
    let quote: &[u8] = if host.contains(&b':') { b"\"" } else { b"" };
    let scheme = sender.scheme.as_str().as_bytes();
    write(into, &[b"for=", open, address, close, b";proto=", scheme, b";host=", quote, host, quote]);
}
