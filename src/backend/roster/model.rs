//! The roster against a naive model: who waits and in which order, cold workers' windows, time-outs, homes. Time is
//! paused, and moves only when a step says so.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;

use super::{Address, Home, Roster, WarmUp, Worker, WorkerLease, home::at_home, next_key};

/// A cold worker's first window. No test gives as many answers as would make it warm.
const WINDOW: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Add,
    Remove(usize),
    /// Ask, and line up in this lane if there is nothing.
    Ask(u8),
    /// One that waits goes away.
    GiveUp(usize),
    Answer(usize),
    TimeOut(usize),
    Release(usize),
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Add),
        1 => any::<usize>().prop_map(Step::Remove),
        10 => (0_u8..3).prop_map(Step::Ask),
        1 => any::<usize>().prop_map(Step::GiveUp),
        4 => any::<usize>().prop_map(Step::Answer),
        3 => any::<usize>().prop_map(Step::TimeOut),
        4 => any::<usize>().prop_map(Step::Release),
        2 => (0_u16..20_000).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..150)
}

/// A request that has a worker.
struct Served {
    lease: WorkerLease,
    answered: bool,
}

/// A request that waits.
struct Waiting {
    number: usize,
    lane: u8,
    wait: Pin<Box<dyn Future<Output = WorkerLease>>>,
}

/// What is known of one worker.
#[derive(Default)]
struct Known {
    window: usize,
    timed_out: usize,
    last_ms: u64,
}

#[derive(Default)]
struct Model {
    listed: Vec<Arc<Worker>>,
    all: Vec<Arc<Worker>>,
    known: BTreeMap<u64, Known>,
    served: Vec<Served>,
    waiting: Vec<Waiting>,
    /// Lanes that have somebody; the first one's turn it is.
    turns: Vec<u8>,
    asked: usize,
    now_ms: u64,
}

impl Model {
    fn of(&self, key: u64) -> impl Iterator<Item = &Served> {
        self.served.iter().filter(move |served| served.lease.key() == key)
    }

    fn room(&self, key: u64) -> usize {
        self.known[&key].window.saturating_sub(self.of(key).filter(|served| !served.answered).count())
    }

    fn load(&self, key: u64) -> usize {
        self.of(key).count() + self.known[&key].timed_out
    }

    fn rooms(&self) -> usize {
        self.listed.iter().map(|worker| self.room(worker.key())).sum()
    }

    /// Whoever is called next, by the rule: lanes in turn, within one the first that came.
    fn next(&mut self) -> usize {
        let lane = self.turns.remove(0);
        let mut of_lane = self.waiting.iter().filter(|waiting| waiting.lane == lane);
        let (first, more) = (of_lane.next().unwrap().number, of_lane.next().is_some());
        if more {
            self.turns.push(lane);
        }
        first
    }

    fn line_up(&mut self, roster: &Arc<Roster>, lane: u8) {
        let (roster, number) = (Arc::clone(roster), self.asked);
        let turn = roster.turn(std::time::Instant::now());
        let wait = Box::pin(async move { roster.wait(&lane.to_string(), turn, (None, &[])).await });
        if self.waiting.iter().all(|waiting| waiting.lane != lane) {
            self.turns.push(lane);
        }
        self.waiting.push(Waiting { number, lane, wait });
    }

    fn give_up(&mut self, at: usize) {
        let lane = self.waiting.remove(at).lane;
        if self.waiting.iter().all(|waiting| waiting.lane != lane) {
            self.turns.retain(|turn| *turn != lane);
        }
    }

