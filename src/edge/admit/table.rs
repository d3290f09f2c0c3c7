//! Gauges by key, bounded: the longest unseen is forgotten first. Strangers choose the keys (their addresses), so
//! it must never grow beyond its bound.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::gauge::Gauge;

/// Locks in all: cores seldom meet at one of 64.
const SHARDS: usize = 64;

/// Below this many entries one shard holds them all, so that a small bound is exact.
const SHARDED_FROM: usize = 4096;

/// Entries looked at to find an idle one before the longest unseen goes regardless.
const LOOKED_AT_MAX: usize = 8;

/// Gauges by key.
#[derive(Debug)]
pub(super) struct Table<K> {
    shards: Vec<Mutex<Shard<K>>>,
    hasher: RandomState,
    entries_max: AtomicUsize,
}

/// A map into a doubly linked list of slots, newest first.
#[derive(Debug)]
struct Shard<K> {
    slots: HashMap<Hashed<K>, usize, BuildHasherDefault<Known>>,
    list: Vec<Slot<K>>,
    newest: usize,
    oldest: usize,
}

#[derive(Debug)]
struct Slot<K> {
    key: Hashed<K>,
    gauge: Arc<Gauge>,
    newer: usize,
    older: usize,
}

/// A key with its hash, which is computed once: it says the shard and the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash of what knows its own.
#[derive(Debug, Default)]
struct Known(u64);

impl Hasher for Known {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never asked by `Hashed`; still a hash, if a poor one.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// No slot.
const NONE: usize = usize::MAX;

impl<K: Hash + Eq + Clone> Table<K> {
    /// An empty table of at most that many entries.
    pub(super) fn new(entries_max: usize) -> Self {
        let shards = if entries_max < SHARDED_FROM { 1 } else { SHARDS };
        let shards = (0..shards).map(|_| Mutex::new(Shard::new())).collect();
        Self { shards, hasher: RandomState::new(), entries_max: AtomicUsize::new(entries_max) }
    }

    /// A new bound; a smaller one takes hold as entries come.
    pub(super) fn bound(&self, entries_max: usize) {
        self.entries_max.store(entries_max, Relaxed);
    }

    /// The gauge of that key, now the newest.
    pub(super) fn gauge(&self, key: K, now_ns: u64) -> Arc<Gauge> {
        let hash = self.hasher.hash_one(&key);
        let key = Hashed { hash, key };
        let shard = &self.shards[usize::try_from(hash >> 16 & 0xffff).unwrap_or(0) % self.shards.len()];
        let entries_max = self.entries_max.load(Relaxed).div_ceil(self.shards.len()).max(1);
        // A poisoned shard is still a list: nothing in it is left half done across a panic that cannot happen.
        shard.lock().unwrap_or_else(PoisonError::into_inner).gauge(key, now_ns, entries_max)
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().slots.len()).sum()
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    fn new() -> Self {
        Self { slots: HashMap::default(), list: Vec::new(), newest: NONE, oldest: NONE }
    }

    fn gauge(&mut self, key: Hashed<K>, now_ns: u64, entries_max: usize) -> Arc<Gauge> {
        if let Some(&slot) = self.slots.get(&key) {
            if self.newest != slot {
                self.unlink(slot);
                self.link_newest(slot);
            }
            return self.list[slot].gauge.clone();
        }
        let gauge = Arc::<Gauge>::default();
        let fresh = Slot { key: key.clone(), gauge: gauge.clone(), newer: NONE, older: NONE };
        let slot = if self.list.len() < entries_max {
            self.list.push(fresh);
            self.list.len() - 1
        } else {
            let slot = self.forgettable(now_ns);
            self.unlink(slot);
            self.slots.remove(&self.list[slot].key);
            self.list[slot] = fresh;
            slot
        };
        self.slots.insert(key, slot);
        self.link_newest(slot);
        gauge
    }

    /// The longest unseen that has nothing in flight and a full bucket; the longest unseen if few look so.
    fn forgettable(&self, now_ns: u64) -> usize {
        let newer = |slot: &usize| Some(self.list[*slot].newer).filter(|slot| *slot != NONE);
        let mut old = std::iter::successors(Some(self.oldest), newer).take(LOOKED_AT_MAX);
        old.find(|slot| self.list[*slot].gauge.is_idle(now_ns)).unwrap_or(self.oldest)
    }

    fn unlink(&mut self, slot: usize) {
        let (newer, older) = (self.list[slot].newer, self.list[slot].older);
        match newer {
            NONE => self.newest = older,
            newer => self.list[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.list[older].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: usize) {
        self.list[slot].newer = NONE;
        self.list[slot].older = self.newest;
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.list[newest].newer = slot,
        }
        self.newest = slot;
    }
}
