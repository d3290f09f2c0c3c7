//! Our own log: what goes to standard error. The access log is the edge's; worker output is the backend's.

mod desk;

use std::{ffi::OsString, io::IsTerminal, sync::OnceLock};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, writer::BoxMakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::desk::Desk;

/// Lines go through it; none in a process that writes no log, and in one in which no thread can be started any more.
static DESK: OnceLock<Option<Desk>> = OnceLock::new();

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as `info,gateway::door=debug`.
    pub(crate) level: String,
    /// Text for people or JSON lines for collectors.
    pub(crate) format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

impl Config {
    /// Is `level` something the log understands?
    pub(crate) fn problem(&self) -> Option<String> {
        EnvFilter::try_new(&self.level).err().map(|error| error.to_string())
    }
}

/// Start logging for this process, by a thread that does this `first`. A second call changes nothing.
pub(crate) fn start(config: &Config, first: fn()) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let desk = DESK.get_or_init(|| Desk::start(first, std::io::stderr()).ok()).clone();
    let writer = match desk {
        Some(desk) => BoxMakeWriter::new(desk),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let started = match config.format {
        Format::Text => {
            let colours = colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR"));
            let layer = fmt::layer().with_writer(writer).with_target(false).with_ansi(colours);
            registry.with(layer).try_init()
        }
        Format::Json => registry.with(fmt::layer().json().with_writer(writer)).try_init(),
    };
    // The only failure is that a subscriber exists: in tests, where many gateways share a process.
    drop(started);
}

/// Write what is queued, before this process ends or becomes another program. Waits a second at most.
pub(crate) fn flush() {
    if let Some(desk) = DESK.get().and_then(Option::as_ref) {
        desk.flush();
    }
}

/// Colours are for terminals: in a file or the journal they are noise between the words. `NO_COLOR`, as long as it
/// is not empty, is a person who wants none.
fn colours(terminal: bool, no_color: Option<OsString>) -> bool {
    terminal && no_color.is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_of_people_who_want_them() {
        for (terminal, no_color, want) in
            [(true, None, true), (true, Some(""), true), (true, Some("1"), false), (false, None, false)]
        {
            assert_eq!(colours(terminal, no_color.map(OsString::from)), want, "{terminal} {no_color:?}");
        }
    }
}