    /// Those that are called now must be those whose turn it is, as many as there is room for.
    fn check_called(&mut self) {
        let mut called = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        for waiting in &mut self.waiting {
            if let Poll::Ready(lease) = waiting.wait.as_mut().poll(&mut cx) {
                called.push((waiting.number, lease));
            }
        }
        let places = self.rooms().min(self.waiting.len());
        let mut expected = Vec::new();
        for _ in 0..places {
            let number = self.next();
            self.waiting.retain(|waiting| waiting.number != number);
            expected.push(number);
        }
        expected.sort_unstable();
        let numbers: Vec<usize> = called.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, expected, "somebody else's turn, or a place was kept back");
        self.served.extend(called.into_iter().map(|(_, lease)| Served { lease, answered: false }));
        for worker in &self.listed {
            assert!(
                self.of(worker.key()).filter(|s| !s.answered).count() <= self.known[&worker.key()].window
            );
        }
    }

    fn check_pick(&mut self, picked: Option<WorkerLease>) {
        let open = self.listed.iter().map(|worker| worker.key()).filter(|key| self.room(*key) > 0);
        let least = open.map(|key| self.load(key)).min().filter(|_| self.waiting.is_empty());
        assert_eq!(picked.as_ref().map(|lease| self.load(lease.key())), least);
        self.served.extend(picked.map(|lease| Served { lease, answered: false }));
    }

    /// Every key has the home that the rule says, and none that hangs while there is another.
    fn check_homes(&self) {
        let hangs = |worker: &Arc<Worker>| {
            let known = &self.known[&worker.key()];
            known.timed_out >= 3 && self.now_ms - known.last_ms < 15_000
        };
        let open: Vec<_> = self.listed.iter().filter(|worker| self.room(worker.key()) > 0).cloned().collect();
        let well: Vec<_> = open.iter().filter(|worker| !hangs(worker)).cloned().collect();
        let fit = if well.is_empty() { &open } else { &well };
        for key in 0..8_u32 {
            let home = at_home(&self.listed, Home::of(key), &[]).map(|worker| worker.key());
            assert!(home.map_or(fit.is_empty(), |home| fit.iter().any(|worker| worker.key() == home)));
        }
    }
}

async fn play(steps: Vec<Step>) {
    let roster = Roster::new("api".to_owned(), Duration::from_secs(4), Default::default());
    roster.warm_up_is(WarmUp { in_flight: WINDOW, answers: 1_000_000 });
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Add => {
                let address = Address::unix("/none");
                let worker = Worker::new(next_key(), format!("api/{}", model.all.len()), address);
                model.known.insert(worker.key(), Known { window: WINDOW, ..Known::default() });
                model.listed.push(Arc::clone(&worker));
                model.all.push(Arc::clone(&worker));
                roster.add(&worker);
            }
            Step::Remove(at) if !model.listed.is_empty() => {
                let worker = model.listed.remove(at % model.listed.len());
                assert!(roster.remove(&worker));
            }
            Step::Ask(lane) => {
                model.asked += 1;
                let picked = roster.pick(&[]);
                let nothing = picked.is_none();
                model.check_pick(picked);
                if nothing {
                    model.line_up(&roster, lane);
                }
            }
            Step::GiveUp(at) if !model.waiting.is_empty() => model.give_up(at % model.waiting.len()),
            Step::Answer(at) if !model.served.is_empty() => {
                let at = at % model.served.len();
                let served = &mut model.served[at];
                served.lease.answered();
                let first = !std::mem::replace(&mut served.answered, true);
                let known = model.known.get_mut(&served.lease.key()).unwrap();
                known.timed_out = 0;
                known.window += usize::from(first);
            }
            Step::TimeOut(at) if !model.served.is_empty() => {
                let Served { lease, .. } = model.served.swap_remove(at % model.served.len());
                lease.timed_out();
                let known = model.known.get_mut(&lease.key()).unwrap();
                (known.timed_out, known.last_ms) = (known.timed_out + 1, model.now_ms);
            }
            Step::Release(at) if !model.served.is_empty() => {
                drop(model.served.swap_remove(at % model.served.len()));
            }
            Step::Pass(ms) => {
                tokio::time::advance(Duration::from_millis(ms.into())).await;
                model.now_ms += u64::from(ms);
            }
            Step::Remove(_) | Step::GiveUp(_) | Step::Answer(_) | Step::TimeOut(_) | Step::Release(_) => {}
        }
        model.check_called();
        model.check_homes();
        for worker in &model.all {
            assert_eq!(worker.in_flight(), model.of(worker.key()).count());
        }
        assert_eq!(roster.somebody_waits(), !model.waiting.is_empty());
    }
}

proptest! {
    #[test]
    fn whoever_waits_is_called_in_order_and_nobody_gets_what_is_not_theirs(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(play(steps));
    }
}
