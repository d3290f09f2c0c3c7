//! What fuzz targets (`tests/fuzz`) call of the edge: the functions between a stranger's bytes and a worker's. Nothing
//! of the product calls it.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::tenant::Tenant;

use super::{
    activity::Activity,
    authority::{Authority, Scheme},
    connection::HTTP_1,
    forward,
    heads::scan::Scan,
    identify::Caller,
    peer::{Peer, Remote},
    proxy_protocol::{self, Announced, Header},
    request_id::RequestIds,
    shape,
};

/// What the scan of an HTTP/1 connection makes of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// This byte must not pass.
    Refused(usize),
    /// All of it passes.
    Passed {
        /// Heads that are complete.
        heads: u64,
        /// The bytes end where a request may begin.
        between: bool,
    },
}

/// Scan bytes that come in such pieces.
pub fn scan(bytes: &[u8], piece: usize) -> Scanned {
    let mut scan = Scan::new();
    let piece = piece.max(1);
    for (number, bytes) in bytes.chunks(piece).enumerate() {
        if let Err(bad) = scan.read(bytes) {
            return Scanned::Refused(number * piece + bad.at);
        }
    }
    Scanned::Passed { heads: scan.heads(), between: scan.is_between() }
}

/// One request as hyper reads it.
#[derive(Debug)]
pub struct Head<'a> {
    /// As written.
    pub method: &'a str,
    /// As written.
    pub target: &'a [u8],
    /// HTTP/1.0 or 1.1.
    pub minor: u8,
    /// As written, in their order.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// Turns a stranger's head into a worker's.
#[derive(Debug)]
pub struct Rebuilder {
    ids: RequestIds,
    peer: Peer,
    tenant: Arc<Tenant>,
    url: HeaderValue,
}

impl Rebuilder {
    /// For a client at 192.0.2.1, of the tenant `acme`. `None` never happens.
    pub fn new() -> Option<Self> {
        let remote = Remote::new(SocketAddr::from(([192, 0, 2, 1], 1)), &[]);
        Some(Self {
            ids: RequestIds::new(),
            peer: Peer::new(remote, Scheme::Https, HTTP_1, Activity::new(None)),
            tenant: Arc::new(Tenant::new("acme".parse().ok()?)),
            url: HeaderValue::from_static("http://127.0.0.1:4000/?authToken=acme.x"),
        })
    }

    /// The head's bytes as a worker gets them; `None` where the edge refuses it.
    pub fn rebuild(&self, head: &Head<'_>) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(head.method.as_bytes()).ok()?;
        *request.uri_mut() = Uri::try_from(head.target).ok()?;
        *request.version_mut() = if head.minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        let (parts, ()) = request.into_parts();
        shape::check(&parts).ok()?;
        let authority = Authority::of(&parts).ok()?;
        let caller = Caller { tenant: Some(self.tenant.clone()), page: None, authority, site: None };
        let id = self.ids.of(false, &parts.headers);
        Some(forward::sent((&self.peer, &id), &caller, &parts, &self.url))
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// No header of the PROXY protocol.
    Absent,
    /// Perhaps the beginning of one.
    Incomplete,
    /// One.
    Complete {
        /// How long it is.
        bytes: usize,
        /// The client that it names.
        client: Option<SocketAddr>,
    },
    /// What begins like one.
    Invalid,
}

/// Read a header of the PROXY protocol.
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    match proxy_protocol::parse(bytes) {
        Header::Absent => ProxyHeader::Absent,
        Header::Incomplete => ProxyHeader::Incomplete,
        Header::Invalid(_) => ProxyHeader::Invalid,
        Header::Complete { announced, bytes } => {
            let client = match announced {
                Announced::Client(client) => Some(client),
                Announced::Itself | Announced::Unknown => None,
            };
            ProxyHeader::Complete { bytes, client }
        }
    }
}
