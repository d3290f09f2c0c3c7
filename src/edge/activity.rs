//! What a connection is doing, noted where bytes move and read by the one timer that ends idle connections: a
//! timer armed anew for every byte would cost more than the bytes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{clients::ClientPlace, config::Limits, cuts::Cut, heads::Heads, patience::bytes_min};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds of this process's monotonic clock; never 0, which means "not".
pub(super) fn now_ms() -> u64 {
    ms_at(Instant::now())
}

fn ms_at(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX) + 1
}

/// One connection's notes. Only its own thread writes; atomics because the io must be `Send` for upgrades.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    in_flight: AtomicU32,
    /// When bytes of a request head began to arrive; 0 when none is awaited in the middle.
    head_since_ms: AtomicU64,
    /// Since when the rest of a head is awaited on HTTP/2, which may be while other requests are in flight; 0 when none is.
    head_awaited_since_ms: AtomicU64,
    /// When the last request ended, or the connection began.
    idle_since_ms: AtomicU64,
    /// Since when the client takes no bytes; 0 when it does.
    blocked_since_ms: AtomicU64,
    /// For how long it took none before that, and what it has taken since the first of it: what is enough ends both.
    blocked_ms: AtomicU64,
    taken_bytes: AtomicU64,
    /// What is known of its request heads, on HTTP/1.
    pub(crate) heads: Heads,
    /// Its place among its client's connections: held as long as the io, whoever has that.
    _place: Option<ClientPlace>,
}

/// What the timer finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again after this.
    Fine(Duration),
    /// Nothing asked for too long: close in good order.
    Idle,
    /// A head that never ends, or answers that are never taken: cut.
    Stuck(Cut),
}

impl Activity {
    /// A connection that begins now.
    pub(crate) fn new(place: Option<ClientPlace>) -> Arc<Self> {
        let activity = Self { _place: place, ..Self::default() };
        activity.idle_since_ms.store(now_ms(), Relaxed);
        Arc::new(activity)
    }

    /// A request's head is complete.
    pub(crate) fn request_begins(&self) {
        self.head_since_ms.store(0, Relaxed);
        self.heads.serve();
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request's answer is complete or given up.
    pub(crate) fn request_ends(&self, now: Instant) {
        self.idle_since_ms.store(ms_at(now), Relaxed);
        self.blocked_ms.store(0, Relaxed);
        self.taken_bytes.store(0, Relaxed);
        if self.in_flight.fetch_sub(1, Relaxed) == 1 && self.heads.is_within() {
            // Of the next one a part came along with this one.
            self.head_since_ms.store(ms_at(now), Relaxed);
        }
    }

    /// On HTTP/2: the client has said a part of a head, and the rest of it is awaited.
    pub(crate) fn head_is_awaited(&self) {
        if self.head_awaited_since_ms.load(Relaxed) == 0 {
            self.head_awaited_since_ms.store(now_ms(), Relaxed);
        }
    }

    /// On HTTP/2: that head is complete.
    pub(crate) fn head_has_come(&self) {
        self.head_awaited_since_ms.store(0, Relaxed);
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Is any request in flight?
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// Has nothing happened for that long on an HTTP/1 connection, and is nothing half done?
    pub(crate) fn rests(&self, after: Duration) -> bool {
        let idle = Duration::from_millis(now_ms().saturating_sub(self.idle_since_ms.load(Relaxed)));
        let half_done = self.head_since_ms.load(Relaxed) != 0 || self.blocked_since_ms.load(Relaxed) != 0;
        !self.is_busy() && !half_done && self.heads.is_between() && idle >= after
    }

    /// For how long nothing has been asked; `None` while a request is in flight or its head is coming.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        let asked = self.is_busy() || self.head_since_ms.load(Relaxed) != 0;
        let since_ms = self.idle_since_ms.load(Relaxed);
        (!asked).then(|| Duration::from_millis(now_ms().saturating_sub(since_ms)))
    }

    /// May the connection go on? `heads_by_bytes`: on HTTP/2 bytes between requests are no request's head.
    pub(crate) fn judge(&self, limits: &Limits, heads_by_bytes: bool) -> Verdict {
        let now = now_ms();
        let since = |at: &AtomicU64| Duration::from_millis(now.saturating_sub(at.load(Relaxed)));
        let tick = limits.header_timeout.min(limits.body_idle_timeout).min(limits.idle_timeout);
        if self.is_stalled(limits, now) {
            return Verdict::Stuck(Cut::NotReading);
        }
        // Nothing else can be said on the connection before that head is over; while the client takes no bytes, h2 may not
        // read either.
        let awaited =
            self.head_awaited_since_ms.load(Relaxed) != 0 && self.blocked_since_ms.load(Relaxed) == 0;
        if awaited && since(&self.head_awaited_since_ms) >= limits.header_timeout {
            return Verdict::Stuck(Cut::HeadersSlow);
        }
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::Fine(tick);
        }
        if heads_by_bytes && self.head_since_ms.load(Relaxed) != 0 {
            let waited = since(&self.head_since_ms);
            let left = limits.header_timeout.checked_sub(waited).filter(|left| !left.is_zero());
            return left.map_or(Verdict::Stuck(Cut::HeadersSlow), |left| Verdict::Fine(left.min(tick)));
        }
        let left = limits.idle_timeout.checked_sub(since(&self.idle_since_ms)).filter(|left| !left.is_zero());
        left.map_or(Verdict::Idle, |left| Verdict::Fine(left.min(tick)))
    }

