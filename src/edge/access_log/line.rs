//! Lines as JSON, written by hand into one buffer a thread: a serialiser would allocate a request's worth of
//! strings. It must never wait for the disk.

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::AccessLog;

/// A full buffer goes to the writer at this size: large enough that its channel is cheap, small enough to stay in
/// the cache.
const FLUSH_BYTES: usize = 32 * 1024;

/// Room for the line that fills it; a longer one grows the buffer.
const LINE_BYTES: usize = 1024;

/// One thread's finished lines.
#[derive(Debug)]
pub(crate) struct Lines {
    log: Arc<AccessLog>,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    /// What the clock on the wall said at that moment: asked at each flush, not for each line.
    wall: Cell<(Instant, Duration)>,
    /// The second in which the last line was written, and its text.
    second: RefCell<(u64, String)>,
}

impl Lines {
    /// No lines yet.
    pub(crate) fn new(log: Arc<AccessLog>) -> Self {
        let (buffer, second) = (RefCell::default(), RefCell::default());
        Self { log, buffer, lines: Cell::default(), wall: Cell::new(wall()), second }
    }

    /// Write one line; it is `now`.
    pub(crate) fn push(&self, now: Instant, fields: impl FnOnce(&mut Line<'_>)) {
        let full = {
            let mut buffer = self.buffer.borrow_mut();
            self.time_stamp(now, &mut buffer);
            fields(&mut Line { buffer: &mut buffer });
            buffer.extend_from_slice(b"}\n");
            buffer.len() >= FLUSH_BYTES
        };
        self.lines.set(self.lines.get() + 1);
        if full {
            self.flush();
        }
    }

    /// Hand the finished lines to the writer.
    pub(crate) fn flush(&self) {
        self.set_clock();
        if self.buffer.borrow().is_empty() {
            return;
        }
        // Growing from nothing each time would copy every line several times.
        let buffer = self.buffer.replace(Vec::with_capacity(FLUSH_BYTES + LINE_BYTES));
        self.log.write(buffer, self.lines.take());
    }

    /// Ask the clock on the wall anew.
    pub(crate) fn set_clock(&self) {
        self.wall.set(wall());
    }

    fn time_stamp(&self, now: Instant, buffer: &mut Vec<u8>) {
        let (at, said) = self.wall.get();
        let now = said + now.saturating_duration_since(at);
        let mut second = self.second.borrow_mut();
        if second.0 != now.as_secs() {
            let at = i64::try_from(now.as_secs()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
            let text = at.map(|at| at.to_string()).unwrap_or_default();
            *second = (now.as_secs(), format!("{{\"ts\":\"{}.", text.trim_end_matches('Z')));
        }
        buffer.extend_from_slice(second.1.as_bytes());
        buffer.extend_from_slice(&three_digits(now.subsec_millis()));
        buffer.extend_from_slice(b"Z\"");
    }
}

/// Now, by both clocks.
fn wall() -> (Instant, Duration) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn three_digits(number: u32) -> [u8; 3] {
    let digit = |n: u32| b'0' + u8::try_from(n % 10).unwrap_or(0);
    [digit(number / 100), digit(number / 10), digit(number)]
}

/// A field's name with all that stands around it, as one piece: a line has twenty of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name(pub(super) &'static str);

/// The name of a field.
macro_rules! name {
    ($name:literal) => {
        line::Name(concat!(",\"", $name, "\":"))
    };
}
pub(super) use name;

/// One line being written. Names are ours and plain; values may be anyone's.
pub(crate) struct Line<'a> {
    buffer: &'a mut Vec<u8>,
}

impl Line<'_> {
    fn name(&mut self, Name(name): Name) {
        self.buffer.extend_from_slice(name.as_bytes());
    }

    /// A string, or null.
    pub(crate) fn text(&mut self, name: Name, value: Option<&str>) {
        self.name(name);
        let Some(value) = value else { return self.buffer.extend_from_slice(b"null") };
        self.buffer.push(b'"');
        if is_plain(value.as_bytes()) {
            self.buffer.extend_from_slice(value.as_bytes());
        } else {
            for char in value.chars() {
                match char {
                    '"' | '\\' => drop(write!(self.buffer, "\\{char}")),
                    char if char.is_control() => drop(write!(self.buffer, "\\u{:04x}", u32::from(char))),
                    char => drop(write!(self.buffer, "{char}")),
                }
            }
        }
        self.buffer.push(b'"');
    }

    /// A string of whatever bytes a header holds, or null.
    pub(crate) fn bytes(&mut self, name: Name, value: Option<&[u8]>) {
        // Without a copy, where it is what it should be.
        self.text(name, value.map(String::from_utf8_lossy).as_deref());
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: Name, value: u64) {
        self.name(name);
        self.digits(value);
    }

    /// Decimal digits without the machinery of `write!`, which costs more than the rest of a line.
    fn digits(&mut self, mut value: u64) {
        // 2^64 has 20 digits.
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] += u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[first..]);
    }

    /// An address.
    pub(crate) fn address(&mut self, name: Name, value: IpAddr) {
        self.name(name);
        let IpAddr::V4(value) = value else { return drop(write!(self.buffer, "\"{value}\"")) };
        for (before, octet) in [b'"', b'.', b'.', b'.'].into_iter().zip(value.octets()) {
            self.buffer.push(before);
            self.digits(octet.into());
        }
        self.buffer.push(b'"');
    }

    /// Milliseconds with three digits, or null.
    pub(crate) fn time(&mut self, name: Name, value: Option<Duration>) {
        self.name(name);
        match value {
            Some(time) => {
                let (ms, us) =
                    (time.as_secs() * 1000 + u64::from(time.subsec_millis()), time.subsec_micros() % 1000);
                self.digits(ms);
                self.buffer.push(b'.');
                self.buffer.extend_from_slice(&three_digits(us));
            }
            None => self.buffer.extend_from_slice(b"null"),
        }
    }
}

/// May it stand in a JSON string as it is? All of it is looked at, because that can be done many bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\') & (*byte != 0x7f);
    bytes.iter().fold(true, |all, byte| all & plain(byte))
}
