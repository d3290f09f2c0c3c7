//! What a worker gets: a request built anew from what passes, and what we say ourselves set last, so that no
//! caller can speak in our name or strip what we say.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::{
    super::{
        authority::Scheme,
        identify::Caller,
        names::{is_consumed, is_ours},
        peer::{FORWARDED_FOR, FORWARDED_PROTO, Peer, parse_hop},
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
    /// The request's name.
    pub(super) id: &'a RequestId,
}

impl<'a> Sender<'a> {
    /// Of the request in hand.
    pub(super) fn of(exchange: &'a Exchange) -> Self {
        Self { peer: &exchange.peer, scheme: exchange.client.scheme, id: exchange.record.id() }
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

/// Who called, how, and as what; a trusted proxy's chain is continued, anyone else's begins with us.
fn forwarding(sender: Sender<'_>, caller: &Caller, head: &Parts, into: &mut Vec<u8>) {
    let Sender { peer, scheme, .. } = sender;
    let before =
        |name: &HeaderName| peer.trusted.then(|| bytes_of(&head.headers, name)).into_iter().flatten();
    let address = peer.address_header.as_bytes();
    write_list(into, &FORWARDED_FOR, b", ", before(&FORWARDED_FOR).chain([address]));
    write_words(into, &FORWARDED_PROTO, scheme.as_str().as_bytes());
    write_line(into, &FORWARDED_HOST, caller.authority.value());
    let port = match (caller.authority.port(), scheme) {
        (Some(port), _) => port.into(),
        (None, Scheme::Https) => 443,
        (None, Scheme::Http) => 80,
    };
    write_words(into, &FORWARDED_PORT, decimal(port, &mut [0; 20]));
    write(into, &[header::FORWARDED.as_str().as_bytes(), b": "]);
    // Both name the same chain: a proxy that writes only the one may pass on anybody's other.
    match peer.trusted.then(|| earlier_hops(&head.headers)).flatten() {
        Some(chain) => into.extend_from_slice(&chain),
        None => before(&header::FORWARDED).for_each(|hop| write(into, &[hop, b", "])),
    }
    write_hop(sender, caller, into);
    into.extend_from_slice(b"\r\n");
}

/// The chain of `X-Forwarded-For` in the words of RFC 7239, each hop with its comma.
fn earlier_hops(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(FORWARDED_FOR).iter().peekable();
    lines.peek()?;
    let mut text = Vec::with_capacity(64);
    for hop in lines.flat_map(|line| line.to_str().unwrap_or("unknown").split(',')) {
        let address = parse_hop(hop.trim());
        let node = match address {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
            None => "unknown".to_owned(),
        };
        text.extend_from_slice(format!("for={node}, ").as_bytes());
    }
    Some(text)
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
