//! Who may open, use and must give up a connection: the budget as a pure state machine, without clocks, locks
//! or connections. It must never count a connection as gone before it is closed.
//!
//! Two numbers stand beside every tenant: its maximum and its floor (reserved). The last tenth of the budget
//! goes only to tenants that hold none, so that a newcomer never waits for a crowd.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// An open connection, or one being opened or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot(u64);

/// A place in a tenant's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(u64);

/// A tenant's share of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Most connections.
    pub(crate) max: u32,
    /// Reserved connections.
    pub(crate) floor: u32,
}

/// What the caller must now do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The waiter gets this idle connection.
    Reuse(Place, Slot),
    /// The waiter may open this new connection.
    Open(Place, Slot),
    /// Close this idle connection, then say `closed`.
    Close(Slot),
}

/// How much of the budget a tenant uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Open, in whatever state.
    pub(crate) open: u32,
    /// Leased out.
    pub(crate) in_use: u32,
    /// Waiting for one.
    pub(crate) waiting: u32,
}

/// The budget's books.
#[derive(Debug)]
pub(crate) struct Ledger<K> {
    budget: u32,
    standard: Share,
    accounts: HashMap<K, Account>,
    slots: HashMap<Slot, Connection<K>>,
    /// Tenants with waiters; whose turn is next stands in front.
    turns: VecDeque<K>,
    /// Sum of what every tenant's floor still reserves.
    unfilled: u32,
    /// Slots being closed: their room is on its way.
    closing: u32,
    serial: u64,
}

#[derive(Debug, Default)]
struct Account {
    share: Option<Share>,
    open: u32,
    closing: u32,
    /// Most recently used last.
    idle: Vec<Slot>,
    waiting: VecDeque<Place>,
}

#[derive(Debug)]
struct Connection<K> {
    tenant: K,
    closing: bool,
    /// When it went idle, as a serial number.
    idle_since: u64,
}

/// The part of the budget that only tenants without any connection may take.
pub(crate) fn last_tenth(budget: u32) -> u32 {
    (budget / 10).max(2)
}

/// A tenant's maximum where nothing else is said: a quarter of the budget.
pub(crate) fn standard_max(budget: u32) -> u32 {
    (budget / 4).max(2)
}

impl<K: Clone + Eq + Hash> Ledger<K> {
    /// Empty books.
    pub(crate) fn new(budget: u32, standard: Share) -> Self {
        Self {
            budget: budget.max(1),
            standard,
            accounts: HashMap::new(),
            slots: HashMap::new(),
            turns: VecDeque::new(),
            unfilled: 0,
            closing: 0,
            serial: 0,
        }
    }

    /// Set every tenant's share; those not named fall back to the standard maximum and no floor. Floors that
    /// add up to more than the budget cannot all be kept, and so none is.
    pub(crate) fn declare(&mut self, shares: impl IntoIterator<Item = (K, Share)>) -> Vec<Effect> {
        for account in self.accounts.values_mut() {
            account.share = None;
        }
        for (tenant, share) in shares {
            self.accounts.entry(tenant).or_default().share = Some(share);
        }
        let floors: u64 = self.accounts.values().filter_map(|a| a.share).map(|s| u64::from(s.floor)).sum();
        if floors > u64::from(self.budget) {
            for share in self.accounts.values_mut().filter_map(|account| account.share.as_mut()) {
                share.floor = 0;
            }
        }
        self.accounts.retain(|_, account| account.is_worth_keeping());
        self.unfilled = self.accounts.values().map(Account::unfilled).sum();
        self.settle()
    }

    /// Queue up. The grant for the place taken is among the effects, or among those of a later call.
    pub(crate) fn ask(&mut self, tenant: &K) -> (Place, Vec<Effect>) {
        let place = Place(self.next());
        let account = self.accounts.entry(tenant.clone()).or_default();
        account.waiting.push_back(place);
        if account.waiting.len() == 1 {
            self.turns.push_back(tenant.clone());
        }
        (place, self.settle())
    }

