//! Who asks for a WebSocket, and how: over HTTP/1.1 with `Upgrade`, over HTTP/2 with an extended CONNECT (RFC 8441).
//! To a worker both are the same. It must never let an answer pass for a switch that is none.

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts,
};
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};

use super::super::refusal::Refusal;

/// What a server adds to the key before it hashes it (RFC 6455 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The handshake's own version.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A request for a WebSocket.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The client's connection, once it has switched.
    client: OnUpgrade,
    /// Ours, for the worker: over HTTP/2 clients send none.
    key: Option<HeaderValue>,
}

impl Upgrade {
    /// Does this request ask for one?
    pub(crate) fn asked(request: &mut Request<Incoming>) -> Option<Self> {
        if asks_over_http1(request) {
            return Some(Self { client: hyper::upgrade::on(request), key: None });
        }
        let protocol = || request.extensions().get::<Protocol>().map(Protocol::as_str);
        if request.method() != Method::CONNECT || protocol() != Some("websocket") {
            return None;
        }
        let mut random = [0; 16];
        rand::fill(&mut random).ok()?;
        let key = HeaderValue::try_from(STANDARD.encode(random)).ok()?;
        Some(Self { client: hyper::upgrade::on(request), key: Some(key) })
    }

    /// To every step of the line it is the GET that it would be over HTTP/1.1: rules for paths and methods hold for
    /// both, and the worker knows no other.
    pub(crate) fn level(&self, head: &mut Parts) {
        if let Some(key) = &self.key {
            head.method = Method::GET;
            head.headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
            head.headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(VERSION);
        }
    }

    /// Over HTTP/2, where any 2xx is a switch?
    pub(crate) fn is_tunnel(&self) -> bool {
        self.key.is_some()
    }

    /// Does the worker's answer leave the client where it is, and is it fit for it? Over HTTP/2 any 2xx switches.
    pub(crate) fn check_refused(&self, status: StatusCode) -> Result<(), Refusal> {
        if self.key.is_some() && status.is_success() {
            return Err(Refusal::WorkerFailed(format!("it answered a WebSocket handshake with {status}")));
        }
        Ok(())
    }

    /// The worker has switched: the head that tells the client, and its connection.
    pub(super) fn accept(self, headers: &mut HeaderMap) -> Result<(StatusCode, OnUpgrade), Refusal> {
        headers.remove(header::CONTENT_LENGTH);
        let Some(key) = self.key else {
            // A browser checks the worker's proof itself.
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            return Ok((StatusCode::SWITCHING_PROTOCOLS, self.client));
        };
        let proof = headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        if proof.is_none_or(|proof| proof.as_bytes() != proof_of(key.as_bytes()).as_bytes()) {
            return Err(Refusal::WorkerFailed("it did not prove that it speaks WebSocket".into()));
        }
        Ok((StatusCode::OK, self.client))
    }
}

/// What a worker answers to a key (RFC 6455 4.2.2). SHA-1 is no secret here: it shows that the other side meant it.
fn proof_of(key: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, MAGIC].concat());
    STANDARD.encode(sum)
}

fn asks_over_http1(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
    };
    headers.contains_key(header::UPGRADE)
        && request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_rfc_6455() {
        assert_eq!(proof_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
