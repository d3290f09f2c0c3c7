//! Bytes to lines, and how many of them may pass. Pure; it must never hold more than one line, and a screen of last
//! words.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{LAST_WORDS_MAX, Limits};

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug)]
pub(in crate::backend) struct Lines {
    open: Vec<u8>,
    bytes_max: usize,
}

impl Lines {
    /// Lines of at most `bytes_max` bytes, at least one.
    pub(in crate::backend) fn new(bytes_max: usize) -> Self {
        Self { open: Vec::new(), bytes_max: bytes_max.max(1) }
    }

    /// Take bytes in; `line` hears each line that is complete, or longer than a line may be.
    pub(in crate::backend) fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(first) = bytes.first() {
            // It is as long as a line may be, and goes on; whether it does may take until the next read to be known.
            if self.open.len() == self.bytes_max && *first != b'\n' {
                self.emit(&mut line);
            }
            let end = memchr::memchr(b'\n', bytes);
            let wanted = end.unwrap_or(bytes.len());
            let taken = wanted.min(self.bytes_max - self.open.len());
            self.open.extend_from_slice(&bytes[..taken]);
            let complete = end == Some(taken);
            bytes = &bytes[taken + usize::from(complete)..];
            if complete {
                self.emit(&mut line);
            }
        }
    }

    /// The stream has ended: what is left is a line too.
    pub(in crate::backend) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.open.is_empty() {
            self.emit(&mut line);
        }
    }

    fn emit(&mut self, line: &mut impl FnMut(&[u8])) {
        line(self.open.strip_suffix(b"\r").unwrap_or(&self.open));
        self.open.clear();
    }
}

/// What did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Withheld {
    /// Lines.
    pub(super) lines: u64,
    /// Their bytes, without the ends of lines.
    pub(super) bytes: u64,
}

/// So many lines and bytes a second, counted by the second.
#[derive(Debug)]
pub(super) struct Allowance {
    lines_max: u32,
    bytes_max: u64,
    second_began: Instant,
    lines: u32,
    bytes: u64,
    withheld: Withheld,
    last: VecDeque<Vec<u8>>,
}

impl Allowance {
    /// Nothing used yet.
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            lines_max: limits.lines_per_second_max,
            bytes_max: limits.bytes_per_second_max,
            second_began: now,
            lines: 0,
            bytes: 0,
            withheld: Withheld::default(),
            last: VecDeque::new(),
        }
    }

    /// May this line pass? And, at the beginning of a second, what did not in the one before.
    pub(super) fn take(&mut self, line: &[u8], now: Instant) -> (bool, Option<Withheld>) {
        let mut before = None;
        if now.duration_since(self.second_began) >= Duration::from_secs(1) {
            before = self.account();
            self.second_began = now;
            (self.lines, self.bytes) = (0, 0);
        }
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // However long the lines are, one a second passes.
        let fits = self.lines == 0 || self.bytes.saturating_add(bytes) <= self.bytes_max;
        let may = fits && self.lines < self.lines_max && self.withheld.lines == 0;
        if may {
            self.lines += 1;
            self.bytes += bytes;
        } else {
            self.withhold(line, bytes);
        }
        (may, before)
    }

    fn withhold(&mut self, line: &[u8], bytes: u64) {
        self.withheld.lines += 1;
        self.withheld.bytes += bytes;
        // In a flood every line comes by here: the oldest one's memory serves the newest.
        let mut kept = match self.last.len() {
            LAST_WORDS_MAX => self.last.pop_front().unwrap_or_default(),
            _ => Vec::new(),
        };
        kept.clear();
        kept.extend_from_slice(line);
        self.last.push_back(kept);
    }

    /// When somebody should be told of what was withheld, if anything was.
    pub(super) fn account_due(&self) -> Option<Instant> {
        (self.withheld.lines > 0).then(|| self.second_began + Duration::from_secs(1))
    }

    /// What was withheld and nobody was told of.
    pub(super) fn account(&mut self) -> Option<Withheld> {
        self.last.clear();
        let withheld = std::mem::take(&mut self.withheld);
        (withheld.lines > 0).then_some(withheld)
    }

    /// The last lines that were withheld: they pass after all, because no others follow.
    pub(super) fn last_words(&mut self) -> Vec<Vec<u8>> {
        let last: Vec<_> = std::mem::take(&mut self.last).into();
        let bytes = last.iter().map(Vec::len).sum::<usize>();
        self.withheld.lines =
            self.withheld.lines.saturating_sub(u64::try_from(last.len()).unwrap_or(u64::MAX));
        self.withheld.bytes = self.withheld.bytes.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        last
    }
}
