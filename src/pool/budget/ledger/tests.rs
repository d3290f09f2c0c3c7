//! The ledger against a naive model.

use proptest::prelude::*;

use super::*;

const STANDARD: Share = Share { max: 4, floor: 0 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Used,
    Idle,
    Closing,
}

/// Lists and sums, nothing incremental.
#[derive(Default)]
struct Naive {
    budget: usize,
    shares: Vec<Share>,
    connections: Vec<(usize, Slot, Is)>,
    waiting: Vec<(usize, Place)>,
}

impl Naive {
    fn held(&self, tenant: usize) -> usize {
        self.connections.iter().filter(|(owner, ..)| *owner == tenant).count()
    }

    fn idle(&self, tenant: usize) -> usize {
        self.connections.iter().filter(|(owner, _, is)| *owner == tenant && *is == Is::Idle).count()
    }

    fn reserved_by_others(&self, tenant: usize) -> usize {
        let unfilled = |other: usize| (self.shares[other].floor as usize).saturating_sub(self.held(other));
        (0..self.shares.len()).filter(|other| *other != tenant).map(unfilled).sum()
    }

    /// May the tenant open one more, by the rules as the design words them?
    fn may_open(&self, tenant: usize) -> bool {
        let held = self.held(tenant);
        let newcomer = held == 0 || held < self.shares[tenant].floor as usize;
        let tenth = if newcomer { 0 } else { (self.budget / 10).max(2) };
        held < self.shares[tenant].max as usize
            && self.connections.len() + self.reserved_by_others(tenant) + tenth < self.budget
    }

    fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match *effect {
                Effect::Open(place, slot) => {
                    let tenant = self.grant(place);
                    assert!(self.may_open(tenant), "tenant {tenant} opened past the rules");
                    self.connections.push((tenant, slot, Is::Used));
                }
                Effect::Reuse(place, slot) => {
                    let tenant = self.grant(place);
                    let connection = self.connections.iter_mut().find(|(_, s, _)| *s == slot).unwrap();
                    assert_eq!(
                        (connection.0, connection.2),
                        (tenant, Is::Idle),
                        "not its own idle connection"
                    );
                    connection.2 = Is::Used;
                }
                Effect::Close(slot) => {
                    let (owner, ..) = *self.connections.iter().find(|(_, s, _)| *s == slot).unwrap();
                    assert!(self.held(owner) > self.shares[owner].floor as usize, "took a reserved one");
                    let connection = self.connections.iter_mut().find(|(_, s, _)| *s == slot).unwrap();
                    assert_eq!(connection.2, Is::Idle, "closed one in use");
                    connection.2 = Is::Closing;
                }
            }
        }
    }

    fn grant(&mut self, place: Place) -> usize {
        let index = self.waiting.iter().position(|(_, waiting)| *waiting == place).unwrap();
        let (tenant, _) = self.waiting.remove(index);
        let earlier = self.waiting[..index].iter().any(|(other, _)| *other == tenant);
        assert!(!earlier, "tenant {tenant} was not served first come, first served");
        tenant
    }

    /// Nobody waits who could be served, and nobody without a connection waits for ever beside idle ones.
    fn check_served(&self) {
        assert!(self.connections.len() <= self.budget, "over budget");
        for (tenant, _) in &self.waiting {
            assert_eq!(self.idle(*tenant), 0, "{tenant} waits beside its own idle connection");
            assert!(!self.may_open(*tenant), "{tenant} waits although it may open one");
            let spare = |owner: usize| {
                self.idle(owner).min(self.held(owner).saturating_sub(self.shares[owner].floor as usize))
            };
            let spare: usize = (0..self.shares.len()).filter(|owner| owner != tenant).map(spare).sum();
            let closing = self.connections.iter().any(|(.., is)| *is == Is::Closing);
            let newcomer = self.held(*tenant) == 0 && self.shares[*tenant].max > 0;
            let enough = self.connections.len() + self.reserved_by_others(*tenant) < self.budget + spare;
            assert!(!(newcomer && enough) || closing, "{tenant} starves beside {spare} idle connections");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask(usize),
    GiveBack(usize),
    Closed(usize),
    Break(usize),
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6usize).prop_map(Step::Ask),
        3 => any::<usize>().prop_map(Step::GiveBack),
        3 => any::<usize>().prop_map(Step::Closed),
        1 => any::<usize>().prop_map(Step::Break),
        1 => any::<usize>().prop_map(Step::Cancel),
    ]
}

fn nth(naive: &Naive, is: Is, n: usize) -> Option<Slot> {
    let slots: Vec<_> = naive.connections.iter().filter(|c| c.2 == is).map(|c| c.1).collect();
    (!slots.is_empty()).then(|| slots[n % slots.len()])
}

