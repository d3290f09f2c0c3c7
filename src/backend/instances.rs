//! The numbers that workers find in `NODE_APP_INSTANCE`: no two living processes of a backend have the same one,
//! also while a reload has two in one slot. They must never grow without bound: the lowest free one is taken.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The numbers in use.
#[derive(Debug, Default)]
pub(super) struct Instances(Mutex<BTreeSet<usize>>);

/// One number, given back on drop.
#[derive(Debug)]
pub(super) struct Instance {
    /// The number.
    pub(super) number: usize,
    instances: Arc<Instances>,
}

impl Instances {
    /// The slot's own number if it is free, else the lowest that no slot would take and nobody has.
    pub(super) fn take(self: &Arc<Self>, slot: usize, slots: usize) -> Instance {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut candidates = std::iter::once(slot).chain(slots..);
        // The range has no end, so one is found.
        let number = candidates.find(|number| !taken.contains(number)).unwrap_or(usize::MAX);
        taken.insert(number);
        Instance { number, instances: Arc::clone(self) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.instances.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_its_own_number_and_whoever_stands_beside_it_another() {
        let instances = Arc::new(Instances::default());
        let (zero, one) = (instances.take(0, 2), instances.take(1, 2));
        let beside = instances.take(0, 2);
        let beside_too = instances.take(1, 2);
        assert_eq!([zero.number, one.number, beside.number, beside_too.number], [0, 1, 2, 3]);
        drop((zero, beside));
        assert_eq!(instances.take(0, 2).number, 0);
        assert_eq!(instances.take(1, 2).number, 2);
    }
}
