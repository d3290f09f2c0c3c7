//! Do the edge threads live? Each has a heart that is felt from outside, and beats soon after it. It must never wake a
//! thread at rest but to be felt.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::sync::Notify;

/// The hearts of the threads that serve: that of one which hangs in a loop or a lock beats no more.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Vec<Weak<Heart>>>);

/// One thread's heart.
#[derive(Debug, Default)]
pub(crate) struct Heart {
    /// It was felt, and has not beaten since.
    awaited: AtomicBool,
    felt: Notify,
}

impl Pulse {
    /// A thread begins to serve; it counts for as long as its heart is kept.
    pub(crate) fn join(&self) -> Arc<Heart> {
        let heart = Arc::default();
        let mut hearts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of threads that have ended in order.
        hearts.retain(|heart| heart.strong_count() > 0);
        hearts.push(Arc::downgrade(&heart));
        heart
    }

    /// How many threads have not beaten since this was asked last; and asks them all to beat.
    pub(crate) fn feel(&self) -> usize {
        let hearts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hearts.iter().filter_map(Weak::upgrade).filter(|heart| heart.feel()).count()
    }
}

impl Heart {
    /// Is the beat for the last time still awaited?
    fn feel(&self) -> bool {
        // Awaited first, then felt: it may beat on another core before this function has returned.
        let awaited = self.awaited.swap(true, Relaxed);
        self.felt.notify_one();
        awaited
    }

    /// Resolves when it was felt. Cancel safe.
    pub(crate) async fn felt(&self) {
        self.felt.notified().await;
    }

    pub(crate) fn beat(&self) {
        self.awaited.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_that_hangs_is_enough_and_one_that_is_new_or_gone_hangs_not() {
        let pulse = Pulse::default();
        let (lives, hangs) = (pulse.join(), pulse.join());
        assert_eq!(pulse.feel(), 0, "both are new");
        lives.beat();
        let new = pulse.join();
        assert_eq!(pulse.feel(), 1);
        lives.beat();
        new.beat();
        assert_eq!(pulse.feel(), 1, "it hangs on");
        drop((lives, new));
        hangs.beat();
        assert_eq!(pulse.feel(), 0);
    }

    #[test]
    fn one_that_beats_in_the_moment_it_is_felt_lives() {
        let pulse = Pulse::default();
        let heart = pulse.join();
        let beating = Arc::clone(&heart);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                while Arc::strong_count(&beating) > 1 {
                    beating.felt().await;
                    beating.beat();
                }
            });
        });
        for look in 0..20_000 {
            assert_eq!(pulse.feel(), 0, "look {look}");
            while heart.awaited.load(Relaxed) {
                std::thread::yield_now();
            }
        }
        let last = Arc::downgrade(&heart);
        drop(heart);
        while let Some(heart) = last.upgrade() {
            heart.felt.notify_one();
        }
        thread.join().unwrap();
    }
}
