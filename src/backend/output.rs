//! What the workers write: kept in a bounded ring per worker slot, logged, written to files and sent to whoever follows.
//! It must never make a worker wait: the pipe is read as fast as it fills, and what is too much is dropped here, and
//! said to be.

mod files;
mod lines;
mod record;
mod rotation;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::broadcast,
};
use tokio_util::sync::CancellationToken;

use self::{
    files::Files,
    lines::{Allowance, Withheld},
};

pub(crate) use self::record::{Record, fields};
pub(super) use self::{lines::Lines, rotation::Rules};

/// Lines that came before all others have the smallest number.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// The end of what was withheld when a stream ends: a process that floods has last words, too. One screen.
const LAST_WORDS_MAX: usize = 20;

const FORGOTTEN: &str = "earlier lines are no longer in memory (`output_lines_max`)";

/// One line that a worker wrote, or that the gateway has to say of its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputLine {
    /// Counts up over all workers; 0 is none yet.
    pub(crate) number: u64,
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

/// Standard output or standard error, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// What the gateway itself has to say, such as how many lines were dropped.
    Gateway,
}

impl Stream {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Gateway => "gateway",
        }
    }
}

/// The last lines of one worker slot, over the lives of its processes.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    kept: Mutex<Kept>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<OutputLine>,
    /// Stands for those that had to go, at the time of the last of them.
    forgotten: Option<OutputLine>,
}

impl Ring {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere leaves whole lines behind.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut line: OutputLine, lines_max: usize, outlets: &Outlets) {
        let mut kept = self.kept();
        // In one step: whoever follows can tell by the number which lines it has read here already.
        line.number = NEXT_NUMBER.fetch_add(1, Relaxed);
        if outlets.live.receiver_count() > 0 {
            // Fails only when the last follower has just left.
            drop(outlets.live.send(line.clone()));
        }
        outlets.files.write(&line);
        kept.lines.push_back(line);
        while kept.lines.len() > lines_max
            && let Some(line) = kept.lines.pop_front()
        {
            kept.forgotten = Some(OutputLine { stream: Stream::Gateway, text: FORGOTTEN.to_owned(), ..line });
        }
    }

    /// How many lines were dropped because there were too many at a time.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// The last `count` lines, oldest first; if there are fewer than were written, the first says so.
    pub(crate) fn last(&self, count: usize) -> Vec<OutputLine> {
        let Kept { lines, forgotten } = &*self.kept();
        let all = lines.len() + usize::from(forgotten.is_some());
        forgotten.iter().chain(lines).skip(all.saturating_sub(count)).cloned().collect()
    }

    /// The last `count` lines of one process, oldest first.
    pub(super) fn last_of(&self, pid: u32, count: usize) -> Vec<String> {
        let kept = self.kept();
        let own = kept.lines.iter().rev().filter(|line| line.pid == pid).take(count);
        let mut texts: Vec<String> = own.map(|line| line.text.clone()).collect();
        texts.reverse();
        texts
    }

    /// So many lines of one process; if it wrote more, the `first` it wrote, a line that says so, and the last.
    pub(super) fn ends_of(&self, pid: u32, first: usize, count: usize) -> Vec<String> {
        let kept = self.kept();
        let own: Vec<&OutputLine> = kept.lines.iter().filter(|line| line.pid == pid).collect();
        let text = |line: &&OutputLine| line.text.clone();
        if own.len() <= count {
            return own.iter().map(text).collect();
        }
        let last = count.saturating_sub(first + 1);
        let left_out = own.len().saturating_sub(first + last);
        let early = own.iter().take(first).map(text).chain([format!("… {left_out} lines left out …")]);
        early.chain(own.iter().skip(first + left_out).map(text)).collect()
    }
}

/// Where the output of a backend's workers goes, besides their rings and our log.
#[derive(Debug)]
pub(super) struct Outlets {
    live: broadcast::Sender<OutputLine>,
    files: Files,
    dropped_total: Counter,
}