    /// Leave the queue.
    pub(crate) fn cancel(&mut self, tenant: &K, place: Place) -> Vec<Effect> {
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.waiting.retain(|waiting| *waiting != place);
            if account.waiting.is_empty() {
                self.turns.retain(|waiting| waiting != tenant);
            }
        }
        self.settle()
    }

    /// A connection comes back clean.
    pub(crate) fn give_back(&mut self, slot: Slot) -> Vec<Effect> {
        let now = self.next();
        if let Some(connection) = self.slots.get_mut(&slot)
            && let Some(account) = self.accounts.get_mut(&connection.tenant)
            && !account.idle.contains(&slot)
        {
            connection.idle_since = now;
            account.idle.push(slot);
        }
        self.settle()
    }

    /// A connection is closed.
    pub(crate) fn closed(&mut self, slot: Slot) -> Vec<Effect> {
        if let Some(connection) = self.slots.remove(&slot)
            && let Some(account) = self.accounts.get_mut(&connection.tenant)
        {
            let unfilled_before = account.unfilled();
            account.open -= 1;
            if connection.closing {
                account.closing -= 1;
                self.closing -= 1;
            }
            account.idle.retain(|idle| *idle != slot);
            self.unfilled += account.unfilled() - unfilled_before;
            if !account.is_worth_keeping() {
                self.accounts.remove(&connection.tenant);
            }
        }
        self.settle()
    }

    /// Take one idle connection out of use; true if it was idle and is now to be closed.
    pub(crate) fn retire(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.slots.get_mut(&slot) else { return false };
        let Some(account) = self.accounts.get_mut(&connection.tenant) else { return false };
        let Some(index) = account.idle.iter().position(|idle| *idle == slot) else { return false };
        account.idle.remove(index);
        account.closing += 1;
        connection.closing = true;
        self.closing += 1;
        true
    }

    /// A tenant's idle connections.
    pub(crate) fn idle_of(&self, tenant: &K) -> Vec<Slot> {
        self.accounts.get(tenant).map(|account| account.idle.clone()).unwrap_or_default()
    }

    /// A tenant's numbers.
    pub(crate) fn counts(&self, tenant: &K) -> Counts {
        let Some(account) = self.accounts.get(tenant) else { return Counts::default() };
        let idle = u32::try_from(account.idle.len()).unwrap_or(u32::MAX);
        Counts {
            open: account.open,
            in_use: account.open - idle - account.closing,
            waiting: u32::try_from(account.waiting.len()).unwrap_or(u32::MAX),
        }
    }

    /// A tenant's maximum.
    pub(crate) fn max(&self, tenant: &K) -> u32 {
        self.accounts.get(tenant).and_then(|account| account.share).unwrap_or(self.standard).max
    }

    /// Connections open over all tenants.
    pub(crate) fn open(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Serve waiting tenants in turn until nobody can be served, and make room for those that a closed
    /// connection would serve.
    fn settle(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut turn = 0;
        while let Some(tenant) = self.turns.get(turn).cloned() {
            if let Some(effect) = self.serve(&tenant) {
                effects.push(effect);
                self.turns.remove(turn);
                if self.accounts.get(&tenant).is_some_and(|account| !account.waiting.is_empty()) {
                    self.turns.push_back(tenant);
                }
                turn = 0;
            } else {
                self.make_room(&tenant, &mut effects);
                turn += 1;
            }
        }
        effects
    }

    fn serve(&mut self, tenant: &K) -> Option<Effect> {
        let may_open = self.open_of(tenant) < self.max(tenant) && self.room(tenant, 0) > 0;
        let serial = self.next();
        let account = self.accounts.get_mut(tenant)?;
        if let Some(slot) = account.idle.pop() {
            return Some(Effect::Reuse(account.waiting.pop_front()?, slot));
        }
        if !may_open {
            return None;
        }
        let place = account.waiting.pop_front()?;
        let unfilled_before = account.unfilled();
        account.open += 1;
        self.unfilled -= unfilled_before - account.unfilled();
        let slot = Slot(serial);
        self.slots.insert(slot, Connection { tenant: tenant.clone(), closing: false, idle_since: 0 });
        Some(Effect::Open(place, slot))
    }

    /// How many connections the tenant could open if `gone` others were closed.
    fn room(&self, tenant: &K, gone: u32) -> i64 {
        let (open, unfilled) =
            self.accounts.get(tenant).map_or((0, 0), |account| (account.open, account.unfilled()));
        let others_floors = self.unfilled - unfilled;
        let kept_for_newcomers = if open == 0 || unfilled > 0 { 0 } else { last_tenth(self.budget) };
        i64::from(self.budget) + i64::from(gone)
            - i64::from(self.open())
            - i64::from(others_floors)
            - i64::from(kept_for_newcomers)
    }

    /// Close idle connections of others, least recently used first, quiet tenants before waiting ones, if
    /// that lets `tenant` open one. Room that is on its way already is not made twice.
    fn make_room(&mut self, tenant: &K, effects: &mut Vec<Effect>) {
        let held = self.open_of(tenant);
        let shortage = 1 - self.room(tenant, self.closing);
        let Ok(shortage) = usize::try_from(shortage) else { return };
        if held >= self.max(tenant) || shortage == 0 {
            return;
        }
        let victims = self.victims(tenant, held);
        if victims.len() < shortage {
            return;
        }
        for slot in victims.into_iter().take(shortage) {
            self.retire(slot);
            effects.push(Effect::Close(slot));
        }
    }

    fn victims(&self, tenant: &K, held: u32) -> Vec<Slot> {
        let mut idle: Vec<_> = self
            .accounts
            .iter()
            .filter(|(other, account)| *other != tenant && !account.idle.is_empty())
            .flat_map(|(other, account)| account.idle.iter().map(move |slot| (other, account, *slot)))
            .map(|(other, account, slot)| {
                let since = self.slots.get(&slot).map_or(0, |connection| connection.idle_since);
                (!account.waiting.is_empty(), since, other, account, slot)
            })
            .collect();
        idle.sort_by_key(|(waits, since, ..)| (*waits, *since));
        let mut taken: HashMap<&K, u32> = HashMap::new();
        let mut victims = Vec::new();
        for (waits, _, other, account, slot) in idle {
            let taken = taken.entry(other).or_default();
            let left = account.open - account.closing - *taken;
            // A tenant whose own requests wait gives way to one that has none, or clearly fewer.
            let gives_way = !waits || held == 0 || left >= held + 2;
            if left > account.floor() && gives_way {
                *taken += 1;
                victims.push(slot);
            }
        }
        victims
    }

    fn open_of(&self, tenant: &K) -> u32 {
        self.accounts.get(tenant).map_or(0, |account| account.open)
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

impl Account {
    fn floor(&self) -> u32 {
        self.share.map_or(0, |share| share.floor)
    }

    fn unfilled(&self) -> u32 {
        self.floor().saturating_sub(self.open)
    }

    fn is_worth_keeping(&self) -> bool {
        self.share.is_some() || self.open > 0 || !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
