//! Whose turn it is on an HTTP/2 stream: ours, to bring more of the answer, or the client's, to take what there is.
//! hyper asks a body for more only when the client has made room, so the body cannot see a client that makes none;
//! who polls the stream's task can. It must never mistake a slow worker for a slow client.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

use bytes::{Buf, Bytes};

/// What is known of the stream whose task is being polled on this thread.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: RefCell<Option<Turn>>,
    cutting: Cell<bool>,
}

/// Who is expected to do something.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The worker, or we.
    Ours,
    /// The client, with these bytes.
    Clients(Rc<Taken>),
}

impl Turns {
    /// A body was asked for more: this is how it stands now.
    pub(crate) fn note(&self, turn: Turn) {
        *self.last.borrow_mut() = Some(turn);
    }

    /// What the body that was just polled has noted.
    pub(crate) fn take(&self) -> Option<Turn> {
        self.last.take()
    }

    /// From now until `false`, bodies are dropped because their client takes nothing.
    pub(crate) fn cut(&self, cutting: bool) {
        self.cutting.set(cutting);
    }

    /// Is a body dropped for that?
    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }
}

/// How far the bytes handed to HTTP/2 have gone.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    moved_bytes: Cell<u64>,
    held: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Taken {
    /// How many have gone since the last time this was asked?
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.take()
    }

    /// Have all gone? If not, the task is woken when they have.
    pub(crate) fn is_all(&self, cx: &mut Context<'_>) -> bool {
        if self.held.get() == 0 {
            return true;
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        false
    }
}

/// Bytes of an answer.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    taken: Option<Rc<Taken>>,
}

impl Piece {
    /// Bytes that nobody watches.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, taken: None }
    }

    /// Bytes that tell how far they have gone.
    pub(crate) fn watched(bytes: Bytes, taken: &Rc<Taken>) -> Self {
        taken.held.set(taken.held.get() + 1);
        Self { bytes, taken: Some(taken.clone()) }
    }

    fn note(&self, count: usize) {
        if let Some(taken) = &self.taken {
            taken.moved_bytes.set(taken.moved_bytes.get() + count as u64);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(taken) = &self.taken else { return };
        taken.held.set(taken.held.get() - 1);
        if let Some(waker) = taken.waker.take().filter(|_| taken.held.get() == 0) {
            waker.wake();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.note(count);
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.note(length);
        self.bytes.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_when_they_move_and_when_all_have_gone() {
        let taken = Rc::<Taken>::default();
        let mut piece = Piece::watched(Bytes::from_static(b"answer"), &taken);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!((taken.moved_bytes(), taken.is_all(&mut cx)), (0, false));
        piece.advance(2);
        assert_eq!((taken.moved_bytes(), taken.moved_bytes(), piece.remaining()), (2, 0, 4));
        drop(piece);
        assert!(taken.is_all(&mut cx));
    }
}
