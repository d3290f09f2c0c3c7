//! One HTTP/2 stream's task. A client that opens no window for an answer, or a byte's worth now and then, must not hold
//! it for ever: hyper waits for the window without limit, so the limit is here.

use std::{
    future::Future,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use super::super::{
    cuts::Cut,
    patience::Patience,
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

/// The streams of a connection share its line: of the rate that is asked for, each owes its part, down to this one.
const PARTS_MAX: u32 = 16;

/// Run a stream until it ends, or its client has taken too little for `body_idle_timeout`. Dropping the task resets
/// the stream and throws away what h2 holds of it.
async fn run(streams: Streams, task: impl Future<Output = ()>) {
    let turns = &streams.thread.turns;
    {
        let mut task = std::pin::pin!(task);
        let mut owing: Option<Owing> = None;
        let stalled = std::future::poll_fn(|cx| {
            turns.take();
            if task.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            match turns.take() {
                Some(Turn::Ours) => owing.iter_mut().for_each(Owing::is_waited_for_no_more),
                Some(Turn::Clients(taken)) => {
                    let rate = streams.bytes_per_second_min();
                    owing.get_or_insert_with(|| Owing::new(streams.idle(), taken)).owes(rate);
                }
                // Woken for something else: as it was.
                None => {}
            }
            let over = owing.as_mut().is_some_and(|owing| owing.is_over(cx));
            if over { Poll::Ready(true) } else { Poll::Pending }
        })
        .await;
        if stalled {
            streams.thread.shared.cuts.count(Cut::StreamNotReading, streams.peer.address);
        }
        turns.cut(stalled);
    }
    turns.cut(false);
}

impl Streams {
    fn idle(&self) -> Duration {
        self.thread.shared.settings.load().limits.body_idle_timeout
    }

    fn bytes_per_second_min(&self) -> u32 {
        let of_connection = self.thread.shared.settings.load().limits.answer_bytes_per_second_min;
        of_connection.div_ceil(self.peer.activity.in_flight().clamp(1, PARTS_MAX))
    }
}

/// What a client has been given, and how long it has been waited for to take it.
struct Owing {
    taken: Rc<Taken>,
    patience: Patience,
    /// It is the client's turn.
    waiting: bool,
}

impl Owing {
    fn new(idle: Duration, taken: Rc<Taken>) -> Self {
        Self { taken, patience: Patience::new(idle, 0), waiting: false }
    }

    /// It is the client's turn.
    fn owes(&mut self, bytes_per_second_min: u32) {
        self.patience.ask_for(bytes_per_second_min);
        self.waiting = true;
    }

    /// It has taken all, or something else happens first.
    fn is_waited_for_no_more(&mut self) {
        self.patience.got(self.taken.moved_bytes());
        self.waiting = false;
    }

    /// Has it been waited for long enough?
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let moved_bytes = self.taken.moved_bytes();
        if moved_bytes > 0 {
            self.patience.got(moved_bytes);
        }
        self.waiting && self.patience.is_over(cx)
    }
}
