//! Connections and streams that are cut short because somebody asked for too much or did too little: each counted,
//! and said in the log without letting a flood fill the disk. It must never write a line for every one.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::metrics::{CodeLabels, Metrics};

/// One line for each reason in this time; what is cut meanwhile is counted into the next.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Why something was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More connections from one address than `connections_per_client_max`.
    ClientConnections,
    /// No free file descriptor for an accepted connection.
    NoDescriptor,
    /// A TLS handshake that took longer than `handshake_timeout`.
    HandshakeSlow,
    /// A request head that took longer than `header_timeout`.
    HeadersSlow,
    /// A connection whose client took no byte for `body_idle_timeout`.
    NotReading,
    /// An HTTP/2 stream whose client opened no window for `body_idle_timeout`.
    StreamNotReading,
    /// An HTTP/2 connection with more resets, or emptier frames, than anyone needs.
    Flood,
    /// An HTTP/2 connection that breaks the protocol, or a limit that the protocol enforces.
    Protocol,
}

/// How many reasons there are.
const REASONS: usize = 8;

impl Cut {
    /// The word in metrics and the log.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::ClientConnections => "client-connections",
            Self::NoDescriptor => "no-descriptor",
            Self::HandshakeSlow => "handshake-slow",
            Self::HeadersSlow => "headers-slow",
            Self::NotReading => "not-reading",
            Self::StreamNotReading => "stream-not-reading",
            Self::Flood => "h2-flood",
            Self::Protocol => "h2-protocol",
        }
    }
}

/// What was cut, over all threads.
#[derive(Debug)]
pub(crate) struct Cuts {
    metrics: Arc<Metrics>,
    lines: [Mutex<Line>; REASONS],
}

/// The last line of one reason.
#[derive(Debug, Default)]
struct Line {
    written: Option<Instant>,
    /// Cut since.
    unsaid: u64,
}

impl Cuts {
    /// Nothing has been cut.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, lines: Default::default() }
    }

    /// One more.
    pub(crate) fn count(&self, cut: Cut, client: IpAddr) {
        self.metrics.cuts_total.get_or_create(&CodeLabels { code: cut.code() }).inc();
        let mut line = self.lines[cut as usize].lock().unwrap_or_else(PoisonError::into_inner);
        line.unsaid += 1;
        if line.written.is_none_or(|written| written.elapsed() >= LINE_EVERY) {
            let count = std::mem::take(&mut line.unsaid);
            line.written = Some(Instant::now());
            drop(line);
            tracing::warn!(reason = cut.code(), count, %client, "connections were cut; the last client is shown");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_whole_and_said_once() {
        let metrics = Metrics::new();
        let cuts = Cuts::new(metrics.clone());
        for _ in 0..1000 {
            cuts.count(Cut::Protocol, IpAddr::from([192, 0, 2, 1]));
        }
        assert!(
            metrics.text().contains("gateway_cuts_total{code=\"h2-protocol\"} 1000"),
            "{}",
            metrics.text()
        );
        let line = cuts.lines[Cut::Protocol as usize].lock().unwrap();
        assert_eq!((line.written.is_some(), line.unsaid), (true, 999), "the first was said, the others wait");
    }
}
