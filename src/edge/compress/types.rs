//! Which media types are worth compressing. Never server-sent events: each must arrive when it is sent.

use http::HeaderValue;

/// A list of media types.
#[derive(Debug, Default)]
pub(crate) struct Types {
    exact: Vec<Box<str>>,
    /// `text/`.
    prefixes: Vec<Box<str>>,
    /// `+json`.
    suffixes: Vec<Box<str>>,
}

impl Types {
    /// From `text/html`, `text/*` and `*+json`.
    pub(crate) fn new(types: &[String]) -> Self {
        let mut list = Self::default();
        for text in types.iter().map(|text| text.to_ascii_lowercase()) {
            if let Some(prefix) = text.strip_suffix('*') {
                list.prefixes.push(prefix.into());
            } else if let Some(suffix) = text.strip_prefix('*') {
                list.suffixes.push(suffix.into());
            } else {
                list.exact.push(text.into());
            }
        }
        list
    }

    /// Is a `Content-Type` in it?
    pub(crate) fn has(&self, content_type: &HeaderValue) -> bool {
        let bytes = content_type.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b';').unwrap_or(bytes.len());
        let essence = bytes[..end].trim_ascii();
        if essence.eq_ignore_ascii_case(b"text/event-stream") {
            return false;
        }
        let begins = |prefix: &str| essence.get(..prefix.len()).is_some_and(|part| is(part, prefix));
        let ends = |suffix: &str| {
            essence.len().checked_sub(suffix.len()).is_some_and(|from| is(&essence[from..], suffix))
        };
        self.exact.iter().any(|text| is(essence, text))
            || self.prefixes.iter().any(|prefix| begins(prefix))
            || self.suffixes.iter().any(|suffix| ends(suffix))
    }
}

fn is(part: &[u8], text: &str) -> bool {
    part.eq_ignore_ascii_case(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{super::CompressionConfig, *};

    #[test]
    fn texts_are_worth_it_and_pictures_archives_and_events_are_not() {
        let types = Types::new(&CompressionConfig::default().types);
        for (content_type, want) in [
            ("text/html; charset=utf-8", true),
            ("Text/Plain", true),
            ("application/json", true),
            ("application/json;charset=utf-8", true),
            ("application/problem+json", true),
            ("application/vnd.api+JSON", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("text/event-stream", false),
            ("text/event-stream; charset=utf-8", false),
            ("image/png", false),
            ("image/jpeg", false),
            ("application/zip", false),
            ("application/gzip", false),
            ("application/octet-stream", false),
            ("application/jsonp", false),
            ("font/woff2", false),
            ("video/mp4", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(types.has(&HeaderValue::from_static(content_type)), want, "{content_type}");
        }
    }
}
