//! The newest lines of the workers, short enough for a page. Pure; whatever they say, they are text.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Level, house::clipped};
use crate::backend::{Record, fields};

/// Lines shown: a few screens.
const LINES_MAX: usize = 200;

/// What of a line is shown; `gateway logs` has the whole of it.
const LINE_CHARS_MAX: usize = 2000;

/// Fields of a line of JSON that the page shows elsewhere, or that say nothing: pino's and winston's.
const KNOWN_FIELDS: [&str; 7] = ["level", "time", "timestamp", "pid", "hostname", "msg", "message"];

/// Which lines.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    level: Option<Level>,
    worker: Option<String>,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    at: Timestamp,
    worker: String,
    level: Level,
    text: String,
}

impl Asked {
    /// Where the admin socket has them.
    pub(super) fn path(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("lines", &LINES_MAX.to_string());
        if let Some(level) = self.level.and_then(|level| serde_json::to_value(level).ok()) {
            query.append_pair("level", level.as_str().unwrap_or_default());
        }
        if let Some(worker) = self.worker.as_deref().filter(|worker| !worker.is_empty()) {
            query.append_pair("worker", worker);
        }
        format!("/logs?{}", query.finish())
    }
}

/// The lines of an answer, one JSON object each.
pub(super) fn read(answer: &[u8]) -> Vec<Line> {
    let records = answer.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    records.map(|record| line(&record)).collect()
}

fn line(record: &Record<'_>) -> Line {
    let fields = record.json.and_then(|json| fields(json.get())).unwrap_or_default();
    let text = said(&fields).map_or(Cow::Borrowed(record.written()), Cow::Owned);
    Line {
        at: record.at,
        worker: record.worker.clone().into_owned(),
        level: Level::of(record.stream, &fields),
        text: clipped(&text, LINE_CHARS_MAX),
    }
}

/// What a line of JSON says as a person would: its message, then what else it has.
fn said(fields: &Map<String, Value>) -> Option<String> {
    let message = ["msg", "message"].iter().find_map(|name| fields.get(*name)?.as_str())?;
    let rest: Vec<_> = fields
        .iter()
        .filter(|(name, _)| !KNOWN_FIELDS.contains(&name.as_str()))
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    Some([&[message.to_owned()][..], &rest].concat().join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str, what: &str, level: Level, text: &str) {
        let line = format!(
            r#"{{"at":"2026-01-02T03:04:05.678Z","worker":"api/0","pid":7,"stream":"{stream}",{what}}}"#
        );
        let lines = read(format!("{line}\n").as_bytes());
        assert_eq!((lines[0].level, lines[0].text.as_str()), (level, text), "{line}");
    }

    #[test]
    fn a_line_of_json_is_shown_as_its_message_and_what_else_it_has() {
        check("stdout", r#""text":"listening""#, Level::Info, "listening");
        check("stderr", r#""text":"Error: no""#, Level::Error, "Error: no");
        check(
            "stdout",
            r#""json":{"level":40,"time":1,"pid":7,"hostname":"h","msg":"late","tenant":"navaja","ms":12}"#,
            Level::Warn,
            "late  ms=12  tenant=navaja",
        );
        check(
            "stdout",
            r#""json":{"level":"error","oops":{"a":1}}"#,
            Level::Error,
            r#"{"level":"error","oops":{"a":1}}"#,
        );
        let hostile = r#""text":"<img src=x onerror=alert(1)>""#;
        check("stdout", hostile, Level::Info, "<img src=x onerror=alert(1)>");
    }

    #[test]
    fn a_long_line_is_cut_and_what_is_no_record_is_left_out() {
        let long = "ä".repeat(LINE_CHARS_MAX + 1);
        check(
            "stdout",
            &format!(r#""text":"{long}""#),
            Level::Info,
            &format!("{}…", "ä".repeat(LINE_CHARS_MAX)),
        );
        assert_eq!(read(b"{}\nnothing\n\n"), []);
    }

    #[test]
    fn what_is_asked_for_stays_one_value_of_the_query() {
        let asked = Asked { level: Some(Level::Warn), worker: Some("api/0&follow=true".to_owned()) };
        assert_eq!(asked.path(), "/logs?lines=200&level=warn&worker=api%2F0%26follow%3Dtrue");
        assert_eq!(Asked { level: None, worker: Some(String::new()) }.path(), "/logs?lines=200");
    }
}
