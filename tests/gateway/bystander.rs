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
    asking: Option<thread::JoinHandle<u32>>,
}

impl Bystander {
    /// Begin to ask.
    pub(crate) fn of(client: &Client) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (client, stop) = (client.clone(), end.clone());
        let asking = thread::spawn(move || {
            let mut answers = 0;
            while !stop.load(Relaxed) {
                client.get("/bystander").origin(NAVAJA).secure().send().is(200);
                answers += 1;
                thread::sleep(Duration::from_millis(20));
            }
            answers
        });
        Self { end, asking: Some(asking) }
    }

    /// Every request was answered with 200, and there were some.
    #[track_caller]
    pub(crate) fn was_served(mut self) {
        self.end.store(true, Relaxed);
        let answers = self.asking.take().unwrap().join().expect("everybody else was turned away");
        assert!(answers > 0);
    }
}
