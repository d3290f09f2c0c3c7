//! A connection's one loop: poll it, and look now and then whether it may go on. It must never wait for a client
//! without a limit, and never end one that is being served and keeps to them.

use std::{cell::Cell, future::Future, pin::Pin, rc::Rc, task::Poll, time::Duration};

use tokio::time::{Instant, Sleep};

use super::{
    super::{
        activity::{Activity, Verdict},
        cuts::Cut,
        thread::{Drained, Thread},
    },
    LAST_WORDS,
};

/// A connection without a request for this long gives its buffers back. Below it, the next request comes so soon
/// that making them anew would cost more than keeping them.
const REST_AFTER: Duration = Duration::from_secs(1);

/// How the loop ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Over(hyper::Result<()>),
    /// Nothing has happened for a while, and nothing is half done.
    Rests,
    /// It was idle for too long, or the gateway drains, and the client did not answer the goodbye.
    Gone,
    /// It must be cut.
    Stuck(Cut),
}

/// Run a connection until it ends, rests, is idle for too long, is stuck, or has drained. On HTTP/1, every byte
/// between two requests is part of the next one's head, and the connection can be put to rest.
///
/// A drain says goodbye on HTTP/2 at once (GOAWAY loses nothing). HTTP/1 can say it only with an answer: a kept
/// connection stays open for a moment, for the request that is on its way already.
pub(super) async fn drive<C>(
    thread: &Rc<Thread>,
    activity: &Activity,
    mut connection: Pin<&mut C>,
    graceful: impl Fn(Pin<&mut C>),
    is_http1: bool,
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    let drained = Drained::new(thread);
    let judge = || activity.judge(&thread.shared.settings.load().limits, is_http1);
    let first = match judge() {
        Verdict::Fine(left) => left.min(REST_AFTER),
        Verdict::Idle => Duration::ZERO,
        Verdict::Stuck(cut) => return End::Stuck(cut),
    };
    let mut timer = std::pin::pin!(tokio::time::sleep(first));
    let (registered, closing, draining) = (Cell::new(false), Cell::new(false), Cell::new(false));
    let patience = || thread.shared.settings.load().limits.last_request_timeout;
    std::future::poll_fn(|cx| {
        if !registered.replace(true) {
            drained.wake(cx.waker());
        }
        if thread.drain.has_begun() && !draining.replace(true) && !closing.get() {
            if is_http1 {
                rearm(timer.as_mut(), patience());
            } else {
                closing.set(true);
                graceful(connection.as_mut());
                rearm(timer.as_mut(), LAST_WORDS);
            }
        }
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Over(outcome));
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match judge() {
                Verdict::Stuck(cut) => return Poll::Ready(End::Stuck(cut)),
                // Not every client answers a goodbye; the drain must not wait for those that do not.
                _ if closing.get() && !activity.is_busy() => return Poll::Ready(End::Gone),
                Verdict::Fine(_) | Verdict::Idle if closing.get() => rearm(timer.as_mut(), LAST_WORDS),
                Verdict::Fine(left) if draining.get() => match activity.silent_for() {
                    Some(silent) if silent >= patience() => {
                        closing.set(true);
                        graceful(connection.as_mut());
                        rearm(timer.as_mut(), LAST_WORDS);
                    }
                    silent => rearm(timer.as_mut(), left.min(patience() - silent.unwrap_or_default())),
                },
                Verdict::Fine(_) if is_http1 && activity.rests(REST_AFTER) => {
                    return Poll::Ready(End::Rests);
                }
                Verdict::Fine(left) => rearm(timer.as_mut(), left.min(REST_AFTER)),
                Verdict::Idle => {
                    closing.set(true);
                    graceful(connection.as_mut());
                    rearm(timer.as_mut(), LAST_WORDS);
                }
            }
        }
    })
    .await
}

/// Wait until `first` is ready, for as long as an idle connection may; `None` when it is over.
pub(super) async fn rest<T>(
    thread: &Rc<Thread>,
    activity: &Activity,
    mut first: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>,
) -> Option<T> {
    let drained = Drained::new(thread);
    let judge = || activity.judge(&thread.shared.settings.load().limits, true);
    let Verdict::Fine(left) = judge() else { return None };
    let mut timer = std::pin::pin!(tokio::time::sleep(left));
    let (registered, draining) = (Cell::new(false), Cell::new(false));
    let patience = || thread.shared.settings.load().limits.last_request_timeout;
    std::future::poll_fn(|cx| {
        if !registered.replace(true) {
            drained.wake(cx.waker());
        }
        loop {
            if let Poll::Ready(outcome) = first(cx) {
                return Poll::Ready(Some(outcome));
            }
            if thread.drain.has_begun() && !draining.replace(true) {
                rearm(timer.as_mut(), patience());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match judge() {
                Verdict::Fine(left) if !draining.get() => rearm(timer.as_mut(), left),
                // The moment for the last request is over.
                Verdict::Fine(_) | Verdict::Idle | Verdict::Stuck(_) => return Poll::Ready(None),
            }
        }
    })
    .await
}

fn rearm(timer: Pin<&mut Sleep>, left: Duration) {
    // Never at once: a limit of zero must not spin.
    timer.reset(Instant::now() + left.max(Duration::from_millis(1)));
}
