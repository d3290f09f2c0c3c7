//! The one thread that writes a backend's log files. When the disk is slow or full, lines are lost here and counted, once
//! told of, and nowhere else; a worker must never wait for it.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;

use super::{
    OutputLine, Record, Stream,
    rotation::{LogFile, Rules},
};
use crate::privileges;

/// Lines that wait for the disk, besides the bound in bytes: some seconds of two streams that write as much as they may.
const LINES_WAITING_MAX: usize = 8192;

/// Their bytes: a disk that hangs costs no more memory than this.
const BYTES_WAITING_MAX: usize = 4 * 1024 * 1024;

/// Written at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How often the file is looked at; also how soon a disk with room again is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files are kept for days: so often it is looked which are too old.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// What is queued at the end may take so long; longer means that the disk hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The way to the thread, if there is one.
#[derive(Debug)]
pub(super) struct Files {
    backend: String,
    writer: Mutex<Option<Writer>>,
    losses: Arc<Losses>,
    bytes_waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Writer {
    orders: SyncSender<Order>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Order {
    Line(OutputLine),
    File(LogFile),
}

/// Lines that are in no file.
#[derive(Debug)]
struct Losses {
    untold: AtomicU64,
    total: Counter,
}

impl Losses {
    fn add(&self, lines: u64) {
        self.untold.fetch_add(lines, Relaxed);
        self.total.inc_by(lines);
    }
}

impl Files {
    /// None yet.
    pub(super) fn new(backend: &str, unwritten_total: Counter) -> Self {
        Self {
            backend: backend.to_owned(),
            writer: Mutex::default(),
            losses: Arc::new(Losses { untold: AtomicU64::new(0), total: unwritten_total }),
            bytes_waiting: Arc::default(),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write by these rules from now on, or not at all.
    pub(super) fn write_to(&self, rules: Option<Rules>) -> io::Result<()> {
        let file = rules.map(LogFile::new).transpose()?;
        let mut writer = self.writer();
        match (&*writer, file) {
            (_, None) => *writer = None,
            (Some(writer), Some(file)) => {
                let path = file.path().display().to_string();
                if writer.orders.try_send(Order::File(file)).is_err() {
                    // It costs nothing but the file's lines, not even the reload.
                    tracing::warn!(
                        backend = self.backend,
                        path,
                        "the disk of the workers' log file does not keep up: `log` stays as it was until the next reload"
                    );
                }
            }
            (None, Some(file)) => *writer = Some(self.start(file)?),
        }
        Ok(())
    }

    fn start(&self, file: LogFile) -> io::Result<Writer> {
        let (orders, inbox) = sync_channel(LINES_WAITING_MAX);
        let desk = Desk {
            backend: self.backend.clone(),
            file,
            losses: Arc::clone(&self.losses),
            bytes_waiting: Arc::clone(&self.bytes_waiting),
            chunk: Vec::new(),
            lines: 0,
            failing: false,
            looked: Instant::now(),
            pruned: Instant::now(),
        };
        let thread =
            std::thread::Builder::new().name("worker-logs".into()).spawn(move || desk.run(&inbox))?;
        Ok(Writer { orders, thread })
    }

    /// Queue a line, or lose and count it.
    pub(super) fn write(&self, line: &OutputLine) {
        let writer = self.writer();
        let Some(writer) = &*writer else { return };
        let bytes = line.text.len();
        let waiting = self.bytes_waiting.fetch_add(bytes, Relaxed);
        let room = waiting + bytes <= BYTES_WAITING_MAX;
        if !(room && writer.orders.try_send(Order::Line(line.clone())).is_ok()) {
            self.bytes_waiting.fetch_sub(bytes, Relaxed);
            self.losses.add(1);
        }
    }

    /// Write what is queued and end the thread. Idempotent; cancelled, the thread ends by itself.
    pub(super) async fn close(&self) {
        let Some(Writer { orders, thread }) = self.writer().take() else { return };
        drop(orders);
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
        if !matches!(tokio::time::timeout(CLOSE_WAIT, joined).await, Ok(Ok(true))) {
            tracing::error!(
                backend = self.backend,
                "the last lines of workers may be missing in their log file"
            );
        }
    }
}

/// What the thread has.
#[derive(Debug)]
struct Desk {
    backend: String,
    file: LogFile,
    losses: Arc<Losses>,
    bytes_waiting: Arc<AtomicUsize>,
    chunk: Vec<u8>,
    /// In the chunk.
    lines: u64,
    failing: bool,
    looked: Instant,
    pruned: Instant,
}

impl Desk {
    fn run(mut self, inbox: &Receiver<Order>) {
        privileges::give_up();
        loop {
            match inbox.recv_timeout(LOOK_EVERY) {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            while self.chunk.len() < CHUNK_BYTES
                && let Ok(order) = inbox.try_recv()
            {
                self.take(order);
            }
            self.flush();
            if self.looked.elapsed() >= LOOK_EVERY {
                self.look();
            }
        }
    }

    fn take(&mut self, order: Order) {
        let line = match order {
            Order::Line(line) => line,
            Order::File(file) => {
                self.flush();
                self.file = file;
                return;
            }
        };
        self.bytes_waiting.fetch_sub(line.text.len(), Relaxed);
        let record = Record::of(&line).encoded();
        let fits = |bytes: usize| u64::try_from(bytes).is_ok_and(|bytes| bytes <= self.file.bytes_max());
        match (fits(record.len()), fits(self.chunk.len() + record.len())) {
            (false, _) => return self.losses.add(1),
            (true, false) => self.flush(),
            (true, true) => {}
        }
        self.chunk.extend_from_slice(&record);
        self.lines += 1;
    }

    /// Write the chunk, or lose it. What was lost before is told first.
    fn flush(&mut self) {
        let untold = self.losses.untold.swap(0, Relaxed);
        if untold == 0 && self.chunk.is_empty() {
            return;
        }
        if untold > 0
            && let Err(error) = self.file.write(&self.notice(untold))
        {
            self.losses.untold.fetch_add(untold, Relaxed);
            return self.fail(&error);
        }
        if !self.chunk.is_empty()
            && let Err(error) = self.file.write(&self.chunk)
        {
            return self.fail(&error);
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!(
                backend = self.backend,
                lines = untold,
                "the log file of workers is written again"
            );
        }
        self.empty();
    }

    fn fail(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let (backend, path) = (&self.backend, self.file.path().display());
            tracing::error!(
                %error, backend, %path,
                "cannot write the workers' log file; their lines are in `gateway logs`, and further failures stay \
                 silent until it works"
            );
        }
        self.losses.add(self.lines);
        self.empty();
    }

    fn empty(&mut self) {
        self.chunk.clear();
        self.lines = 0;
    }

    fn notice(&self, lines: u64) -> Vec<u8> {
        let line = OutputLine {
            number: 0,
            worker: self.backend.clone(),
            pid: std::process::id(),
            stream: Stream::Gateway,
            at: Timestamp::now(),
            text: format!("{lines} lines are missing here: the disk was full or too slow"),
        };
        Record::of(&line).encoded()
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let mut seen = self.file.look();
        if self.pruned.elapsed() >= PRUNE_EVERY {
            self.pruned = self.looked;
            seen = seen.and(self.file.prune(SystemTime::now()));
        }
        if let Err(error) = seen {
            self.fail(&error);
        }
    }
}
