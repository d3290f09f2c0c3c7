//! How long a client is waited for, to send its body or to take an answer: an idle timeout that begins anew only once
//! enough bytes have passed. A byte now and then is no progress. It must never count the time in which it is not the
//! client who is waited for.

use std::{future::Future, pin::Pin, task::Context, time::Duration};

use tokio::time::{Instant, Sleep};

/// What one client may still take of our time; while bytes pass it costs nothing.
#[derive(Debug)]
pub(super) struct Patience {
    idle: Duration,
    /// What must pass in `idle` of waiting.
    bytes_min: u64,
    bytes: u64,
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// What must pass in that time, at that rate.
pub(super) fn bytes_min(idle: Duration, bytes_per_second_min: u32) -> u64 {
    idle.as_secs().max(1).saturating_mul(bytes_per_second_min.into())
}

impl Patience {
    /// Nobody has been waited for yet. Without a rate, any byte is enough.
    pub(super) fn new(idle: Duration, bytes_per_second_min: u32) -> Self {
        let bytes_min = bytes_min(idle, bytes_per_second_min);
        Self { idle, bytes_min, bytes: 0, waited: Duration::ZERO, waiting: None }
    }

    /// From now on another rate is asked for.
    pub(super) fn ask_for(&mut self, bytes_per_second_min: u32) {
        self.bytes_min = bytes_min(self.idle, bytes_per_second_min);
    }

    /// Called when nothing passes: is it enough?
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let left = self.idle.saturating_sub(self.waited);
        let (_, timer) =
            self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        timer.as_mut().poll(cx).is_ready()
    }

    /// Called when so many bytes have passed, or when it is no longer the client who is waited for.
    pub(super) fn got(&mut self, bytes: u64) {
        let Some((since, _)) = self.waiting.take() else { return };
        self.waited += since.elapsed();
        self.bytes += bytes;
        if self.bytes >= self.bytes_min {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn over(patience: &mut Patience) -> bool {
        patience.is_over(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_no_progress_and_enough_of_them_are() {
        for (bytes_per_second_min, each, ends) in
            [(10, 1, true), (10, 49, true), (10, 50, false), (0, 1, false), (0, 0, false)]
        {
            // At ten a second, a hundred in ten seconds.
            let mut patience = Patience::new(Duration::from_secs(10), bytes_per_second_min);
            let mut ended = false;
            for _ in 0..10 {
                ended |= over(&mut patience);
                tokio::time::advance(Duration::from_millis(4_900)).await;
                ended |= over(&mut patience);
                patience.got(each);
            }
            assert_eq!(ended, ends, "{bytes_per_second_min} a second, {each} each time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts() {
        let mut patience = Patience::new(Duration::from_secs(10), 10);
        for _ in 0..10 {
            assert!(!over(&mut patience));
            patience.got(0);
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert!(!over(&mut patience));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(over(&mut patience));
    }
}
