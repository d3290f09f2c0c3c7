//! Whoever waits, in order: first come first served within a lane (a tenant), and the lanes take turns, so that one
//! that has two hundred waiting starves none that has one. It must never hold what does not wait any more.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// Values by lane and number; the smallest number of a lane came first.
#[derive(Debug)]
pub(super) struct Queue<K, N, V> {
    lanes: HashMap<K, BTreeMap<N, V>>,
    /// Every lane that has somebody, once; the first one's turn it is.
    turns: VecDeque<K>,
    len: usize,
}

impl<K: Clone + Eq + Hash, N: Ord + Copy, V> Queue<K, N, V> {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self { lanes: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One more, at the place that its number gives it.
    pub(super) fn push(&mut self, lane: K, number: N, value: V) {
        let waiting = self.lanes.entry(lane.clone()).or_default();
        if waiting.is_empty() {
            self.turns.push_back(lane);
        }
        if waiting.insert(number, value).is_none() {
            self.len += 1;
        }
    }

    /// One that does not wait any more; `None` when it has been called.
    pub(super) fn remove(&mut self, lane: &K, number: N) -> Option<V> {
        let waiting = self.lanes.get_mut(lane)?;
        let value = waiting.remove(&number)?;
        self.len -= 1;
        if waiting.is_empty() {
            self.lanes.remove(lane);
            self.turns.retain(|turn| turn != lane);
        }
        Some(value)
    }

    /// The next one whom `fits` takes. Those it does not take keep their places, and so do their lanes.
    pub(super) fn next(&mut self, mut fits: impl FnMut(&V) -> bool) -> Option<V> {
        let first_that_fits = |lane: &K| {
            let waiting = self.lanes.get(lane)?;
            waiting.iter().find(|(_, value)| fits(value)).map(|(number, _)| *number)
        };
        let (at, number) = self
            .turns
            .iter()
            .map(first_that_fits)
            .enumerate()
            .find_map(|(at, number)| number.map(|number| (at, number)))?;
        // Its lane has had its turn: to the end, or away when it was the last one.
        let lane = self.turns.remove(at)?;
        let waiting = self.lanes.get_mut(&lane)?;
        let value = waiting.remove(&number);
        self.len -= 1;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lanes_take_turns_and_within_one_the_first_comes_first() {
        let mut queue = Queue::new();
        for number in 0..200 {
            queue.push("large", number, ("large", number));
        }
        queue.push("small", 200, ("small", 200));
        let called: Vec<_> = std::iter::from_fn(|| queue.next(|_| true)).take(4).collect();
        assert_eq!(called, [("large", 0), ("small", 200), ("large", 1), ("large", 2)]);
        assert_eq!(queue.len(), 197);
    }

    #[test]
    fn one_that_does_not_fit_keeps_its_place_and_holds_nobody_up() {
        let mut queue = Queue::new();
        queue.push("a", 1, false);
        queue.push("a", 2, true);
        queue.push("b", 3, false);
        assert_eq!(queue.next(|fits| *fits), Some(true));
        assert_eq!(queue.next(|fits| *fits), None);
        assert_eq!((queue.remove(&"a", 1), queue.remove(&"a", 1), queue.len()), (Some(false), None, 1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Into this lane.
        Push(u8),
        /// The one at this place of all that wait.
        Remove(usize),
        /// Only values that leave no rest here fit.
        Next(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0_u8..5).prop_map(Step::Push),
            2 => any::<usize>().prop_map(Step::Remove),
            4 => (1_u64..4).prop_map(Step::Next),
        ];
        proptest::collection::vec(step, 1..300)
    }

    /// The naive model: everybody in one list in the order they came, and when each lane had its last turn.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(u8, u64)>,
        /// Lanes in the order of their turns.
        turns: Vec<u8>,
    }

    impl Model {
        fn take(&mut self, lane: u8, number: u64) {
            self.waiting.retain(|one| *one != (lane, number));
            if self.waiting.iter().all(|(other, _)| *other != lane) {
                self.turns.retain(|other| *other != lane);
            }
        }

        fn next(&mut self, divisor: u64) -> Option<u64> {
            let fits = |lane: u8| {
                let mut own = self.waiting.iter().filter(|(other, _)| *other == lane);
                own.find(|(_, number)| number % divisor == 0).copied()
            };
            let (lane, number) = self.turns.iter().find_map(|lane| fits(*lane))?;
            self.turns.retain(|other| *other != lane);
            self.turns.push(lane);
            self.take(lane, number);
            Some(number)
        }
    }

    proptest! {
        #[test]
        fn the_queue_does_what_a_naive_list_does(steps in steps()) {
            let (mut queue, mut model, mut numbers) = (Queue::new(), Model::default(), 0..);
            for step in steps {
                match step {
                    Step::Push(lane) => {
                        let number: u64 = numbers.next().unwrap();
                        queue.push(lane, number, number);
                        model.waiting.push((lane, number));
                        if !model.turns.contains(&lane) {
                            model.turns.push(lane);
                        }
                    }
                    Step::Remove(at) if !model.waiting.is_empty() => {
                        let (lane, number) = model.waiting[at % model.waiting.len()];
                        prop_assert_eq!(queue.remove(&lane, number), Some(number));
                        model.take(lane, number);
                    }
                    Step::Remove(_) => {}
                    Step::Next(divisor) => {
                        prop_assert_eq!(queue.next(|number| number % divisor == 0), model.next(divisor));
                    }
                }
                prop_assert_eq!(queue.len(), model.waiting.len());
                prop_assert_eq!(queue.turns.len(), model.turns.len());
            }
        }
    }
}
