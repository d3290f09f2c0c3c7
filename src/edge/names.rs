//! Names of headers: which of them only the gateway may say, which end at this hop, and which have no business in
//! trailers. It must never look at values.

use http::{HeaderMap, HeaderName};

/// Is this a name in which only the gateway speaks? Some backends read `_` as `-`.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    const OURS: &[u8] = b"x-gateway-";
    let name = name.as_str().as_bytes();
    // Asked of every header of every request and answer, most of which begin otherwise.
    if name.first() != Some(&OURS[0]) || name.len() < OURS.len() {
        return false;
    }
    let same = |(byte, ours): (&u8, &u8)| byte == ours || (*ours == b'-' && *byte == b'_');
    name.iter().zip(OURS).all(same)
}

/// Headers of one hop, and those that are written anew: host, forwarding, ids. `Expect` was answered by us.
pub(crate) fn is_consumed(name: &HeaderName) -> bool {
    let name = name.as_str();
    if memchr::memchr(b'_', name.as_bytes()).is_none() {
        return ends_here(name);
    }
    // What CGI and its children would take for one of them, or for the body's length.
    let plain = name.replace('_', "-");
    ends_here(&plain) || plain == "content-length"
}

fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "host"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-real-ip"
            | "x-request-id"
            | "traceparent"
    )
}

/// Remove from trailers what would change how the message is read, who speaks in it or where it goes, were it
/// taken for a header (RFC 9110 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    let heads_only = |name: &HeaderName| {
        let name = name.as_str();
        matches!(
            name,
            "authorization"
                | "cache-control"
                | "content-encoding"
                | "content-length"
                | "content-range"
                | "content-type"
                | "cookie"
                | "location"
                | "origin"
                | "range"
                | "set-cookie"
                | "trailer"
        ) || name.starts_with("access-control-")
            || name.starts_with("if-")
    };
    let foreign = |name: &&HeaderName| is_ours(name) || is_consumed(name) || heads_only(name);
    let foreign: Vec<HeaderName> = trailers.keys().filter(foreign).cloned().collect();
    for name in foreign {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_that_a_worker_may_take_for_ours_are_ours() {
        for (name, ours, consumed) in [
            ("x-gateway-tenant", true, false),
            ("x_gateway_tenant", true, false),
            ("x-gateway-", true, false),
            ("x-gateway", false, false),
            ("x-gateways-tenant", false, false),
            ("x_forwarded_for", false, true),
            ("x-forwarded_for", false, true),
            ("content_length", false, true),
            ("content-length", false, false),
            ("transfer_encoding", false, true),
            ("my_header", false, false),
            ("host", false, true),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!((is_ours(&name), is_consumed(&name)), (ours, consumed), "{name}");
        }
    }

    #[test]
    fn trailers_keep_only_what_says_something_about_the_body() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-checksum",
            "content-digest",
            "content-length",
            "host",
            "x-gateway-tenant",
            "set-cookie",
            "transfer-encoding",
        ] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        strip_trailers(&mut trailers);
        assert_eq!(
            trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-checksum", "content-digest"]
        );
    }
}
