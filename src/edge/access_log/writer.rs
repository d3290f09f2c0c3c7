//! The one thread that writes the access log. When the disk is slow, lines are dropped and counted; a request
//! must never wait for it.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use crate::{metrics::Metrics, privileges};

use super::super::{EdgeError, config};

/// Chunks waiting, besides the bound in bytes: each is up to 32 KiB.
const CHUNKS_MAX: usize = 1024;

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sender: Mutex<Option<SyncSender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    queued_bytes: Arc<AtomicUsize>,
    bytes_max: AtomicUsize,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Order {
    Write(Vec<u8>),
    Target(Target),
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(std::fs::File),
}

impl AccessLog {
    /// Open the log and start its thread.
    pub(crate) fn start(config: &config::AccessLog, metrics: Arc<Metrics>) -> Result<Arc<Self>, EdgeError> {
        let target = Target::open(config)?;
        let (sender, orders) = sync_channel(CHUNKS_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let counter = queued_bytes.clone();
        let thread = std::thread::Builder::new().name("access-log".into());
        let thread = thread.spawn(move || run(&orders, target, &counter)).map_err(EdgeError::Thread)?;
        Ok(Arc::new(Self {
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            queued_bytes,
            bytes_max: AtomicUsize::new(config.buffer_bytes_max),
            metrics,
        }))
    }

    /// Open the log anew: after a reload, and so after a rotation.
    pub(crate) fn reopen(&self, config: &config::AccessLog) -> Result<(), EdgeError> {
        let target = Target::open(config)?;
        self.bytes_max.store(config.buffer_bytes_max, Relaxed);
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            // A full queue means that the disk hangs; the old target then stays until the next reload.
            drop(sender.try_send(Order::Target(target)));
        }
        Ok(())
    }

    /// Queue finished lines, or drop and count them.
    pub(super) fn write(&self, chunk: Vec<u8>, lines: u64) {
        let bytes = chunk.len();
        let queued = self.queued_bytes.fetch_add(bytes, Relaxed);
        // Once in 32 KiB of lines: a lock here costs nothing.
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let room = queued + bytes <= self.bytes_max.load(Relaxed);
        let sent = room && sender.as_ref().is_some_and(|sender| sender.try_send(Order::Write(chunk)).is_ok());
        if !sent {
            self.queued_bytes.fetch_sub(bytes, Relaxed);
            self.metrics.access_log_dropped_total.inc_by(lines);
        }
    }

    /// Write what is queued and end the thread.
    pub(crate) fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the access log's thread panicked");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Target {
    fn open(config: &config::AccessLog) -> Result<Self, EdgeError> {
        match config.path.as_ref().filter(|_| config.enabled) {
            None => Ok(Self::Stdout),
            Some(path) => Self::file(path)
                .map(Self::File)
                .map_err(|source| EdgeError::AccessLog { path: PathBuf::from(path), source }),
        }
    }

    fn file(path: &Path) -> io::Result<std::fs::File> {
        use std::os::unix::fs::OpenOptionsExt;
        // Client addresses are personal data: not for everyone on the machine.
        OpenOptions::new().create(true).append(true).mode(0o640).open(path)
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(chunk)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(chunk),
        }
    }
}

fn run(orders: &Receiver<Order>, mut target: Target, queued_bytes: &AtomicUsize) {
    privileges::give_up();
    let mut failing = false;
    while let Ok(order) = orders.recv() {
        match order {
            Order::Target(new) => target = new,
            Order::Write(chunk) => {
                let outcome = target.write(&chunk);
                queued_bytes.fetch_sub(chunk.len(), Relaxed);
                if let Err(error) = &outcome
                    && !failing
                {
                    tracing::error!(%error, "cannot write the access log; further failures stay silent until it works");
                }
                failing = outcome.is_err();
            }
        }
    }
}