fn take(step: &Step, ledger: &mut Ledger<usize>, naive: &mut Naive) -> Vec<Effect> {
    match *step {
        Step::Ask(tenant) => {
            let (place, effects) = ledger.ask(&tenant);
            naive.waiting.push((tenant, place));
            effects
        }
        Step::GiveBack(n) => nth(naive, Is::Used, n).map_or_else(Vec::new, |slot| {
            naive.connections.iter_mut().find(|c| c.1 == slot).unwrap().2 = Is::Idle;
            ledger.give_back(slot)
        }),
        Step::Closed(n) => nth(naive, Is::Closing, n).map_or_else(Vec::new, |slot| {
            naive.connections.retain(|c| c.1 != slot);
            ledger.closed(slot)
        }),
        Step::Break(n) => nth(naive, Is::Used, n).map_or_else(Vec::new, |slot| {
            naive.connections.retain(|c| c.1 != slot);
            ledger.closed(slot)
        }),
        Step::Cancel(n) => {
            if naive.waiting.is_empty() {
                return Vec::new();
            }
            let (tenant, place) = naive.waiting.remove(n % naive.waiting.len());
            ledger.cancel(&tenant, place)
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_budget_the_floors_and_the_queues_are_kept(
        budget in 2u32..24,
        floors in proptest::collection::vec(0u32..3, 6),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let floors_fit = floors.iter().sum::<u32>() <= budget;
        let shares: Vec<_> =
            floors.iter().map(|floor| Share { max: 4, floor: if floors_fit { *floor } else { 0 } }).collect();
        let mut ledger = Ledger::new(budget, STANDARD);
        let declared = floors.iter().enumerate().map(|(t, floor)| (t, Share { max: 4, floor: *floor }));
        assert!(ledger.declare(declared).is_empty());
        let mut naive = Naive { budget: budget as usize, shares, ..Naive::default() };
        for step in &steps {
            let effects = take(step, &mut ledger, &mut naive);
            naive.apply(&effects);
            naive.check_served();
            for tenant in 0..6 {
                let counts = ledger.counts(&tenant);
                prop_assert_eq!(counts.open as usize, naive.held(tenant));
                let used = naive.connections.iter().filter(|c| c.0 == tenant && c.2 == Is::Used).count();
                prop_assert_eq!(counts.in_use as usize, used);
            }
        }
        // When everybody is done and every close is carried out, everybody has been served: unless the floors
        // reserve all there is, which leaves nothing for tenants without one.
        let reserved = naive.shares.iter().map(|share| share.floor).sum::<u32>();
        while reserved < budget && !naive.waiting.is_empty() {
            let step = if nth(&naive, Is::Closing, 0).is_some() { Step::Closed(0) } else { Step::GiveBack(0) };
            let before = naive.connections.clone();
            let effects = take(&step, &mut ledger, &mut naive);
            naive.apply(&effects);
            naive.check_served();
            prop_assert!(before != naive.connections || !effects.is_empty(), "the queue stands still");
        }
    }
}

#[test]
fn a_tenant_that_holds_none_gets_the_turn_of_a_crowd() {
    let mut ledger = Ledger::new(4, Share { max: 4, floor: 0 });
    let opened = |effects: &[Effect]| match effects {
        [Effect::Open(_, slot)] => *slot,
        other => panic!("{other:?}"),
    };
    // 4 − 2 (the last tenth) = 2 for `a`, the rest for newcomers.
    let first = opened(&ledger.ask(&"a").1);
    opened(&ledger.ask(&"a").1);
    assert!(ledger.ask(&"a").1.is_empty());
    opened(&ledger.ask(&"b").1);
    opened(&ledger.ask(&"c").1);
    let (waiter, effects) = ledger.ask(&"d");
    assert!(effects.is_empty());
    // `a` waits first, but `d` holds none: served in turn, `a` reuses, then gives way.
    let effects = ledger.give_back(first);
    let Effect::Reuse(_, again) = effects[0] else { panic!("{effects:?}") };
    assert_eq!(ledger.give_back(again), [Effect::Close(again)]);
    let effects = ledger.closed(again);
    assert!(matches!(effects[..], [Effect::Open(place, _)] if place == waiter));
}

#[test]
fn room_is_made_from_the_least_recently_used_of_quiet_tenants() {
    let mut ledger = Ledger::new(3, STANDARD);
    let slots: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|tenant| match ledger.ask(tenant).1[..] {
            [Effect::Open(_, slot)] => slot,
            _ => panic!("no room for {tenant}"),
        })
        .collect();
    for index in [1, 0, 2] {
        assert!(ledger.give_back(slots[index]).is_empty());
    }
    assert_eq!(ledger.ask(&"d").1, [Effect::Close(slots[1])]);
}
