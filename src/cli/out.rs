//! What commands print: tables and lines for people, JSON for scripts, all on standard output. Progress and
//! errors go to standard error, so that `--json | jq` and `backup -` stay clean.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
    sync::OnceLock,
};

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;

use super::Failure;

/// What was wrong with standard output when it could not be written for the first time.
static UNWRITABLE: OnceLock<io::ErrorKind> = OnceLock::new();

/// Told when that happens.
static GONE: Notify = Notify::const_new();

/// `--json`, for the commands that show something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Form {
    /// Print JSON for scripts instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

/// One line on standard output. A reader that went away (`| head`) is no failure; a full disk is one at the end.
pub(crate) fn line(text: impl AsRef<str>) {
    if let Err(error) = whole(io::stdout().lock(), text.as_ref())
        && UNWRITABLE.set(error.kind()).is_ok()
    {
        GONE.notify_one();
    }
}

/// One line on standard error: progress and remarks.
pub(crate) fn remark(text: impl AsRef<str>) {
    // There is nobody left to tell of a standard error that cannot be written.
    let _gone = whole(io::stderr().lock(), text.as_ref());
}

/// Resolves when nobody reads what is printed any more. For one command that waits for nothing else.
pub(crate) async fn reader_gone() {
    GONE.notified().await;
}

/// How a command has ended that did what it was told: not well, if what it had to say is not where it should be.
pub(crate) fn written() -> Result<(), Failure> {
    match UNWRITABLE.get() {
        None | Some(io::ErrorKind::BrokenPipe) => Ok(()),
        Some(kind) => Err(Failure::failed(format!("cannot write to standard output: {kind}"))),
    }
}

fn whole(mut stream: impl Write, text: &str) -> io::Result<()> {
    // Written at once, so that lines of parallel tenants do not mix.
    stream.write_all(format!("{}\n", harmless(text)).as_bytes())?;
    stream.flush()
}

/// The text without anything that a terminal obeys: what workers and strangers have written is shown, and can neither
/// move the cursor nor colour, rename or ask the terminal. Control characters stand there as JSON writes them, so that
/// JSON stays JSON; line ends and tabs stay what they are.
fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |char: &char| char.is_control() && !matches!(char, '\n' | '\t');
    if !text.chars().any(|char| harms(&char)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if harms(&char) {
            // Nothing can fail in a string.
            let _written = write!(shown, "\\u{:04x}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

/// A value as indented JSON on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
    line(text);
    Ok(())
}

/// A table without rules, as wide as its content needs and the terminal allows.
pub(crate) fn table<R, C>(head: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|word| word.to_uppercase()));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }));
    }
    let text = table.to_string();
    text.lines().map(|line| line.trim_end().trim_start_matches(' ')).collect::<Vec<_>>().join("\n")
}

/// `3 d 4 h`, `4 h 2 min`, `2 min 5 s`, `5 s`: the two units that matter.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `once`, `3 times`.
pub(crate) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// `2026-12-26 (in 32 days)`, `2026-11-24 (in 5 h)`, `2026-11-20 (4 days ago)`.
pub(crate) fn day(at: Timestamp, now: Timestamp) -> String {
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let seconds = at.as_second() - now.as_second();
    let away = match (seconds.abs() / 86_400, seconds.abs() / 3600) {
        (0, 0) => format!("{} min", seconds.abs() / 60),
        (0, hours) => format!("{hours} h"),
        (1, _) => "1 day".to_owned(),
        (days, _) => format!("{days} days"),
    };
    if seconds < 0 { format!("{date} ({away} ago)") } else { format!("{date} (in {away})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_upper_case_heads_aligned_columns_and_a_dash_for_nothing() {
        let text = table(
            &["tenant", "status"],
            [["acme".to_owned(), "active".to_owned()], ["navaja-shop".to_owned(), String::new()]],
        );
        assert_eq!(text, "TENANT       STATUS\nacme         active\nnavaja-shop  -");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_json_stays_json() {
        for (text, want) in [
            ("plain é \u{1f600}\ttab\nline", "plain é \u{1f600}\ttab\nline"),
            ("\u{1b}]0;mine\u{7}\r\u{0}", "\\u001b]0;mine\\u0007\\u000d\\u0000"),
            ("\u{9b}31m\u{7f}\u{85}", "\\u009b31m\\u007f\\u0085"),
        ] {
            assert_eq!(harmless(text), want);
        }
        let value = serde_json::json!({"text": "a\u{1b}b\u{9b}c\u{7f}\td"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = harmless(&text);
        assert!(shown.contains("\\u009b") && shown.contains("\\u007f"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn days_say_how_far_they_are() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (at, want) in [
            ("2026-12-26T13:00:00Z", "2026-12-26 (in 32 days)"),
            ("2026-11-25T13:00:00Z", "2026-11-25 (in 1 day)"),
            ("2026-11-24T17:30:00Z", "2026-11-24 (in 5 h)"),
            ("2026-11-24T11:55:30Z", "2026-11-24 (4 min ago)"),
            ("2026-11-20T11:00:00Z", "2026-11-20 (4 days ago)"),
        ] {
            assert_eq!(day(at.parse().unwrap(), now), want);
        }
    }

    #[test]
    fn one_time_is_once() {
        assert_eq!([0, 1, 2].map(times), ["0 times", "once", "2 times"]);
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, want) in
            [(5, "5 s"), (125, "2 min 5 s"), (7320, "2 h 2 min"), (277_200, "3 d 5 h"), (0, "0 s")]
        {
            assert_eq!(duration(seconds), want);
        }
    }
}
