//! A line as it is sent and written: one JSON object. What the application wrote as JSON stays JSON, byte for byte.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{OutputLine, Stream};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record<'a> {
    /// When it was read.
    pub(crate) at: Timestamp,
    /// Such as `api/0`.
    #[serde(borrow)]
    pub(crate) worker: Cow<'a, str>,
    /// The process that wrote it.
    pub(crate) pid: u32,
    /// Where it wrote it.
    pub(crate) stream: Stream,
    /// The line, if it is no JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<Cow<'a, str>>,
    /// The line, if it is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<&'a RawValue>,
}

impl<'a> Record<'a> {
    /// The record of a line.
    pub(crate) fn of(line: &'a OutputLine) -> Self {
        let json = fields(&line.text).and_then(|_| serde_json::from_str::<&RawValue>(&line.text).ok());
        Self {
            at: line.at,
            worker: Cow::Borrowed(&line.worker),
            pid: line.pid,
            stream: line.stream,
            text: json.is_none().then_some(Cow::Borrowed(line.text.as_str())),
            json,
        }
    }

    /// The line as the application wrote it.
    pub(crate) fn written(&self) -> &str {
        match (&self.json, &self.text) {
            (Some(json), _) => json.get(),
            (None, text) => text.as_deref().unwrap_or_default(),
        }
    }

    /// With the end of its line.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        // Strings, numbers and what has just been read as JSON: nothing of it can fail to be written.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// The fields of a line that is a JSON object.
pub(crate) fn fields(text: &str) -> Option<Map<String, Value>> {
    // Most lines are none, and this one look is cheaper than a parser's error.
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        let at = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let (worker, stream) = ("api/0".to_owned(), Stream::Stdout);
        let line = OutputLine { number: 1, worker, pid: 7, stream, at, text: text.to_owned() };
        String::from_utf8(Record::of(&line).encoded()).unwrap()
    }

    #[test]
    fn json_stays_json_byte_for_byte_and_text_stays_text() {
        let head = r#"{"at":"2026-01-02T03:04:05.678Z","worker":"api/0","pid":7,"stream":"stdout""#;
        for (text, tail) in [
            ("listening", r#""text":"listening""#),
            (r#"{"z":1,"a":12345678901234567890123}"#, r#""json":{"z":1,"a":12345678901234567890123}"#),
            (r#"  {"a": "b"} "#, r#""json":{"a": "b"}"#),
            (r#"{"a":1} and more"#, r#""text":"{\"a\":1} and more""#),
            ("[1]", r#""text":"[1]""#),
            ("", r#""text":"""#),
        ] {
            let line = encoded(text);
            assert_eq!(line, format!("{head},{tail}}}\n"), "{text}");
            let read: Record<'_> = serde_json::from_str(&line).unwrap();
            assert_eq!(read.written().trim(), text.trim(), "{text}");
        }
    }

    #[test]
    fn objects_too_deep_to_be_read_are_text() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
        assert!(encoded(&deep).contains(r#""text":"{"#));
    }
}
