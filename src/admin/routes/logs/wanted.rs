//! Which lines of the workers are asked for. Pure; what an application writes is only ever read as data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::backend::{OutputLine, Stream, fields};

/// Where applications write whose request a line is about.
const TENANT_FIELDS: [&str; 3] = ["tenant", "tenant_id", "tenantId"];

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum Level {
    /// Every step.
    Trace,
    /// For who looks for a mistake.
    Debug,
    /// What happens.
    Info,
    /// What should not happen often.
    Warn,
    /// What failed.
    Error,
    /// What ended the process.
    Fatal,
}

impl Level {
    /// The level in words, as winston and others write it, or in pino's numbers.
    fn written(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(match number.as_f64()? {
                ..20.0 => Self::Trace,
                ..30.0 => Self::Debug,
                ..40.0 => Self::Info,
                ..50.0 => Self::Warn,
                ..60.0 => Self::Error,
                _ => Self::Fatal,
            }),
            Value::String(word) => match word.to_ascii_lowercase().as_str() {
                "trace" | "silly" => Some(Self::Trace),
                "debug" | "verbose" => Some(Self::Debug),
                "info" | "http" | "log" | "notice" => Some(Self::Info),
                "warn" | "warning" => Some(Self::Warn),
                "error" | "err" => Some(Self::Error),
                // Those of syslog, which winston has as well.
                "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => {
                    Some(Self::Fatal)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The level of a line with these fields, or none.
    pub(in crate::admin) fn of(stream: Stream, fields: &Map<String, Value>) -> Self {
        fields.get("level").and_then(Self::written).unwrap_or(Self::of_stream(stream))
    }

    /// The level of a line that names none: Node writes stack traces to standard error.
    fn of_stream(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::Info,
            // It only ever complains.
            Stream::Gateway => Self::Warn,
            Stream::Stderr => Self::Error,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::admin::routes) struct Wanted {
    /// `api/0`, `api`, or none for all.
    pub(super) worker: Option<String>,
    /// Lines that name this tenant, and those of a job's run for it.
    tenant: Option<String>,
    /// Lines of this level and above.
    level: Option<Level>,
    /// Lines that were read at this time or later.
    since: Option<Timestamp>,
    /// How many lines of the past.
    #[serde(default)]
    pub(super) lines: usize,
    /// Go on with new lines.
    #[serde(default)]
    pub(super) follow: bool,
}

impl Wanted {
    /// Is this line asked for?
    pub(super) fn wants(&self, line: &OutputLine) -> bool {
        if !self.wants_worker(&line.worker) || self.since.is_some_and(|since| line.at < since) {
            return false;
        }
        if self.tenant.is_none() && self.level.is_none() {
            return true;
        }
        let fields = fields(&line.text).unwrap_or_default();
        let level = Level::of(line.stream, &fields);
        self.level.is_none_or(|least| level >= least) && self.wants_tenant(&line.worker, &fields)
    }

    fn wants_worker(&self, worker: &str) -> bool {
        self.worker.as_deref().is_none_or(|name| {
            worker == name || worker.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        })
    }

    fn wants_tenant(&self, worker: &str, fields: &Map<String, Value>) -> bool {
        self.tenant.as_deref().is_none_or(|tenant| {
            let whole_run = worker.strip_prefix("job/").and_then(|rest| rest.split_once('/'));
            whole_run.is_some_and(|(_, whom)| whom == tenant)
                || TENANT_FIELDS.iter().any(|name| fields.get(*name).and_then(Value::as_str) == Some(tenant))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(worker: &str, stream: Stream, text: &str) -> OutputLine {
        let at = Timestamp::from_second(1_000).unwrap();
        OutputLine { number: 0, worker: worker.to_owned(), pid: 7, stream, at, text: text.to_owned() }
    }

    #[test]
    fn a_name_means_one_worker_or_all_of_a_backend() {
        for (name, worker, want) in [
            (None, "api/0", true),
            (Some("api"), "api/0", true),
            (Some("api/0"), "api/0", true),
            (Some("api/0"), "api/01", false),
            (Some("ap"), "api/0", false),
            (Some("api/1"), "api/0", false),
        ] {
            let wanted = Wanted { worker: name.map(str::to_owned), ..Wanted::default() };
            assert_eq!(wanted.wants(&line(worker, Stream::Stdout, "")), want, "{name:?} {worker}");
        }
    }

    #[test]
    fn a_level_is_read_from_the_line_or_else_from_its_stream() {
        for (least, stream, text, want) in [
            (Level::Warn, Stream::Stdout, r#"{"level":40}"#, true),
            (Level::Warn, Stream::Stdout, r#"{"level":30}"#, false),
            (Level::Warn, Stream::Stdout, r#"{"level":"WARN"}"#, true),
            (Level::Error, Stream::Stdout, r#"{"level":"crit"}"#, true),
            (Level::Fatal, Stream::Stdout, r#"{"level":"emerg"}"#, true),
            (Level::Warn, Stream::Stderr, r#"{"level":"info"}"#, false),
            (Level::Error, Stream::Stderr, "TypeError: x is undefined", true),
            (Level::Error, Stream::Stdout, "listening", false),
            (Level::Info, Stream::Stdout, "listening", true),
            (Level::Info, Stream::Stdout, "{no json", true),
            (Level::Error, Stream::Stderr, r#"{"level":[]}"#, true),
        ] {
            let wanted = Wanted { level: Some(least), ..Wanted::default() };
            assert_eq!(wanted.wants(&line("api/0", stream, text)), want, "{least:?} {text}");
        }
    }

    #[test]
    fn a_tenants_lines_are_those_that_name_it_and_no_others() {
        let wanted = Wanted { tenant: Some("barber".to_owned()), ..Wanted::default() };
        for (text, want) in [
            (r#"{"tenant":"barber","msg":"booked"}"#, true),
            (r#"{"tenantId":"barber"}"#, true),
            (r#"{"tenant":"barber2"}"#, false),
            (r#"{"msg":"barber"}"#, false),
            ("barber", false),
        ] {
            assert_eq!(wanted.wants(&line("api/0", Stream::Stdout, text)), want, "{text}");
        }
        for (worker, want) in [
            ("job/nightly/barber", true),
            ("job/nightly/barber2", false),
            ("job/barber", false),
            ("job/nightly", false),
            ("api/barber", false),
        ] {
            assert_eq!(wanted.wants(&line(worker, Stream::Stdout, "no razor")), want, "{worker}");
        }
    }

    #[test]
    fn lines_before_the_time_asked_for_are_left_out() {
        for (second, want) in [(999, true), (1_000, true), (1_001, false)] {
            let since = Some(Timestamp::from_second(second).unwrap());
            let wanted = Wanted { since, ..Wanted::default() };
            assert_eq!(wanted.wants(&line("api/0", Stream::Stdout, "")), want, "{second}");
        }
    }
}
