//! What the workers write: kept in a bounded ring per worker slot, logged, and sent to whoever follows.
//! It must never make a worker wait: the pipe is read as fast as it fills, and what is too much is dropped here.

mod lines;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::broadcast,
};

pub(super) use self::lines::Lines;

use self::lines::Allowance;

/// One line that a worker wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputLine {
    /// Such as `api/0`.
    pub(crate) worker: String,
    /// The process that wrote it.
    pub(crate) pid: u32,
    /// Where it wrote it.
    pub(crate) stream: Stream,
    /// When it was read.
    pub(crate) at: Timestamp,
    /// The line without its end; bytes that are no UTF-8 are replaced.
    pub(crate) text: String,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The last lines of one worker slot, over the lives of its processes.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    lines: Mutex<VecDeque<OutputLine>>,
}

impl Ring {
    fn lines(&self) -> MutexGuard<'_, VecDeque<OutputLine>> {
        // A panic elsewhere leaves whole lines behind.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: OutputLine, lines_max: usize) {
        let mut lines = self.lines();
        lines.push_back(line);
        while lines.len() > lines_max {
            lines.pop_front();
        }
    }

    /// The last `count` lines, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<OutputLine> {
        let lines = self.lines();
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    /// The last `count` lines of one process, oldest first.
    pub(super) fn last_of(&self, pid: u32, count: usize) -> Vec<String> {
        let lines = self.lines();
        let own = lines.iter().rev().filter(|line| line.pid == pid).take(count);
        let mut texts: Vec<String> = own.map(|line| line.text.clone()).collect();
        texts.reverse();
        texts
    }
}

/// How much is kept and logged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Lines in the ring.
    pub(super) lines_max: usize,
    /// Bytes of a line.
    pub(super) line_bytes_max: usize,
    /// Lines that go to our log in a second.
    pub(super) logged_per_second_max: u32,
}

/// Where one stream of one process goes.
#[derive(Debug, Clone)]
pub(super) struct Sink {
    /// The backend.
    pub(super) backend: String,
    /// Such as `api/0`.
    pub(super) worker: String,
    /// The process.
    pub(super) pid: u32,
    /// Which of its streams.
    pub(super) stream: Stream,
    /// The slot's ring.
    pub(super) ring: std::sync::Arc<Ring>,
    /// Those who follow.
    pub(super) live: broadcast::Sender<OutputLine>,
    /// How much.
    pub(super) limits: Limits,
}

impl Sink {
    /// Read until the last writer has closed its end.
    pub(super) async fn capture(self, mut pipe: impl AsyncRead + Unpin) {
        // As large as a pipe's buffer: one read empties it.
        let mut chunk = vec![0; 64 * 1024];
        let mut lines = Lines::new(self.limits.line_bytes_max);
        let mut allowance = Allowance::new(self.limits.logged_per_second_max, Instant::now());
        loop {
            match pipe.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(read) => lines.feed(&chunk[..read], |line| self.accept(line, &mut allowance)),
            }
        }
        lines.finish(|line| self.accept(line, &mut allowance));
        self.tell_withheld(allowance.withheld());
    }

    fn accept(&self, line: &[u8], allowance: &mut Allowance) {
        let text = String::from_utf8_lossy(line).into_owned();
        let (may, withheld) = allowance.take(Instant::now());
        self.tell_withheld(withheld);
        if may {
            tracing::info!(
                backend = self.backend,
                worker = self.worker,
                pid = self.pid,
                stream = self.stream.word(),
                "{text}"
            );
        }
        let (worker, at) = (self.worker.clone(), Timestamp::now());
        let line = OutputLine { worker, pid: self.pid, stream: self.stream, at, text };
        if self.live.receiver_count() > 0 {
            // Fails only when the last follower has just left.
            drop(self.live.send(line.clone()));
        }
        self.ring.push(line, self.limits.lines_max);
    }

    fn tell_withheld(&self, lines: u64) {
        if lines > 0 {
            tracing::warn!(
                backend = self.backend,
                worker = self.worker,
                stream = self.stream.word(),
                lines,
                "the worker writes more lines than output_logged_per_second_max: some were not logged"
            );
        }
    }
}

/// The last lines as they stand in an error message.
pub(super) fn quoted(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}
