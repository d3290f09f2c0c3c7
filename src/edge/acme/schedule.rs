//! What to order now and when to look again: a pure function of the hosts wanted, the certificates held, what has
//! happened so far, and now. Whatever an outcome or a restart does, it never lets a host into more than four orders
//! an hour: Let's Encrypt shuts a name out at the fifth failure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    backoff::{after, between, spread},
    config::AcmeConfig,
    grouping::{Want, group, registered_domain},
    history::{HOUR, HostHistory, Ledger, WEEK},
};

/// Orders of one host in an hour; Let's Encrypt bears five failed validations of a name in that time.
pub(crate) const ATTEMPTS_HOURLY_MAX: usize = 4;

/// New certificates for exactly the same names in a week; Let's Encrypt gives five. Only certificates that got lost,
/// or an impatient operator, can come near it.
const SAME_NAMES_WEEKLY_MAX: usize = 4;

/// Looking again costs next to nothing; an hour bounds what a clock that was set can do.
const LOOK_AGAIN_MAX: Duration = HOUR;

/// What the configuration says on pace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// New certificates per registered domain and week.
    pub(crate) per_domain_weekly: usize,
    /// Names in a certificate.
    pub(crate) names_max: usize,
    /// Orders in an hour.
    pub(crate) orders_hourly_max: usize,
    /// First pause after a failure.
    pub(crate) retry_first: Duration,
    /// Longest pause.
    pub(crate) retry_longest: Duration,
    /// How long new hosts wait for one another.
    pub(crate) gather: Duration,
    /// Where the jitter comes from.
    pub(crate) seed: u64,
}

impl Rules {
    pub(crate) fn new(config: &AcmeConfig, seed: u64) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            per_domain_weekly: number(config.per_domain_weekly),
            names_max: number(config.names_per_certificate_max),
            orders_hourly_max: number(config.orders_hourly_max),
            retry_first: config.retry_first,
            retry_longest: config.retry_longest,
            gather: config.gather,
            seed,
        }
    }

    /// The first pause after what costs nobody anything: a look-up, or an authority that cannot be reached.
    pub(crate) fn soft_first(&self) -> Duration {
        self.retry_first / 5
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(&AcmeConfig::default(), 0)
    }
}

/// A certificate of this authority that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Held {
    /// Larger for what came later; the id, which has the moment in it, decides between two of one second.
    fn age(&self) -> (Timestamp, Timestamp, &str) {
        (self.not_before, self.not_after, &self.id)
    }
}

/// All that the schedule goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) wanted: &'a BTreeSet<String>,
    pub(crate) held: &'a [Held],
    pub(crate) ledger: &'a Ledger,
    pub(crate) rules: &'a Rules,
}

/// An order to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// For whom, oldest host first.
    pub(crate) names: Vec<String>,
    /// The certificate whose time has come.
    pub(crate) replaces: Option<String>,
    /// The same names, in its time: counted by no authority.
    pub(crate) renewal: bool,
    /// The order that the authority has made for them already: nothing new is ordered.
    pub(crate) resumes: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Orders to make now.
    pub(crate) orders: Vec<Proposal>,
    /// When to plan again, if nothing happens before.
    pub(crate) look_again: Timestamp,
}

/// What to order now, and when to look again.
pub(crate) fn plan(facts: Facts<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan { orders: Vec::new(), look_again: after(now, LOOK_AGAIN_MAX) };
    let mut wake = Wake { now, at: &mut plan.look_again };
    if let Some(next) = facts.ledger.authority.turn().filter(|next| *next > now) {
        wake.at(next);
        return plan;
    }
    plan.orders = resumed(facts, &mut wake);
    let pending: BTreeSet<&String> = facts.ledger.pending.iter().flat_map(|order| &order.names).collect();
    let best = best(facts.held, now);
    let mut domains: BTreeMap<&str, Vec<Want<'_>>> = BTreeMap::new();
    for host in facts.wanted.iter().filter(|host| !pending.contains(host)) {
        let want = want(facts, host, &best, now);
        match want.blocked_until {
            Some(until) => wake.at(until),
            None if !want.due => wake.at(want.due_at),
            None => {}
        }
        domains.entry(registered_domain(host)).or_default().push(want);
    }
    // Whoever waits longest comes first: the hourly limit must not starve the domains at the alphabet's end.
    let mut domains: Vec<_> = domains.into_iter().collect();
    domains
        .sort_by_key(|(_, wants)| wants.iter().filter(|want| want.is_ready()).map(|want| want.since).min());
    let mut room = facts.rules.orders_hourly_max.saturating_sub(facts.ledger.orders.len());
    for (domain, wants) in domains {
        let mut pace = Pace::new(facts, domain, now);
        for proposal in group(facts, &wants) {
            let Some(proposal) = pace.judge(facts, proposal, &mut wake) else { continue };
            if room == 0 {
                let first = facts.ledger.orders.iter().min().copied().unwrap_or(now);
                wake.at(after(first, HOUR));
                return plan;
            }
            room -= 1;
            plan.orders.push(proposal);
        }
    }
    plan
}

