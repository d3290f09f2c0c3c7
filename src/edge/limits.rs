//! The size of a request: what is larger than configured ends here, before anyone asks who sent it. Its form is
//! `shape`'s, counting requests is `admit`'s.

use http::{Method, header, request::Parts};

use super::{config::Limits, refusal::Refusal};

/// hyper cuts what is this many times too large, without an answer the page could read; below that the refusal
/// is ours.
pub(crate) const SLACK: usize = 2;

/// Check a head against the limits.
pub(crate) fn check(limits: &Limits, body_bytes_max: u64, head: &Parts) -> Result<(), Refusal> {
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
    let number = |value: &http::HeaderValue| value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match head.headers.get(header::CONTENT_LENGTH).map(number) {
        None => Ok(()),
        Some(Some(bytes)) if bytes <= body_bytes_max => Ok(()),
        Some(Some(_)) => Err(Refusal::BodyTooLarge { bytes_max: body_bytes_max }),
        Some(None) => Err(Refusal::Malformed("content-length is no number")),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check_with(headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let limits = Limits { headers_max: 4, header_bytes_max: 200, ..Limits::default() };
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&limits, 10, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let large = Refusal::BodyTooLarge { bytes_max: 10 };
        for (headers, want) in [
            (&[("a", "b")][..], Ok(())),
            (&[("content-length", "10")], Ok(())),
            (&[("content-length", "11")], Err(large.clone())),
            (
                &[("content-length", "99999999999999999999")],
                Err(Refusal::Malformed("content-length is no number")),
            ),
            (&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")], Err(Refusal::HeadersTooLarge)),
            (&[("a", &"x".repeat(200))], Err(Refusal::HeadersTooLarge)),
        ] {
            assert_eq!(check_with(headers), want, "{headers:?}");
        }
    }
}
