//! Does the caller have it already? RFC 9110 13.2.2, in its order. Pure.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method, header, request::Parts};

use super::validators::Validators;

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 412.
    Failed,
    /// 304.
    NotModified,
    /// All of it, whatever ranges are asked for.
    Whole,
    /// What the ranges say.
    Ranges,
}

/// Judge a GET or HEAD of a file that is there.
pub(super) fn judge(head: &Parts, validators: &Validators) -> Verdict {
    let has = |name: &HeaderName| head.headers.contains_key(name);
    if has(&header::IF_MATCH) {
        if !listed(head, &header::IF_MATCH, |tag| tag == validators.tag.as_bytes()) {
            return Verdict::Failed;
        }
    } else if let (Some(date), Some(modified)) =
        (date(head, &header::IF_UNMODIFIED_SINCE), validators.modified)
        && modified > date
    {
        return Verdict::Failed;
    }
    if has(&header::IF_NONE_MATCH) {
        // Weakly: who has it compressed has it.
        let weak = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag) == validators.tag.as_bytes();
        if listed(head, &header::IF_NONE_MATCH, weak) {
            return Verdict::NotModified;
        }
    } else if let (Some(date), Some(modified)) = (date(head, &header::IF_MODIFIED_SINCE), validators.modified)
        && modified <= date
    {
        return Verdict::NotModified;
    }
    // Ranges are for GET alone (14.2).
    if head.method != Method::GET {
        return Verdict::Whole;
    }
    match head.headers.get(header::IF_RANGE) {
        None => Verdict::Ranges,
        Some(value) if is_this(value, validators) => Verdict::Ranges,
        Some(_) => Verdict::Whole,
    }
}

/// Is any of the listed tags ours, or any at all?
fn listed(head: &Parts, name: &HeaderName, ours: impl Fn(&[u8]) -> bool) -> bool {
    head.headers
        .get_all(name)
        .iter()
        .any(|value| value.as_bytes().trim_ascii() == b"*" || tags(value.as_bytes()).any(&ours))
}

/// The tags of a list. A tag may hold commas.
fn tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let start = list.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        list = &list[start..];
        let open = list.iter().position(|byte| *byte == b'"')?;
        let close = open + 1 + list[open + 1..].iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = list.split_at(close + 1);
        list = rest;
        Some(tag)
    })
}

/// `If-Range`: the very tag, or the very date of a file that has been still since.
fn is_this(value: &HeaderValue, validators: &Validators) -> bool {
    if value.as_bytes().trim_ascii().ends_with(b"\"") {
        return value.as_bytes().trim_ascii() == validators.tag.as_bytes();
    }
    // A date is no proof of a file that may have changed twice within its second (8.8.2.2).
    let is_old = |modified: SystemTime| {
        SystemTime::now().duration_since(modified).is_ok_and(|age| age.as_secs() >= 60)
    };
    let asked = value.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok());
    asked.is_some() && asked == validators.modified && validators.modified.is_some_and(is_old)
}

fn date(head: &Parts, name: &HeaderName) -> Option<SystemTime> {
    let mut values = head.headers.get_all(name).iter();
    // Twice, or no date: as if it were not there.
    let value = values.next().filter(|_| values.next().is_none())?;
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    #[test]
    fn conditions_are_judged_in_the_order_of_the_standard() {
        let modified = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let validators = Validators { tag: HeaderValue::from_static("\"a,b\""), modified: Some(modified) };
        let (same, before, after) =
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:36 GMT", "Sun Nov  6 08:49:38 1994");
        for (headers, want) in [
            (&[][..], Verdict::Ranges),
            (&[("if-none-match", "\"a,b\"")], Verdict::NotModified),
            (&[("if-none-match", "W/\"a,b\"")], Verdict::NotModified),
            (&[("if-none-match", "\"x\", W/\"y\" ,\"a,b\"")], Verdict::NotModified),
            (&[("if-none-match", "*")], Verdict::NotModified),
            (&[("if-none-match", "\"a\"")], Verdict::Ranges),
            (&[("if-none-match", "a,b")], Verdict::Ranges),
            (&[("if-none-match", "\"x\""), ("if-modified-since", after)], Verdict::Ranges),
            (&[("if-modified-since", same)], Verdict::NotModified),
            (&[("if-modified-since", after)], Verdict::NotModified),
            (&[("if-modified-since", before)], Verdict::Ranges),
            (&[("if-modified-since", "yesterday")], Verdict::Ranges),
            (&[("if-match", "\"a,b\"")], Verdict::Ranges),
            (&[("if-match", "*")], Verdict::Ranges),
            (&[("if-match", "W/\"a,b\"")], Verdict::Failed),
            (&[("if-match", "\"x\"")], Verdict::Failed),
            (&[("if-match", "\"a,b\""), ("if-none-match", "\"a,b\"")], Verdict::NotModified),
            (&[("if-unmodified-since", before)], Verdict::Failed),
            (&[("if-unmodified-since", same)], Verdict::Ranges),
            (&[("if-match", "\"a,b\""), ("if-unmodified-since", before)], Verdict::Ranges),
            (&[("if-range", "\"a,b\"")], Verdict::Ranges),
            (&[("if-range", "W/\"a,b\"")], Verdict::Whole),
            (&[("if-range", "\"x\"")], Verdict::Whole),
            (&[("if-range", same)], Verdict::Ranges),
            (&[("if-range", after)], Verdict::Whole),
            (&[("if-range", "nonsense")], Verdict::Whole),
        ] {
            let mut request = Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let head = request.body(()).unwrap().into_parts().0;
            assert_eq!(judge(&head, &validators), want, "{headers:?}");
        }
    }

    #[test]
    fn a_date_is_no_proof_of_a_file_that_changed_this_minute() {
        let modified = SystemTime::UNIX_EPOCH
            + Duration::from_secs(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() - 5);
        let validators = Validators { tag: HeaderValue::from_static("\"a\""), modified: Some(modified) };
        let date = httpdate::fmt_http_date(modified);
        let head = Request::builder().header("if-range", date).body(()).unwrap().into_parts().0;
        assert_eq!(judge(&head, &validators), Verdict::Whole);
    }
}