/// Orders that the authority has made before: they go on as soon as no pause of their hosts forbids it, and cost nothing
/// that has not counted.
fn resumed(facts: Facts<'_>, wake: &mut Wake<'_>) -> Vec<Proposal> {
    let mut orders = Vec::new();
    for order in &facts.ledger.pending {
        let histories = || order.names.iter().filter_map(|name| facts.ledger.hosts.get(name));
        if histories().any(|history| history.ordering) {
            continue;
        }
        match histories().filter_map(HostHistory::turn).max().filter(|turn| *turn > wake.now) {
            Some(turn) => wake.at(turn),
            None => orders.push(Proposal {
                names: order.names.clone(),
                replaces: None,
                renewal: order.renewal,
                resumes: Some(order.id.clone()),
            }),
        }
    }
    orders
}

/// When a certificate is to be renewed: when the authority says, else at two thirds of its life and up to a
/// hundredth later, so that certificates of one day are not all renewed in one minute.
pub(crate) fn due_at(held: &Held, ledger: &Ledger, rules: &Rules) -> Timestamp {
    let life = between(held.not_before, held.not_after);
    let own = 2.0 / 3.0 + spread(rules.seed, &held.id, 0) / 100.0;
    // An authority that is mistaken must not let a certificate run out.
    let latest = after(held.not_before, life.mul_f64(5.0 / 6.0));
    let said = ledger.renewals.get(&held.id).and_then(|renewal| renewal.at);
    said.map_or_else(|| after(held.not_before, life.mul_f64(own)), |at| at.min(latest))
}

/// The newest certificate, for each name that has one that lives. Not the one that lives longest: an authority that wants
/// one replaced may sign for a shorter time than it did, and would be asked again and again.
pub(crate) fn best(held: &[Held], now: Timestamp) -> HashMap<&str, usize> {
    let mut best: HashMap<&str, usize> = HashMap::new();
    for (index, certificate) in held.iter().enumerate().filter(|(_, held)| held.not_after > now) {
        for name in &certificate.names {
            let place = best.entry(name).or_insert(index);
            if held[*place].age() < certificate.age() {
                *place = index;
            }
        }
    }
    best
}

/// Kept certificates that another one makes superfluous: all their names that are wanted have a newer one.
/// One of hosts that are gone stays until it ends: they may come back.
pub(crate) fn superfluous(held: &[Held], wanted: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
    let best = best(held, now);
    let idle = |(index, certificate): &(usize, &Held)| {
        let is_better = |name: &&String| best.get(name.as_str()).is_some_and(|at| at != index);
        let names = || certificate.names.iter().filter(|name| wanted.contains(*name));
        let gone = names().next().is_none();
        if gone { certificate.not_after <= now } else { names().all(|name| is_better(&name)) }
    };
    held.iter().enumerate().filter(idle).map(|(_, certificate)| certificate.id.clone()).collect()
}

fn want<'a>(facts: Facts<'a>, host: &'a str, best: &HashMap<&str, usize>, now: Timestamp) -> Want<'a> {
    static NOTHING: HostHistory = HostHistory {
        since: Timestamp::UNIX_EPOCH,
        attempts: Vec::new(),
        failures: 0,
        strays: 0,
        next_try: None,
        last_error: None,
        share_max: None,
        over_http: false,
        ordering: false,
        asked: false,
        held_until: None,
        warning: None,
    };
    let history = facts.ledger.hosts.get(host).unwrap_or(&NOTHING);
    let certificate = best.get(host).copied();
    let due_at = certificate.map_or(Timestamp::MIN, |at| due_at(&facts.held[at], facts.ledger, facts.rules));
    Want {
        host,
        since: history.since,
        certificate,
        due_at,
        due: history.asked || due_at <= now,
        asked: history.asked,
        share_max: history.share_max,
        blocked_until: blocked_until(history, certificate.is_some(), facts.rules, now),
    }
}

