//! WebSockets: once both sides have switched, bytes pass until one side ends, nothing moves for too long, or the
//! gateway drains. The request's place and its worker's lease are held all the while.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::{
    access_log::Record,
    body::Body,
    forward::{Held, Switched, strip_answer},
    listen::Open,
    serve::Exchange,
    thread::{Drained, Thread},
};

/// When one end has hung up, the other has this long to follow.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Answer 101 and pass bytes from then on.
pub(crate) fn relay(
    exchange: &Exchange,
    client: OnUpgrade,
    response: Response<()>,
    (worker, held): (Switched, Held),
) -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let (mut parts, _) = response.into_parts();
    strip_answer(&mut parts.headers);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    *answer.headers_mut() = parts.headers;
    let (thread, record) = (exchange.thread.clone(), exchange.record.clone());
    let limits = &exchange.settings.limits;
    let (switch_timeout, idle) = (limits.header_timeout, limits.upgrade_idle_timeout);
    let open = Open::new(&exchange.thread.shared);
    exchange.thread.shared.shutdown.spawn_local(async move {
        if let Ok(Ok(client)) = tokio::time::timeout(switch_timeout, client).await {
            pass(&thread, &record, idle, (client, worker)).await;
        }
        record.end();
        drop((held, open));
    });
    answer
}

async fn pass(thread: &Rc<Thread>, record: &Rc<Record>, idle: Duration, ends: (Upgraded, Switched)) {
    let motion = Rc::new(Motion { last: Cell::new(Instant::now()), ended: Notify::new() });
    let mut client = Moving { io: TokioIo::new(ends.0), motion: motion.clone() };
    let mut worker = Moving { io: ends.1, motion: motion.clone() };
    let drained = Drained::new(thread);
    // Each end's half-close passes to the other.
    let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut worker, 8192, 8192);
    tokio::select! {
        outcome = copy => {
            if let Ok((bytes_in, bytes_out)) = outcome {
                record.bytes_in(bytes_in);
                record.bytes_out(bytes_out);
            }
        }
        () = stillness(&motion, idle) => {}
        () = drain(thread, &drained) => {}
    }
}

/// Resolves when nothing has moved for that long; for much less once one end has said all it had to say: a
/// WebSocket's other end can only say goodbye then, and many forget to hang up.
async fn stillness(motion: &Motion, mut idle: Duration) {
    loop {
        let still = motion.last.get().elapsed();
        if still >= idle {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(idle - still) => {}
            () = motion.ended.notified() => idle = idle.min(LAST_WORDS),
        }
    }
}

/// Resolves when the gateway drains: the front end opens a new one to whoever serves next.
async fn drain(thread: &Thread, drained: &Drained) {
    let mut registered = false;
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut registered, true) {
            drained.wake(cx.waker());
        }
        if thread.drain.has_begun() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What both ends do.
struct Motion {
    /// When bytes moved last.
    last: Cell<Instant>,
    /// One end has said all it had to say.
    ended: Notify,
}

/// An end that notes when bytes move.
struct Moving<T> {
    io: T,
    motion: Rc<Motion>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Moving<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.motion.last.set(Instant::now());
        } else if outcome.is_ready() {
            self.motion.last.set(Instant::now());
            self.motion.ended.notify_one();
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Moving<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        if outcome.is_ready() {
            self.motion.last.set(Instant::now());
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
