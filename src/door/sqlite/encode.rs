//! Answers as JSON, written straight into the answer's buffer, so that its size is known while rows come in.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use rusqlite::types::ValueRef;

use super::protocol::Failure;

/// A JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec does not fail, and text always has a JSON form.
    drop(serde_json::to_writer(out, text));
}

/// A JSON string or `null`.
pub(super) fn optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// `{"message":…,"code":…}`.
pub(super) fn failure(out: &mut Vec<u8>, failure: &Failure) {
    drop(serde_json::to_writer(out, failure));
}

/// A value as the protocol writes it: integers as text, blobs as base64 without padding.
pub(super) fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(br#"{"type":"null"}"#),
        ValueRef::Integer(number) => {
            out.extend_from_slice(br#"{"type":"integer","value":""#);
            out.extend_from_slice(number.to_string().as_bytes());
            out.extend_from_slice(br#""}"#);
        }
        ValueRef::Real(number) => {
            out.extend_from_slice(br#"{"type":"float","value":"#);
            // JSON has no infinity; every parser reads a number too large for a double as one.
            let text = match number {
                f64::INFINITY => "1e999".to_owned(),
                f64::NEG_INFINITY => "-1e999".to_owned(),
                finite => serde_json::to_string(&finite).unwrap_or_else(|_| "null".to_owned()),
            };
            out.extend_from_slice(text.as_bytes());
            out.push(b'}');
        }
        ValueRef::Text(bytes) => {
            out.extend_from_slice(br#"{"type":"text","value":"#);
            string(out, &String::from_utf8_lossy(bytes));
            out.push(b'}');
        }
        ValueRef::Blob(bytes) => {
            out.extend_from_slice(br#"{"type":"blob","base64":""#);
            out.extend_from_slice(STANDARD_NO_PAD.encode(bytes).as_bytes());
            out.extend_from_slice(br#""}"#);
        }
    }
}

/// Write a JSON array, one item a call.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut one: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        one(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_know_are_written_so_that_javascript_reads_them() {
        for (number, right) in
            [(f64::INFINITY, "1e999"), (f64::NEG_INFINITY, "-1e999"), (0.1, "0.1"), (2.0, "2.0")]
        {
            let mut out = Vec::new();
            value(&mut out, ValueRef::Real(number));
            let right = format!(r#"{{"type":"float","value":{right}}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), right);
        }
    }
}
