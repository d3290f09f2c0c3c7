//! The form of a request: what two readers could read in two ways ends here, before anyone asks who sent it, whatever
//! protocol it came over. It must never judge how large a request is: that is `limits`'s; nor see bytes: those are
//! `heads`'s.

use http::{HeaderValue, Method, Version, header, request::Parts};

use super::refusal::Refusal;

/// Is this a request that everyone reads alike?
pub(crate) fn check(head: &Parts) -> Result<(), Refusal> {
    target(head)?;
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Refusal::HeaderTwice("content-length"));
    }
    if length.is_some_and(|length| !is_number(length)) {
        return Err(Refusal::Malformed("content-length is no number"));
    }
    if head.version < Version::HTTP_11 && head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::Malformed("HTTP/1.0 has no transfer codings"));
    }
    let is_known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !head.headers.get_all(header::EXPECT).iter().all(is_known) {
        return Err(Refusal::ExpectationUnknown);
    }
    Ok(())
}

/// A path, or `*` where that means something; with a host before it only where both say the same (`authority`).
fn target(head: &Parts) -> Result<(), Refusal> {
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Refusal::Malformed("the scheme is neither http nor https"));
    }
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let is_path = target.starts_with('/') || (target == "*" && head.method == Method::OPTIONS);
    // HTTP/2 would also take what HTTP/1.1 has no way to say (RFC 3986 2).
    if is_path && target.is_ascii() { Ok(()) } else { Err(Refusal::Malformed("the target is no path")) }
}

/// Decimal digits alone.
pub(crate) fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check_with(line: (&str, &str), version: Version, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = Request::builder().method(line.0).uri(line.1).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_target_is_a_path_and_an_asterisk_only_with_options() {
        for (method, target, passes) in [
            ("GET", "/", true),
            ("GET", "//a/../b?c", true),
            ("GET", "http://api.example/x", true),
            ("GET", "https://api.example", true),
            ("OPTIONS", "*", true),
            ("OPTIONS", "/x", true),
            ("GET", "*", false),
            ("GET", "api.example:80", false),
            ("GET", "ftp://api.example/x", false),
            ("GET", "http://api.example?q", false),
            ("GET", "/\u{e9}", false),
        ] {
            let outcome = check_with((method, target), Version::HTTP_11, &[]);
            assert_eq!(outcome.is_ok(), passes, "{method} {target}: {outcome:?}");
        }
    }

    #[test]
    fn lengths_codings_and_expectations_are_plain_or_refused() {
        let (v0, v1, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let no_number = Refusal::Malformed("content-length is no number");
        for (version, headers, want) in [
            (v1, &[("content-length", "5"), ("expect", "100-Continue")][..], Ok(())),
            (v1, &[("transfer-encoding", "chunked")], Ok(())),
            (
                v0,
                &[("transfer-encoding", "chunked")],
                Err(Refusal::Malformed("HTTP/1.0 has no transfer codings")),
            ),
            (
                v2,
                &[("content-length", "5"), ("content-length", "5")],
                Err(Refusal::HeaderTwice("content-length")),
            ),
            (v2, &[("content-length", "+5")], Err(no_number.clone())),
            (v2, &[("content-length", "")], Err(no_number)),
            (v1, &[("expect", "200-ok")], Err(Refusal::ExpectationUnknown)),
            (v1, &[("expect", "100-continue"), ("expect", "x")], Err(Refusal::ExpectationUnknown)),
        ] {
            assert_eq!(check_with(("POST", "/"), version, headers), want, "{version:?} {headers:?}");
        }
    }
}