impl Outlets {
    /// No file yet; `follow_lines_max` lines are kept for followers that are slow.
    pub(super) fn new(
        backend: &str,
        follow_lines_max: usize,
        (dropped_total, unwritten_total): (Counter, Counter),
    ) -> Self {
        let (live, _) = broadcast::channel(follow_lines_max);
        Self { live, files: Files::new(backend, unwritten_total), dropped_total }
    }

    /// Write to these files from now on, or to none.
    pub(super) fn write_to(&self, rules: Option<Rules>) -> io::Result<()> {
        self.files.write_to(rules)
    }

    /// Every line from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<OutputLine> {
        self.live.subscribe()
    }

    /// Write what is queued for the files; resolves when it is written, or the disk takes too long. Idempotent and
    /// cancel safe.
    pub(super) async fn close(&self) {
        self.files.close().await;
    }
}

/// How much is kept and let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Lines in the ring.
    pub(super) lines_max: usize,
    /// Bytes of a line.
    pub(super) line_bytes_max: usize,
    /// Lines of a stream in a second.
    pub(super) lines_per_second_max: u32,
    /// Their bytes.
    pub(super) bytes_per_second_max: u64,
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
    pub(super) ring: Arc<Ring>,
    /// Followers and files.
    pub(super) outlets: Arc<Outlets>,
    /// How much.
    pub(super) limits: Limits,
    /// What has not been read by then counts for nothing.
    pub(super) over: CancellationToken,
}

impl Sink {
    /// Read until the last writer has closed its end, or nobody is wanted to be read any more.
    pub(super) async fn capture(self, mut pipe: impl AsyncRead + Unpin) {
        // As large as a pipe's buffer: one read empties it.
        let mut chunk = vec![0; 64 * 1024];
        let mut lines = Lines::new(self.limits.line_bytes_max);
        let mut allowance = Allowance::new(&self.limits, Instant::now());
        loop {
            // A flood that has ended is told of, too.
            let due = allowance.account_due();
            let due = async move {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                biased;
                () = self.over.cancelled() => break,
                read = pipe.read(&mut chunk) => read,
                () = due => {
                    self.tell(allowance.account());
                    continue;
                }
            };
            match read {
                Ok(0) | Err(_) => break,
                Ok(read) => lines.feed(&chunk[..read], |line| self.accept(line, &mut allowance)),
            }
        }
        lines.finish(|line| self.accept(line, &mut allowance));
        let last_words = allowance.last_words();
        self.tell(allowance.account());
        for line in last_words {
            self.keep(&line);
        }
    }

    fn accept(&self, line: &[u8], allowance: &mut Allowance) {
        let (may, withheld) = allowance.take(line, Instant::now());
        self.tell(withheld);
        if may {
            self.keep(line);
        }
    }

    fn keep(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        tracing::info!(
            backend = self.backend,
            worker = self.worker,
            pid = self.pid,
            stream = self.stream.word(),
            "{text}"
        );
        self.push(self.stream, text);
    }

    fn push(&self, stream: Stream, text: String) {
        let (worker, at) = (self.worker.clone(), Timestamp::now());
        let line = OutputLine { number: 0, worker, pid: self.pid, stream, at, text };
        self.ring.push(line, self.limits.lines_max, &self.outlets);
    }

    /// Say what was dropped, to whoever reads the worker's lines and to whoever reads ours.
    fn tell(&self, withheld: Option<Withheld>) {
        let Some(Withheld { lines, bytes }) = withheld else { return };
        self.ring.dropped.fetch_add(lines, Relaxed);
        self.outlets.dropped_total.inc_by(lines);
        let (worker, stream) = (&self.worker, self.stream.word());
        let keys = "`log.lines_per_second_max` or `log.bytes_per_second_max`";
        tracing::warn!(
            backend = self.backend,
            worker,
            pid = self.pid,
            stream,
            lines,
            bytes,
            "worker {worker} writes too much: {lines} lines dropped, over {keys}"
        );
        self.push(Stream::Gateway, format!("{lines} lines dropped ({bytes} bytes of {stream}), over {keys}"));
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
