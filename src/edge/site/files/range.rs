//! Which part of a file is asked for (RFC 9110 14). One part; several are answered with the whole file, which the
//! standard allows and which cannot be used to make the answer larger than the file. Pure.

use std::ops::Range;

use http::{HeaderMap, header};

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The whole: no range, none that can be read, or several.
    All,
    /// This part, never empty.
    Part(Range<u64>),
    /// 416.
    Nowhere,
}

/// Read `Range` for a file of that many bytes.
pub(super) fn of(headers: &HeaderMap, bytes: u64) -> Wanted {
    let mut values = headers.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Wanted::All };
    let value = value.to_str().unwrap_or("");
    let Some((unit, set)) = value.split_once('=') else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Wanted::All };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::All };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => {
            if last.is_some_and(|last| last < first) {
                return Wanted::All;
            }
            let end = last.map_or(bytes, |last| last.saturating_add(1).min(bytes));
            if first < bytes { Wanted::Part(first..end) } else { Wanted::Nowhere }
        }
        // The last so many.
        (Some(None), Some(Some(suffix))) => {
            if suffix == 0 || bytes == 0 {
                return Wanted::Nowhere;
            }
            Wanted::Part(bytes.saturating_sub(suffix)..bytes)
        }
        _ => Wanted::All,
    }
}

/// Digits alone, or nothing; more of them than fit are as many as there can be.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_range_is_a_part_and_anything_odd_is_the_whole() {
        for (value, bytes, want) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=0-", 10, Wanted::Part(0..10)),
            ("bytes=3-5", 10, Wanted::Part(3..6)),
            ("bytes=3-99", 10, Wanted::Part(3..10)),
            ("bytes=0-18446744073709551615", 10, Wanted::Part(0..10)),
            ("bytes=0-99999999999999999999999", 10, Wanted::Part(0..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-99", 10, Wanted::Part(0..10)),
            ("Bytes = 1-2", 10, Wanted::Part(1..3)),
            ("bytes=1-2,", 10, Wanted::Part(1..3)),
            ("bytes=10-", 10, Wanted::Nowhere),
            ("bytes=99999999999999999999999-", 10, Wanted::Nowhere),
            ("bytes=-0", 10, Wanted::Nowhere),
            ("bytes=0-", 0, Wanted::Nowhere),
            ("bytes=-1", 0, Wanted::Nowhere),
            ("bytes=0-1,3-4", 10, Wanted::All),
            ("bytes=5-3", 10, Wanted::All),
            ("bytes=-", 10, Wanted::All),
            ("bytes=a-b", 10, Wanted::All),
            ("bytes=+1-2", 10, Wanted::All),
            ("bytes=1", 10, Wanted::All),
            ("bytes", 10, Wanted::All),
            ("lines=0-1", 10, Wanted::All),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(value));
            assert_eq!(of(&headers, bytes), want, "{value} of {bytes}");
            headers.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
            assert_eq!(of(&headers, bytes), Wanted::All, "twice");
        }
    }
}
