//! Somebody who wants nothing but to be served, while others misbehave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::{Client, NAVAJA};

/// Everybody else: one who asks all the while, and must always be answered.
#[derive(Debug)]
pub(crate) struct Bystander {
    end: Arc<AtomicBool>,
    asking: Option<thread::JoinHandle<()>>,
}

impl Bystander {
    /// Begin to ask.
    pub(crate) fn of(client: &Client) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (client, stop) = (client.clone(), end.clone());
        let asking = thread::spawn(move || {
            // At least once, however soon the others have come to their end.
            loop {
                let last = stop.load(Relaxed);
                client.get("/bystander").origin(NAVAJA).secure().send().is(200);
                if last {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { end, asking: Some(asking) }
    }

    /// Every request was answered with 200, and so is one more.
    #[track_caller]
    pub(crate) fn was_served(mut self) {
        self.end.store(true, Relaxed);
        self.asking.take().unwrap().join().expect("everybody else was turned away");
    }
}
