//! The two directions of one WebSocket, and the end of both. Each side's half-close passes to the other; neither is
//! cut while it may still speak and does.

use std::{
    cell::Cell,
    future::poll_fn,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};

use super::{
    ending::Ending,
    frames::close_frame,
    lane::{Broken, Lane, Step},
    sockets::OpenSocket,
};

/// For the rest of a frame under way, our goodbye, and the other side's: both are at the other end of a line that
/// works, or will not hear it anyway.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long nothing may move.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// While both sides speak.
    pub(super) idle: Duration,
    /// Once one has said goodbye, or all it had to say.
    pub(super) closing: Duration,
}

/// Both sides, switched.
pub(super) struct Relay<'a, C, W> {
    client: C,
    worker: W,
    socket: &'a OpenSocket,
    /// Takes the worker no more requests, and so will end soon or has ended?
    worker_leaves: &'a dyn Fn() -> bool,
    up: Lane,
    down: Lane,
    /// Who began to end it.
    begun: Option<Ending>,
    motion: Motion,
}

/// When bytes moved last, and whether the end has begun.
struct Motion {
    last: Cell<Instant>,
    closing: Cell<bool>,
    changed: Notify,
}

impl<'a, C, W> Relay<'a, C, W>
where
    C: AsyncRead + AsyncWrite + Unpin,
    W: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        (client, worker): (C, W),
        socket: &'a OpenSocket,
        worker_leaves: &'a dyn Fn() -> bool,
    ) -> Self {
        let motion =
            Motion { last: Cell::new(Instant::now()), closing: Cell::new(false), changed: Notify::new() };
        let (up, down) = (Lane::default(), Lane::default());
        Self { client, worker, socket, worker_leaves, up, down, begun: None, motion }
    }

    /// Bytes from the client, and to it.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.up.bytes(), self.down.bytes())
    }

    /// Pass bytes until it ends, and say why it did.
    pub(super) async fn run(&mut self, patience: Patience) -> Ending {
        let ending = self.pass(patience).await;
        if let Some(goodbye) = ending.goodbye() {
            // Whoever does not answer in time has heard it.
            let _late = tokio::time::timeout(LAST_WORDS, self.part(ending, goodbye)).await;
        }
        ending
    }

    async fn pass(&mut self, patience: Patience) -> Ending {
        let Self { client, worker, socket, worker_leaves, up, down, begun, motion } = self;
        let sockets = &socket.thread().sockets;
        let both = poll_fn(|cx| {
            let step = sockets.with_scratch(|scratch| {
                let up = poll_up(cx, (&mut *up, begun), (client, worker), scratch, motion);
                if up.is_ready() {
                    return up;
                }
                poll_down(cx, (&mut *down, begun), (worker, client), (scratch, motion), *worker_leaves)
            });
            if begun.is_none() && (up.is_closing() || down.is_closing()) {
                *begun = Some(if up.is_closing() { Ending::ClientClosed } else { Ending::WorkerClosed });
            }
            if begun.is_some() && !motion.closing.replace(true) {
                motion.changed.notify_one();
            }
            match step {
                Poll::Pending if up.has_ended() && down.has_ended() => {
                    Poll::Ready(begun.unwrap_or(Ending::WorkerClosed))
                }
                step => step,
            }
        });
        tokio::select! {
            ending = both => return ending,
            ending = socket.told() => return ending,
            () = motion.stillness(patience) => {}
        }
        self.begun.unwrap_or(Ending::Idle)
    }

    /// Close both sides in order.
    async fn part(&mut self, ending: Ending, (code, reason): (u16, &str)) {
        let Self { client, worker, socket, up, down, .. } = self;
        // What a client sends is masked, and not predictably (RFC 6455 5.3).
        let mut mask = [0; 4];
        let masked = aws_lc_rs::rand::fill(&mut mask).is_ok() && ending != Ending::WorkerGone;
        let mut upward = up.part(masked.then(|| close_frame(code, reason, Some(mask))));
        let mut downward = down.part(Some(close_frame(code, reason, None)));
        let sockets = &socket.thread().sockets;
        poll_fn(|cx| {
            sockets.with_scratch(|scratch| {
                let up = up.poll_part(cx, (&mut *client, &mut *worker), scratch, &mut upward);
                let down = down.poll_part(cx, (&mut *worker, &mut *client), scratch, &mut downward);
                if up.is_ready() && down.is_ready() { Poll::Ready(()) } else { Poll::Pending }
            })
        })
        .await;
    }
}

/// From the client to the worker. Pending, too, when this direction is done.
fn poll_up<C, W>(
    cx: &mut Context<'_>,
    (lane, begun): (&mut Lane, &mut Option<Ending>),
    (client, worker): (&mut C, &mut W),
    scratch: &mut [u8],
    motion: &Motion,
) -> Poll<Ending>
where
    C: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        match lane.poll(cx, (&mut *client, &mut *worker), scratch, || motion.moved()) {
            Poll::Ready(Ok(Step::Said)) => {
                begun.get_or_insert(Ending::ClientClosed);
                lane.finish(Vec::new());
            }
            Poll::Ready(Err(Broken::From)) => return Poll::Ready(begun.unwrap_or(Ending::ClientGone)),
            // What it has said before it went may still be on its way to the client.
            Poll::Ready(Err(Broken::To)) => {
                begun.get_or_insert(Ending::WorkerGone);
                lane.abandon();
            }
            Poll::Ready(Ok(Step::Ended)) | Poll::Pending => return Poll::Pending,
        }
    }
}

/// From the worker to the client. Pending, too, when this direction is done.
fn poll_down<C, W>(
    cx: &mut Context<'_>,
    (lane, begun): (&mut Lane, &mut Option<Ending>),
    (worker, client): (&mut W, &mut C),
    (scratch, motion): (&mut [u8], &Motion),
    worker_leaves: &dyn Fn() -> bool,
) -> Poll<Ending>
where
    C: AsyncWrite + Unpin,
    W: AsyncRead + Unpin,
{
    loop {
        match lane.poll(cx, (&mut *worker, &mut *client), scratch, || motion.moved()) {
            // The end of its process closes its connections without a word; browsers deserve one.
            Poll::Ready(Ok(Step::Said))
                if lane.takes_goodbye()
                    && (*begun == Some(Ending::WorkerGone) || begun.is_none() && worker_leaves()) =>
            {
                return Poll::Ready(Ending::WorkerGone);
            }
            Poll::Ready(Ok(Step::Said)) => {
                begun.get_or_insert(Ending::WorkerClosed);
                lane.finish(Vec::new());
            }
            Poll::Ready(Err(Broken::From)) => return Poll::Ready(begun.unwrap_or(Ending::WorkerGone)),
            Poll::Ready(Err(Broken::To)) => return Poll::Ready(begun.unwrap_or(Ending::ClientGone)),
            Poll::Ready(Ok(Step::Ended)) | Poll::Pending => return Poll::Pending,
        }
    }
}

impl Motion {
    fn moved(&self) {
        self.last.set(Instant::now());
    }

    /// Resolves when nothing has moved for too long.
    async fn stillness(&self, patience: Patience) {
        loop {
            let closing = self.closing.get();
            let limit = if closing { patience.idle.min(patience.closing) } else { patience.idle };
            let still = self.last.get().elapsed();
            if still >= limit {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(limit - still) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}
