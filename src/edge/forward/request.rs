//! What a worker gets: a request built anew from what passes, and what we say ourselves set last, so that no
//! caller can speak in our name or strip what we say.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, Version,
    header::{self, Entry},
    request::Parts,
};

use super::super::{
    authority::Scheme,
    identify::Caller,
    names::{is_consumed, is_ours},
    peer::{FORWARDED_FOR, FORWARDED_PROTO, Peer, parse_hop},
    request_id::{REQUEST_ID, RequestId, TRACEPARENT},
    serve::Exchange,
    upgrade::Upgrade,
};

const TENANT: HeaderName = HeaderName::from_static("x-gateway-tenant");
const DATABASE_URL: HeaderName = HeaderName::from_static("x-gateway-database-url");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Headers we add at most.
const OURS_MAX: usize = 14;

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

/// The request as the worker gets it.
pub(super) fn rebuild(
    sender: Sender<'_>,
    caller: &Caller,
    head: &Parts,
    database_url: Option<&HeaderValue>,
    upgrade: Option<&Upgrade>,
) -> Request<()> {
    let mut headers = HeaderMap::with_capacity(head.headers.len() + OURS_MAX);
    pass(head, &mut headers);
    if let Some(upgrade) = upgrade {
        upgrade.dress(&mut headers);
    }
    headers.insert(header::HOST, caller.authority.value().clone());
    if let Some(tenant) = &caller.tenant {
        headers.insert(TENANT, tenant.id_header().clone());
    }
    if let Some(url) = database_url {
        headers.insert(DATABASE_URL, url.clone());
    }
    headers.insert(REQUEST_ID, sender.id.header.clone());
    headers.insert(TRACEPARENT, sender.id.traceparent(&head.headers));
    forwarding(sender, caller, head, &mut headers);
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = match (head.uri.authority(), head.uri.path_and_query()) {
        // Origin form; most requests come in it already.
        (Some(_), Some(target)) => Uri::from(target.clone()),
        _ => head.uri.clone(),
    };
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

/// Copy what may pass.
fn pass(head: &Parts, headers: &mut HeaderMap) {
    let listed = Listed::of(&head.headers);
    for (name, value) in &head.headers {
        if is_consumed(name) || is_ours(name) || listed.contains(name) {
            continue;
        }
        // HTTP/2 may cut cookies into crumbs; HTTP/1.1 takes one line (RFC 9113 8.2.3).
        if *name == header::COOKIE {
            match headers.entry(header::COOKIE) {
                Entry::Vacant(entry) => drop(entry.insert(value.clone())),
                Entry::Occupied(mut entry) => {
                    let joined = [entry.get().as_bytes(), value.as_bytes()].join(&b"; "[..]);
                    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                        entry.insert(joined);
                    }
                }
            }
        } else {
            headers.append(name.clone(), value.clone());
        }
    }
    // One length, in its one form: `shape` has seen that it is digits.
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if let Some(length) = length.filter(|length| length.starts_with('0')) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length.parse::<u64>().unwrap_or_default()));
    }
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

    pub(super) fn names(&self) -> &[&'a str] {
        &self.0
    }
}

/// Who called, how, and as what; a trusted proxy's chain is continued, anyone else's begins with us.
fn forwarding(sender: Sender<'_>, caller: &Caller, head: &Parts, headers: &mut HeaderMap) {
    let Sender { peer, scheme, .. } = sender;
    let chain = |name: &HeaderName, last: HeaderValue| {
        if peer.trusted { continued(&head.headers, name, &last).unwrap_or(last) } else { last }
    };
    headers.insert(FORWARDED_FOR, chain(&FORWARDED_FOR, peer.address_header.clone()));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    headers.insert(FORWARDED_HOST, caller.authority.value().clone());
    let port = match (caller.authority.port(), scheme) {
        (Some(port), _) => HeaderValue::from(port),
        (None, Scheme::Https) => HeaderValue::from_static("443"),
        (None, Scheme::Http) => HeaderValue::from_static("80"),
    };
    headers.insert(FORWARDED_PORT, port);
    if let Some(hop) = hop(sender, caller) {
        // Both name the same chain: a proxy that writes only the one may pass on anybody's other.
        let before = if peer.trusted { earlier_hops(&head.headers) } else { None };
        let forwarded = match before {
            Some(before) => HeaderValue::from_bytes(&[&before, hop.as_bytes()].concat()).unwrap_or(hop),
            None => chain(&header::FORWARDED, hop),
        };
        headers.insert(header::FORWARDED, forwarded);
    }
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
fn hop(sender: Sender<'_>, caller: &Caller) -> Option<HeaderValue> {
    let (peer, host) = (sender.peer, caller.authority.value());
    let mut text = BytesMut::with_capacity(40 + peer.address_header.len() + host.len());
    text.put_slice(b"for=");
    if peer.address.is_ipv6() {
        text.put_slice(b"\"[");
        text.put_slice(peer.address_header.as_bytes());
        text.put_slice(b"]\"");
    } else {
        text.put_slice(peer.address_header.as_bytes());
    }
    text.put_slice(b";proto=");
    text.put_slice(sender.scheme.as_str().as_bytes());
    text.put_slice(b";host=");
    // A colon is no token character, so a host with a port (or an IPv6 address) is quoted.
    let quote: &[u8] = if host.as_bytes().contains(&b':') { b"\"" } else { b"" };
    text.put_slice(quote);
    text.put_slice(host.as_bytes());
    text.put_slice(quote);
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

fn continued(headers: &HeaderMap, name: &HeaderName, last: &HeaderValue) -> Option<HeaderValue> {
    let hops: Vec<&[u8]> = headers.get_all(name).iter().chain([last]).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&hops.join(&b", "[..])).ok()
}
