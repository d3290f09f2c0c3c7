//! Bytes to lines, and how many of them may be logged. Pure; it must never hold more than one line.

use std::time::{Duration, Instant};

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

    /// Take bytes in; `line` hears each line that is complete, or as long as a line may be.
    pub(in crate::backend) fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let wanted = end.unwrap_or(bytes.len());
            let taken = wanted.min(self.bytes_max - self.open.len());
            self.open.extend_from_slice(&bytes[..taken]);
            let complete = end == Some(taken);
            bytes = &bytes[taken + usize::from(complete)..];
            if complete || (self.open.len() == self.bytes_max && bytes.first() != Some(&b'\n')) {
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

/// So many lines a second, counted by the second.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second_max: u32,
    second_began: Instant,
    used: u32,
    withheld: u64,
}

impl Allowance {
    /// Nothing used yet.
    pub(super) fn new(per_second_max: u32, now: Instant) -> Self {
        Self { per_second_max, second_began: now, used: 0, withheld: 0 }
    }

    /// May one more line pass? And, at the beginning of a second, how many did not pass in the one before.
    pub(super) fn take(&mut self, now: Instant) -> (bool, u64) {
        let mut withheld = 0;
        if now.duration_since(self.second_began) >= Duration::from_secs(1) {
            withheld = std::mem::take(&mut self.withheld);
            self.second_began = now;
            self.used = 0;
        }
        let may = self.used < self.per_second_max;
        if may {
            self.used += 1;
        } else {
            self.withheld += 1;
        }
        (may, withheld)
    }

    /// Lines that did not pass and that nobody was told of.
    pub(super) fn withheld(&self) -> u64 {
        self.withheld
    }
}
