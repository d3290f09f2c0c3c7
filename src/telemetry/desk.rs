//! The one thread that writes our own log. When nobody reads standard error, or the disk behind it is slow, lines are
//! lost here, counted and told of; neither a request nor a worker must ever wait for it.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait, besides the bound in bytes.
const LINES_WAITING_MAX: usize = 8192;

/// Their bytes: a log that hangs costs no more memory than this.
const BYTES_WAITING_MAX: usize = 4 * 1024 * 1024;

/// What waits at the end may take so long; longer means that nobody reads.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// How often a full queue is looked at then.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The way to the thread.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    orders: SyncSender<Order>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
enum Order {
    Line(Vec<u8>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Lines that were lost, and of which nobody has been told yet.
    lost: AtomicU64,
}

impl Waiting {
    /// Say how many lines are lost, in the log itself.
    fn tell(&self) {
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 {
            tracing::error!(lines = lost, "lines of this log are lost: it was not read in time");
        }
    }
}

impl Desk {
    /// Start the thread, which does that first and then writes there.
    pub(super) fn start(first: fn(), target: impl Write + Send + 'static) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(LINES_WAITING_MAX);
        let waiting = Arc::new(Waiting::default());
        let desk = Self { orders, waiting: Arc::clone(&waiting) };
        std::thread::Builder::new().name("log".into()).spawn(move || {
            first();
            run(&inbox, &waiting, target);
        })?;
        Ok(desk)
    }

    /// Wait until what is queued is written, or nobody reads it.
    pub(super) fn flush(&self) {
        let (until, (done, written)) = (Instant::now() + FLUSH_WAIT, sync_channel(1));
        let mut order = Order::Flush(done);
        while let Err(TrySendError::Full(again)) = self.orders.try_send(order) {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
            order = again;
        }
        // Either is an end of the wait.
        let _written_or_not = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// One event is one write: `fmt` hands it over whole.
impl Write for Desk {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bytes = line.len();
        let room = self.waiting.bytes.fetch_add(bytes, Relaxed) + bytes <= BYTES_WAITING_MAX;
        if !(room && self.orders.try_send(Order::Line(line.to_owned())).is_ok()) {
            self.waiting.bytes.fetch_sub(bytes, Relaxed);
            self.waiting.lost.fetch_add(1, Relaxed);
        }
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Desk {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn run(inbox: &Receiver<Order>, waiting: &Waiting, mut target: impl Write) {
    loop {
        // Only where nothing waits is there surely room for it.
        let order = inbox.try_recv().or_else(|_| {
            waiting.tell();
            inbox.recv()
        });
        let Ok(order) = order else { return };
        match order {
            Order::Line(line) => {
                // There is no other place where it could be told that this one fails.
                let _written_or_not = target.write_all(&line);
                waiting.bytes.fetch_sub(line.len(), Relaxed);
            }
            // Whoever waited may have given up.
            Order::Flush(done) => drop(done.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// Takes a line whenever it is let.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _let_or_over = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_writes_never_waits_and_what_is_lost_is_counted() {
        let (go, gate) = mpsc::sync_channel(1);
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut desk = Desk::start(|| (), Slow(gate, Arc::clone(&written))).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let room = BYTES_WAITING_MAX / line.len();
        for _ in 0..room + 10 {
            desk.write_all(&line).unwrap();
        }
        assert_eq!(desk.waiting.lost.load(Relaxed), 10, "nobody can be told yet");
        // From now on it takes all it gets.
        drop(go);
        Desk::flush(&desk);
        assert_eq!(written.lock().unwrap().len(), room * line.len());
        assert_eq!(desk.waiting.bytes.load(Relaxed), 0);
        desk.write_all(b"again\n").unwrap();
        Desk::flush(&desk);
        assert!(written.lock().unwrap().ends_with(b"\nagain\n"));
    }
}