    /// Has the client been waited for long enough without taking what it must at the least?
    fn is_stalled(&self, limits: &Limits, now_ms: u64) -> bool {
        let (since, before) = (self.blocked_since_ms.load(Relaxed), self.blocked_ms.load(Relaxed));
        if since == 0 && before == 0 {
            return false;
        }
        let enough = bytes_min(limits.body_idle_timeout, limits.answer_bytes_per_second_min).max(1);
        if self.taken_bytes.load(Relaxed) >= enough {
            self.taken_bytes.store(0, Relaxed);
            self.blocked_ms.store(0, Relaxed);
            if since != 0 {
                self.blocked_since_ms.store(now_ms, Relaxed);
            }
            return false;
        }
        let now_blocked = if since == 0 { 0 } else { now_ms.saturating_sub(since) };
        Duration::from_millis(before + now_blocked) >= limits.body_idle_timeout
    }
}

/// A connection's io, watched.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    io: T,
    activity: Arc<Activity>,
}

impl<T> Watched<T> {
    /// Watch this io.
    pub(crate) fn new(io: T, activity: Arc<Activity>) -> Self {
        Self { io, activity }
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>) {
        let Activity { blocked_since_ms, blocked_ms, taken_bytes, .. } = &*self.activity;
        let since = blocked_since_ms.load(Relaxed);
        match outcome {
            Poll::Pending if since == 0 => blocked_since_ms.store(now_ms(), Relaxed),
            Poll::Ready(taken) if since != 0 || blocked_ms.load(Relaxed) != 0 => {
                if since != 0 {
                    blocked_ms.fetch_add(now_ms().saturating_sub(since), Relaxed);
                    blocked_since_ms.store(0, Relaxed);
                }
                let taken = taken.as_ref().map_or(0, |bytes| *bytes as u64);
                taken_bytes.fetch_add(taken, Relaxed);
            }
            _ => {}
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        let activity = &self.activity;
        if buf.filled().len() > before
            && activity.in_flight.load(Relaxed) == 0
            && activity.head_since_ms.load(Relaxed) == 0
        {
            activity.head_since_ms.store(now_ms(), Relaxed);
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // rustls always asks so; for one piece, `send` costs the kernel less than `writev`.
        let outcome = match bufs {
            [piece] => Pin::new(&mut self.io).poll_write(cx, piece),
            pieces => Pin::new(&mut self.io).poll_write_vectored(cx, pieces),
        };
        self.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ms: u64) -> Limits {
        let time = Duration::from_millis(ms);
        Limits { header_timeout: time, idle_timeout: time, body_idle_timeout: time, ..Limits::default() }
    }

    #[test]
    fn a_connection_is_judged_by_what_it_is_doing() {
        let (at_once, later) = (limits(0), limits(60_000));
        let activity = Activity::new(None);
        assert!(matches!(activity.judge(&later, true), Verdict::Fine(_)), "fresh");
        assert_eq!(activity.judge(&at_once, true), Verdict::Idle);
        activity.head_since_ms.store(1, Relaxed);
        assert_eq!(
            activity.judge(&at_once, true),
            Verdict::Stuck(Cut::HeadersSlow),
            "a head that never ends"
        );
        assert_eq!(activity.judge(&at_once, false), Verdict::Idle, "on HTTP/2 those bytes were a ping");
        activity.request_begins();
        assert!(matches!(activity.judge(&at_once, true), Verdict::Fine(_)), "an answer may take its time");
        activity.blocked_since_ms.store(1, Relaxed);
        assert_eq!(activity.judge(&at_once, true), Verdict::Stuck(Cut::NotReading), "but must be taken");
        activity.blocked_since_ms.store(0, Relaxed);
        activity.blocked_ms.store(1, Relaxed);
        assert_eq!(activity.judge(&at_once, true), Verdict::Stuck(Cut::NotReading), "in more than drops");
        activity.taken_bytes.store(500, Relaxed);
        assert!(matches!(activity.judge(&at_once, true), Verdict::Fine(_)), "or fast enough");
        activity.head_is_awaited();
        assert_eq!(
            activity.judge(&at_once, false),
            Verdict::Stuck(Cut::HeadersSlow),
            "beside an answer, too"
        );
        assert!(matches!(activity.judge(&later, false), Verdict::Fine(_)), "in time");
        activity.blocked_since_ms.store(now_ms(), Relaxed);
        let patient = Limits { body_idle_timeout: Duration::from_secs(60), ..limits(0) };
        assert!(matches!(activity.judge(&patient, false), Verdict::Fine(_)), "not while nothing is taken");
        activity.blocked_since_ms.store(0, Relaxed);
        activity.head_has_come();
        assert!(matches!(activity.judge(&at_once, false), Verdict::Fine(_)), "it came");
        activity.request_ends(Instant::now());
        assert!(matches!(activity.judge(&later, true), Verdict::Fine(_)));
    }
}
