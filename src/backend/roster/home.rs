//! Where a request is at home: what has the same key goes to the same worker as long as that is listed, and only
//! the keys of a worker that leaves move, each to another one (rendezvous hashing). It must never need a table.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::worker::Worker;

/// What binds requests to one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sticky {
    /// The client's address.
    Client,
    /// The tenant.
    Tenant,
    /// A cookie that the gateway sets.
    Cookie,
}

/// A key of requests that belong together, and among how many slots it was given: a worker in a later one is no home of
/// theirs while there is one in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    key: u64,
    slots: u16,
}

impl Home {
    /// The home of what has this key.
    pub(crate) fn of(key: impl Hash) -> Self {
        // Without a seed: the same worker also after a restart of the gateway.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self { key: hasher.finish(), slots: u16::MAX }
    }

    /// Of requests that began when there were so many slots.
    pub(crate) fn among(self, slots: u16) -> Self {
        Self { slots, ..self }
    }

    /// How much this worker is its home. By name, so that a worker's successor inherits.
    fn weight(self, worker: &Worker) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.key, worker.name()).hash(&mut hasher);
        hasher.finish()
    }
}

/// The worker at which this is at home, or the next one while that takes nothing.
pub(super) fn at_home<'a>(workers: &'a [Arc<Worker>], home: Home, avoid: &[u64]) -> Option<&'a Arc<Worker>> {
    let may = |worker: &&Arc<Worker>| {
        !worker.is_closed() && !worker.warmth.is_full() && !avoid.contains(&worker.key())
    };
    // Two of a name are an old one and its successor, which has the larger key. One that hangs is nobody's home while
    // there is another.
    workers
        .iter()
        .filter(may)
        .max_by_key(|worker| (!worker.hangs(), worker.slot() < home.slots, home.weight(worker), worker.key()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Address, next_key},
        *,
    };

    fn workers(count: usize) -> Vec<Arc<Worker>> {
        let worker = |number| Worker::new(next_key(), format!("api/{number}"), Address::unix("/none"));
        (0..count).map(worker).collect()
    }

    fn name(workers: &[Arc<Worker>], home: Home) -> String {
        at_home(workers, home, &[]).unwrap().name().to_owned()
    }

    #[test]
    fn a_successor_inherits_and_an_old_one_that_drains_is_left() {
        let mut workers = workers(3);
        let home = Home::of("client");
        let before = name(&workers, home);
        let successor = Worker::new(next_key(), before.clone(), Address::unix("/none"));
        workers.insert(0, Arc::clone(&successor));
        assert_eq!(at_home(&workers, home, &[]).unwrap().key(), successor.key());
        workers.iter().filter(|worker| worker.name() == before).for_each(|worker| worker.close());
        assert_ne!(name(&workers, home), before);
    }

    proptest! {
        #[test]
        fn only_the_keys_of_a_worker_that_leaves_move(count in 2_usize..9, leaves in 0_usize..8, keys in proptest::collection::vec(any::<u64>(), 1..200)) {
            let mut workers = workers(count);
            let before: Vec<_> = keys.iter().map(|key| name(&workers, Home::of(key))).collect();
            let gone = workers.remove(leaves % count);
            for (key, before) in keys.iter().zip(before) {
                let after = name(&workers, Home::of(key));
                prop_assert!(after == before || before == gone.name());
            }
        }

        #[test]
        fn keys_stay_when_workers_come_and_go_again_and_only_when_those_are_all_leave_them(
            count in 1_usize..5, more in 1_usize..5, keys in proptest::collection::vec(any::<u64>(), 1..50)
        ) {
            let mut workers = workers(count + more);
            let few = workers[..count].to_vec();
            for key in keys {
                let home = Home::of(key).among(u16::try_from(count).unwrap());
                prop_assert_eq!(name(&workers, home), name(&few, home));
            }
            workers.drain(..count);
            let home = Home::of("client").among(u16::try_from(count).unwrap());
            prop_assert_eq!(name(&workers, home), name(&workers, Home::of("client")));
        }

        #[test]
        fn keys_spread_over_all_workers(count in 1_usize..9, seed in any::<u32>()) {
            let workers = workers(count);
            let mut counts = std::collections::BTreeMap::<_, usize>::new();
            for key in 0..1000_u32 {
                *counts.entry(name(&workers, Home::of((seed, key)))).or_default() += 1;
            }
            prop_assert!(counts.len() == count && counts.values().all(|got| got * count > 500), "{counts:?}");
        }
    }
}