/// Why not now: an order is under way, a pause has not ended, an hour is full, or others may still come.
pub(crate) fn blocked_until(
    history: &HostHistory,
    covered: bool,
    rules: &Rules,
    now: Timestamp,
) -> Option<Timestamp> {
    if history.ordering {
        return Some(Timestamp::MAX);
    }
    let mut attempts = history.attempts.clone();
    attempts.sort_unstable();
    let full = attempts.iter().rev().nth(ATTEMPTS_HOURLY_MAX - 1).map(|at| after(*at, HOUR));
    let untouched = attempts.is_empty() && history.failures + history.strays == 0 && !history.asked;
    let gathering = (untouched && !covered).then(|| after(history.since, rules.gather));
    // A clock that was set back must not hold up a new host for years.
    let gathering = gathering.filter(|until| between(now, *until) <= rules.gather);
    [full, history.turn(), gathering].into_iter().flatten().filter(|until| *until > now).max()
}

/// The earliest of all moments worth waking up for.
struct Wake<'a> {
    now: Timestamp,
    at: &'a mut Timestamp,
}

impl Wake<'_> {
    fn at(&mut self, moment: Timestamp) {
        if moment > self.now {
            *self.at = moment.min(*self.at);
        }
    }
}

/// How many new certificates a domain has had, and when the next may come.
struct Pace {
    weekly: usize,
    /// New ones of the last week, oldest first.
    counted: Vec<Timestamp>,
    now: Timestamp,
}

impl Pace {
    fn new(facts: Facts<'_>, domain: &str, now: Timestamp) -> Self {
        let of_domain = |names: &[String]| names.iter().any(|name| registered_domain(name) == domain);
        let counted = facts.ledger.issued.iter().filter(|issued| !issued.renewal && of_domain(&issued.names));
        let mut counted: Vec<_> = counted.map(|issued| issued.at).collect();
        counted.sort_unstable();
        Self { weekly: facts.rules.per_domain_weekly, counted, now }
    }

    /// The first half of a week's certificates goes out at once; the other half is spread over a week, so that a
    /// new host never waits longer than some hours, and gathers others meanwhile.
    fn next(&self) -> Timestamp {
        let used = self.counted.len();
        match self.counted.last() {
            Some(last) if used >= self.weekly.div_ceil(2) && used < self.weekly => {
                let weekly = u32::try_from(self.weekly).unwrap_or(u32::MAX);
                after(*last, WEEK / weekly * 2)
            }
            Some(_) if used >= self.weekly => after(self.counted[used - self.weekly], WEEK),
            _ => self.now,
        }
    }

    /// The proposal, perhaps smaller, if it may be made now.
    fn judge(&mut self, facts: Facts<'_>, proposal: Proposal, wake: &mut Wake<'_>) -> Option<Proposal> {
        if proposal.renewal {
            return Some(proposal);
        }
        let mut names = proposal.names.clone();
        names.sort_unstable();
        let same = |issued: &&super::history::Issued| {
            let mut theirs = issued.names.clone();
            theirs.sort_unstable();
            !issued.renewal && theirs == names
        };
        let mut twins: Vec<_> = facts.ledger.issued.iter().filter(same).map(|issued| issued.at).collect();
        twins.sort_unstable();
        let twin = twins.iter().rev().nth(SAME_NAMES_WEEKLY_MAX - 1).map(|at| after(*at, WEEK));
        let next = self.next().max(twin.unwrap_or(Timestamp::MIN));
        if next <= self.now {
            self.counted.push(self.now);
            return Some(proposal);
        }
        wake.at(next);
        // A renewal that was to take others in can always be made without them.
        let old = facts.held.iter().find(|held| Some(&held.id) == proposal.replaces.as_ref())?;
        let whole = old.names.iter().all(|name| proposal.names.contains(name));
        whole.then(|| Proposal { names: old.names.clone(), renewal: true, ..proposal })
    }
}

#[cfg(test)]
mod tests;
