//! How much a worker may be given at a time. One that has just got ready runs cold code: it gets a few requests,
//! and one more with each answer. A warm one takes what comes, and costs the request path one load.

use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The window of a warm worker.
const OPEN: usize = usize::MAX;

/// How a worker is warmed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) struct WarmUp {
    /// Requests that it has not begun to answer, at first; one more with each answer.
    pub(in crate::backend) in_flight: usize,
    /// Answers until it is warm; 0 is from the start.
    pub(in crate::backend) answers: usize,
}

/// One worker's warmth.
#[derive(Debug)]
pub(super) struct Warmth {
    /// Requests it may have without having begun to answer them.
    window: AtomicUsize,
    /// Those it has; counted while it is cold only.
    unanswered: AtomicUsize,
    answers_left: AtomicUsize,
}

/// Is there room for one more?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The worker is warm: nothing is counted.
    Open,
    /// One place was taken.
    Taken,
    /// No.
    Full,
}

impl Warmth {
    /// As warm as nobody has to mind.
    pub(super) fn warm() -> Self {
        Self {
            window: AtomicUsize::new(OPEN),
            unanswered: AtomicUsize::new(0),
            answers_left: AtomicUsize::new(0),
        }
    }

    /// From here on it is cold. Only for a worker that nobody has been given yet.
    pub(super) fn cool(&self, warm_up: WarmUp) {
        if warm_up.answers > 0 {
            self.answers_left.store(warm_up.answers, Relaxed);
            self.window.store(warm_up.in_flight.max(1), Relaxed);
        }
    }

    /// Would one more fit?
    pub(super) fn is_full(&self) -> bool {
        let window = self.window.load(Relaxed);
        window != OPEN && self.unanswered.load(Relaxed) >= window
    }

    /// One more request.
    pub(super) fn enter(&self) -> Room {
        let window = self.window.load(Relaxed);
        if window == OPEN {
            return Room::Open;
        }
        let one_more = |count: usize| (count < window).then_some(count + 1);
        match self.unanswered.fetch_update(AcqRel, Relaxed, one_more) {
            Ok(_) => Room::Taken,
            Err(_) => Room::Full,
        }
    }

    /// A place that was taken is given back without an answer.
    pub(super) fn leave(&self) {
        self.unanswered.fetch_sub(1, AcqRel);
    }

    /// A place that was taken is given back with an answer: the worker is a little warmer. It is warm when it has
    /// given all answers that were asked of it and nobody waits: what has piled up is not let loose on it at once.
    pub(super) fn answered(&self, somebody_waits: bool) {
        let fewer = |left: usize| left.checked_sub(1);
        if self.answers_left.fetch_update(AcqRel, Acquire, fewer).is_ok() {
            let wider = |window: usize| (window != OPEN).then(|| window + 1);
            let _open = self.window.fetch_update(AcqRel, Relaxed, wider);
        } else if !somebody_waits {
            self.window.store(OPEN, Relaxed);
        }
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(warmth: &Warmth) -> usize {
        (0..1000).take_while(|_| warmth.enter() == Room::Taken).count()
    }

    #[test]
    fn a_cold_worker_gets_one_more_with_each_answer_and_takes_what_comes_in_the_end() {
        let warmth = Warmth::warm();
        assert_eq!(warmth.enter(), Room::Open);
        warmth.cool(WarmUp { in_flight: 4, answers: 3 });
        assert_eq!(taken(&warmth), 4);
        assert!(warmth.is_full());
        warmth.leave();
        assert_eq!(taken(&warmth), 1, "one that failed is no answer");
        warmth.answered(true);
        assert_eq!(taken(&warmth), 2);
        for _ in 0..2 {
            warmth.answered(true);
        }
        assert_eq!(taken(&warmth), 4);
        warmth.answered(true);
        assert_eq!(taken(&warmth), 1, "others still wait");
        warmth.answered(false);
        assert_eq!(warmth.enter(), Room::Open);
        assert!(!warmth.is_full());
    }

    #[test]
    fn no_answers_asked_is_warm_from_the_start() {
        let warmth = Warmth::warm();
        warmth.cool(WarmUp { in_flight: 4, answers: 0 });
        assert_eq!(warmth.enter(), Room::Open);
    }
}
