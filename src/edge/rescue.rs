//! The one place where a refusal becomes an answer: `application/problem+json` with a stable code and the request
//! id, readable by the page that asked. What only the operator may read goes to the log alone.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Serialize;

use crate::error::{Audience, Fault, Kind};

use super::{
    body::Body,
    cors,
    peer::Peer,
    refusal::Refusal,
    request_id::{REQUEST_ID, RequestId},
};

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// RFC 9457, and our `code` and `request_id`.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    request_id: &'a str,
}

/// The answer to a refused request, without the headers that depend on who asked: the request path adds those to
/// every answer alike.
pub(crate) fn answer(refusal: &Refusal, id: &RequestId) -> Response<Body> {
    if matches!(refusal.kind(), Kind::Backend | Kind::Operator | Kind::Gateway) {
        tracing::warn!(code = refusal.code(), request_id = id.as_str(), "request failed: {refusal}");
    }
    let status = refusal.status();
    let title = status.canonical_reason().unwrap_or("Refused");
    let own_words = refusal.to_string();
    let detail = match refusal.audience() {
        Audience::Anyone => own_words.as_str(),
        Audience::Operator if matches!(refusal, Refusal::NoDescriptor) => {
            "as much as this server can take at once; try again soon"
        }
        Audience::Operator => "the application failed to answer; the operator's log says why",
    };
    let problem = Problem {
        r#type: "about:blank",
        title,
        status: status.as_u16(),
        code: refusal.code(),
        detail,
        request_id: id.as_str(),
    };
    // Strings and a number always serialise.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = Response::new(Body::Full(Some(Bytes::from(body))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match refusal {
        // Both must be there (RFC 9110 15.5.6) or should (14.4).
        Refusal::MethodNotAllowed { allow } => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        Refusal::RangeNotSatisfiable { bytes } => {
            if let Ok(range) = HeaderValue::try_from(format!("bytes */{bytes}")) {
                headers.insert(header::CONTENT_RANGE, range);
            }
        }
        _ => {}
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 15.5.2 wants a challenge; this names the header that was wrong.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("x-gateway-key"));
    }
    answer
}

/// Say that this answer is the connection's last: whoever speaks so is not listened to any further.
pub(crate) fn end(peer: &Peer, headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    peer.activity.heads.end();
}

/// The same as the last bytes of an HTTP/1 connection, where no request came that could be answered.
pub(crate) fn bytes(refusal: &Refusal, id: &RequestId) -> Vec<u8> {
    let mut answer = answer(refusal, id);
    let Body::Full(Some(body)) = std::mem::replace(answer.body_mut(), Body::Empty) else { return Vec::new() };
    let headers = answer.headers_mut();
    cors::vary(headers);
    headers.insert(REQUEST_ID, id.header.clone());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
    if let Some(date) = date.ok().and_then(|date| HeaderValue::try_from(date).ok()) {
        headers.insert(header::DATE, date);
    }
    let mut bytes = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::BodyExt;

    use super::{super::request_id::RequestIds, *};

    #[tokio::test]
    async fn a_refusal_says_code_and_request_id_and_hides_what_is_the_operators() {
        let id = RequestIds::new().of(false, &HeaderMap::new());
        for (refusal, status, code, retry) in [
            (Refusal::OriginNotListed, 403, "origin-not-listed", None),
            (Refusal::TooFast { retry_after_s: 3 }, 429, "too-many-requests", Some("3")),
            (Refusal::NoWorker, 503, "no-worker", Some("1")),
            (Refusal::BackendStopped, 503, "backend-stopped", Some("30")),
            (Refusal::NoDescriptor, 503, "no-descriptor", Some("1")),
            (Refusal::WorkerFailed("/run/secret.sock".into()), 502, "worker-failed", None),
            (Refusal::HostNotServed, 421, "host-not-served", None),
        ] {
            let answer = super::answer(&refusal, &id);
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
            let wait =
                answer.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(wait.as_deref(), retry);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (problem["code"].as_str(), problem["status"].as_u64()),
                (Some(code), Some(u64::from(status)))
            );
            assert_eq!(problem["request_id"], id.as_str());
            assert!(!body.windows(6).any(|window| window == b"secret"));
        }
    }
}
