//! The shape of a request: what is larger than configured or could be read in two ways ends here, before anyone
//! asks who sent it. Counting requests is `admit`'s.

use http::{Method, Version, header, request::Parts};

use super::{config::Limits, heads::Heads, refusal::Refusal};

/// hyper cuts what is this many times too large, without an answer the page could read; below that the refusal
/// is ours.
pub(crate) const SLACK: usize = 2;

/// Check a head against the limits.
pub(crate) fn check(limits: &Limits, head: &Parts, heads: &Heads) -> Result<(), Refusal> {
    // `": "` and the line's end: four bytes a header.
    let header_bytes: usize =
        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target_bytes = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if head.headers.len() > limits.headers_max || header_bytes + target_bytes > limits.header_bytes_max {
        return Err(Refusal::HeadersTooLarge);
    }
    if head.method == Method::CONNECT {
        return Err(Refusal::Malformed("CONNECT is for forward proxies"));
    }
    if head.version < Version::HTTP_2 && head.headers.contains_key(header::TRANSFER_ENCODING) {
        // RFC 9112 6.1: both together is how requests are smuggled, and 1.0 knows no transfer encoding. hyper takes
        // the length away whichever came first, so it must be looked for in the bytes.
        if !heads.is_clear() || head.version < Version::HTTP_11 {
            return Err(Refusal::Malformed("ambiguous length"));
        }
    }
    let number = |value: &http::HeaderValue| value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match head.headers.get(header::CONTENT_LENGTH).map(number) {
        None => Ok(()),
        Some(Some(bytes)) if bytes <= limits.body_bytes_max => Ok(()),
        Some(Some(_)) => Err(Refusal::BodyTooLarge { bytes_max: limits.body_bytes_max }),
        Some(None) => Err(Refusal::Malformed("content-length is no number")),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check_with(headers: &[(&str, &str)], version: Version) -> Result<(), Refusal> {
        let limits =
            Limits { headers_max: 4, header_bytes_max: 200, body_bytes_max: 10, ..Limits::default() };
        let mut request = Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&limits, &request.body(()).unwrap().into_parts().0, &Heads::default())
    }

    #[test]
    fn what_is_too_large_or_ambiguous_is_refused() {
        let large = Refusal::BodyTooLarge { bytes_max: 10 };
        let (v1, v0) = (Version::HTTP_11, Version::HTTP_10);
        for (headers, version, want) in [
            (&[("a", "b")][..], v1, Ok(())),
            (&[("content-length", "10")], v1, Ok(())),
            (&[("content-length", "11")], v1, Err(large.clone())),
            (
                &[("content-length", "99999999999999999999")],
                v1,
                Err(Refusal::Malformed("content-length is no number")),
            ),
            (
                &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")],
                v1,
                Err(Refusal::HeadersTooLarge),
            ),
            (&[("a", &"x".repeat(200))], v1, Err(Refusal::HeadersTooLarge)),
            (&[("transfer-encoding", "chunked")], v1, Ok(())),
            (&[("transfer-encoding", "chunked")], v0, Err(Refusal::Malformed("ambiguous length"))),
        ] {
            assert_eq!(check_with(headers, version), want, "{headers:?}");
        }
    }
}
