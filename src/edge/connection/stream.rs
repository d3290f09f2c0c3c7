//! One HTTP/2 stream's task. A client that opens no window for an answer must not hold it for ever: hyper waits for
//! the window without limit, so the limit is here.

use std::{future::Future, pin::Pin, rc::Rc, task::Poll, time::Duration};

use tokio::time::{Instant, Sleep};

use super::super::{
    cuts::Cut,
    peer::Peer,
    thread::Thread,
    turn::{Taken, Turn},
};

/// Runs HTTP/2 streams on this thread, counted by the drain.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) thread: Rc<Thread>,
    pub(super) peer: Rc<Peer>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        self.thread.shared.shutdown.spawn_local(run(self.clone(), task));
    }
}

/// Run a stream until it ends, or its client has taken nothing for `body_idle_timeout`. Dropping the task resets
/// the stream and throws away what h2 holds of it.
async fn run(streams: Streams, task: impl Future<Output = ()>) {
    let turns = &streams.thread.turns;
    {
        let mut task = std::pin::pin!(task);
        let mut waiting: Option<Waiting> = None;
        let stalled = std::future::poll_fn(|cx| {
            loop {
                turns.take();
                if task.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(false);
                }
                match turns.take() {
                    Some(Turn::Ours) => waiting = None,
                    Some(Turn::Clients(taken)) => {
                        let idle = streams.thread.shared.settings.load().limits.body_idle_timeout;
                        waiting = Some(Waiting::new(idle, taken));
                    }
                    // Woken for something else: as it was.
                    None => {}
                }
                let Some(waiting) = &mut waiting else { return Poll::Pending };
                if waiting.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if !waiting.taken.has_moved() {
                    return Poll::Ready(true);
                }
                waiting.timer.as_mut().reset(Instant::now() + waiting.idle);
            }
        })
        .await;
        if stalled {
            streams.thread.shared.cuts.count(Cut::StreamNotReading, streams.peer.address);
        }
        turns.cut(stalled);
    }
    turns.cut(false);
}

/// It is the client's turn.
struct Waiting {
    taken: Rc<Taken>,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Waiting {
    fn new(idle: Duration, taken: Rc<Taken>) -> Self {
        // What moved before was of the bytes before.
        taken.has_moved();
        Self { taken, idle, timer: Box::pin(tokio::time::sleep(idle)) }
    }
}
