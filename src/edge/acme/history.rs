//! What has happened to each host and with the authority: all that the schedule goes by, and all that must survive a
//! restart. Plain data and what each outcome does to it; it never looks at a clock, a file or the network.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    backoff::{after, before, pause, spread},
    failure::Failure,
    schedule::Rules,
};

/// The window in which orders of a host are counted.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The window in which certificates of a domain are counted.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// So many different orders in a row at which the authority failed make it one that is down.
const TROUBLES_MAX: usize = 3;

/// The longest pause of an authority that fails at orders: it can be reached, and some of it may work.
const TROUBLE_PAUSE_MAX: Duration = Duration::from_secs(900);

/// An order is taken up again until the authority has failed at it so often; then another one is made.
const ORDER_TROUBLES_MAX: u32 = 3;

/// Characters kept of an error: authorities quote whole pages.
const ERROR_CHARS_MAX: usize = 400;

/// What could be in a state directory from an earlier run under the same authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ledger {
    /// Where this installation's jitter comes from; 0 before the first use.
    pub(crate) seed: u64,
    /// By host.
    pub(crate) hosts: BTreeMap<String, HostHistory>,
    /// The authority itself.
    pub(crate) authority: AuthorityHistory,
    /// Certificates given out in the last week.
    pub(crate) issued: Vec<Issued>,
    /// Orders made in the last hour.
    pub(crate) orders: Vec<Timestamp>,
    /// Orders that the authority has made and that have brought nothing yet.
    pub(crate) pending: Vec<PendingOrder>,
    /// When the authority wants a certificate renewed, by the certificate's id.
    pub(crate) renewals: BTreeMap<String, Renewal>,
}

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HostHistory {
    /// When it was first seen.
    pub(crate) since: Timestamp,
    /// Orders with it in the last hour.
    pub(crate) attempts: Vec<Timestamp>,
    /// Orders that failed because of it, in a row.
    pub(crate) failures: u32,
    /// Looks that found it leading elsewhere, in a row.
    pub(crate) strays: u32,
    /// Not before then.
    pub(crate) next_try: Option<Timestamp>,
    /// Why it has no fresh certificate.
    pub(crate) last_error: Option<String>,
    /// At most so many names in its next order: a shared one failed, and nobody knows because of whom.
    pub(crate) share_max: Option<usize>,
    /// The next challenge: HTTP-01 rather than TLS-ALPN-01.
    pub(crate) over_http: bool,
    /// An order with it is under way.
    pub(crate) ordering: bool,
    /// The operator asked for a new certificate.
    pub(crate) asked: bool,
    /// The authority itself asked to wait until then.
    pub(crate) held_until: Option<Timestamp>,
    /// Where else it leads, as far as can be seen.
    pub(crate) warning: Option<String>,
}

impl HostHistory {
    /// When its turn comes, as far as it is about this host alone.
    pub(crate) fn turn(&self) -> Option<Timestamp> {
        self.next_try.max(self.held_until)
    }
}

/// The authority as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AuthorityHistory {
    /// Failures of its own, in a row.
    pub(crate) failures: u32,
    /// Not before then.
    pub(crate) next_try: Option<Timestamp>,
    /// What it last failed with.
    pub(crate) last_error: Option<String>,
    /// It asked everybody to wait until then: no success of another order makes that untrue.
    pub(crate) held_until: Option<Timestamp>,
    /// Orders that it failed at, in a row, no host in two of them.
    pub(crate) troubles: Vec<Vec<String>>,
}

impl AuthorityHistory {
    /// When it may be asked again.
    pub(crate) fn turn(&self) -> Option<Timestamp> {
        self.next_try.max(self.held_until)
    }

    /// It has given a certificate, or a judgement.
    fn works(&mut self) {
        *self = Self { held_until: self.held_until, ..Self::default() };
    }

    /// It has failed at an order with these names. Does it count as down?
    fn is_down_after(&mut self, names: &[String]) -> bool {
        self.troubles.retain(|others| !others.iter().any(|other| names.contains(other)));
        self.troubles.push(names.to_vec());
        let more = self.troubles.len().saturating_sub(TROUBLES_MAX);
        self.troubles.drain(..more);
        self.troubles.len() == TROUBLES_MAX
    }

    fn failed(&mut self, why: &str, (now, longest): (Timestamp, Duration), rules: &Rules) {
        self.failures += 1;
        let spread = spread(rules.seed, "authority", self.failures.into());
        self.next_try = Some(after(now, pause(rules.soft_first(), longest, self.failures, spread)));
        self.last_error = Some(shortened(why));
    }
}

/// An order that the authority has made. Its key lies beside, under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingOrder {
    pub(crate) id: String,
    /// Where the authority has it.
    pub(crate) url: String,
    pub(crate) names: Vec<String>,
    /// When it was made.
    pub(crate) begun: Timestamp,
    /// See [`Issued::renewal`].
    pub(crate) renewal: bool,
    /// How often the authority failed at it.
    #[serde(default)]
    pub(crate) troubles: u32,
}

/// How an order ended that brought nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// When it was made.
    pub(crate) begun: Timestamp,
    pub(crate) now: Timestamp,
    /// May the authority have made it?
    pub(crate) made: bool,
}

/// A certificate that was given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// When.
    pub(crate) at: Timestamp,
    /// For whom.
    pub(crate) names: Vec<String>,
    /// The same names as the one it replaced, in its time: authorities do not count those.
    pub(crate) renewal: bool,
}

/// The authority's own word on when to renew (RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    /// The moment chosen in its window; none when it has no word on this certificate.
    pub(crate) at: Option<Timestamp>,
    /// When to ask again.
    pub(crate) look_again: Timestamp,
}

impl Ledger {
    /// Take in the hosts wanted now; forget those that are gone once nothing of them counts any more.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<String>, now: Timestamp) {
        for host in wanted {
            self.hosts
                .entry(host.clone())
                .or_insert_with(|| HostHistory { since: now, ..HostHistory::default() });
        }
        let (hour, week) = (before(now, HOUR), before(now, WEEK));
        for history in self.hosts.values_mut() {
            // A moment in the future: the clock was wrong when it was written.
            history.attempts.retain(|at| *at > hour && *at <= now);
        }
        self.hosts.retain(|host, history| {
            let counts = !history.attempts.is_empty() || history.turn().is_some_and(|next| next > now);
            wanted.contains(host) || history.ordering || counts
        });
        self.orders.retain(|at| *at > hour && *at <= now);
        self.issued.retain(|issued| issued.at > week && issued.at <= now);
    }

    /// An order with these names is about to be made.
    pub(crate) fn begin(&mut self, names: &[String], now: Timestamp) {
        self.orders.push(now);
        for name in names {
            let history = self.hosts.entry(name.clone()).or_default();
            history.attempts.push(now);
            history.ordering = true;
        }
    }

    /// The order begun then was surely not made.
    fn unmade(&mut self, names: &[String], begun: Timestamp) {
        if let Some(at) = self.orders.iter().rposition(|at| *at == begun) {
            self.orders.remove(at);
        }
        for name in names {
            if let Some(history) = self.hosts.get_mut(name) {
                history.attempts.retain(|at| *at != begun);
            }
        }
    }

    /// Orders that a process left under way when it ended: each has counted as an attempt already.
    pub(crate) fn interrupted(&mut self) -> Vec<String> {
        let left = self.hosts.iter_mut().filter(|(_, history)| history.ordering);
        left.map(|(host, history)| {
            history.ordering = false;
            host.clone()
        })
        .collect()
    }

    /// The order brought a certificate.
    pub(crate) fn succeeded(&mut self, names: &[String]) {
        for name in names {
            let history = self.hosts.entry(name.clone()).or_default();
            let old = std::mem::take(history);
            // What worked is what the next order begins with.
            let HostHistory { since, over_http, attempts, warning, .. } = old;
            *history = HostHistory { since, over_http, attempts, warning, ..HostHistory::default() };
        }
        self.authority.works();
    }

    /// A host does not lead here; no order was made with it.
    pub(crate) fn strayed(&mut self, host: &str, why: &str, now: Timestamp, rules: &Rules) {
        let history = self.hosts.entry(host.to_owned()).or_default();
        history.strays += 1;
        let spread = spread(rules.seed, host, history.strays.into());
        history.next_try = Some(after(now, pause(rules.soft_first(), HOUR, history.strays, spread)));
        history.last_error = Some(shortened(why));
        history.warning = None;
    }

    /// A host leads here, and perhaps elsewhere too.
    pub(crate) fn leads_here(&mut self, host: &str, warning: Option<String>) {
        self.hosts.entry(host.to_owned()).or_default().warning = warning.as_deref().map(shortened);
    }

    /// The order brought none.
    pub(crate) fn failed(&mut self, names: &[String], failure: &Failure, ended: Ended, rules: &Rules) {
        let now = ended.now;
        for name in names {
            self.hosts.entry(name.clone()).or_default().ordering = false;
        }
        if !ended.made && matches!(failure, Failure::Authority(..)) {
            self.unmade(names, ended.begun);
        }
        match failure {
            Failure::Names(culprits) => {
                self.authority.works();
                for (name, why) in culprits {
                    self.blame(name, why, (now, rules.retry_longest), rules);
                    let history = self.hosts.entry(name.clone()).or_default();
                    // On its own from now on: the others must not wait for it.
                    history.share_max = Some(1);
                    history.over_http = !history.over_http;
                }
            }
            Failure::Order(why) => {
                self.authority.troubles.clear();
                self.blame_all(names, why, (now, rules.retry_longest), rules);
            }
            Failure::Limited(why, until) => {
                self.authority.troubles.clear();
                for name in names {
                    self.blame(name, why, (now, rules.retry_longest), rules);
                    let history = self.hosts.entry(name.clone()).or_default();
                    history.held_until = history.held_until.max(*until);
                    if until.is_none() {
                        // An hour is the shortest window that authorities count in.
                        history.next_try = history.next_try.max(Some(after(now, HOUR)));
                    }
                }
            }
            Failure::Trouble(why, until) => {
                if self.authority.is_down_after(names) {
                    self.authority.failed(why, (now, TROUBLE_PAUSE_MAX), rules);
                } else {
                    // Not for half a day: it may be the authority's alone.
                    self.blame_all(names, why, (now, HOUR.min(rules.retry_longest)), rules);
                }
                for name in names {
                    let history = self.hosts.entry(name.clone()).or_default();
                    history.held_until = history.held_until.max(*until);
                }
            }
            Failure::Authority(why, until) => {
                self.authority.failed(why, (now, HOUR), rules);
                self.authority.held_until = self.authority.held_until.max(*until);
            }
            Failure::Gone(_) => {}
        }
    }

    /// The order of that id brought nothing this time: it is kept as long as it can bring something.
    pub(crate) fn judge_order(&mut self, id: &str, failure: &Failure) {
        self.pending.retain_mut(|order| {
            let is_it = order.id == id;
            order.troubles += u32::from(is_it && matches!(failure, Failure::Trouble(..)));
            !is_it || (failure.leaves_the_order() && order.troubles < ORDER_TROUBLES_MAX)
        });
    }

    /// Do what the operator asked for as soon as the limits and the authority allow: our own pauses are over.
    pub(crate) fn ask(&mut self, host: &str) {
        let history = self.hosts.entry(host.to_owned()).or_default();
        history.asked = true;
        history.next_try = None;
        self.authority.next_try = None;
    }

    /// A refusal of them all: each stands in smaller orders from now on, until it is found who is to blame.
    fn blame_all(&mut self, names: &[String], why: &str, when: (Timestamp, Duration), rules: &Rules) {
        for name in names {
            self.blame(name, why, when, rules);
            self.hosts.entry(name.clone()).or_default().share_max = Some((names.len() / 2).max(1));
        }
    }

    fn blame(&mut self, host: &str, why: &str, (now, longest): (Timestamp, Duration), rules: &Rules) {
        let history = self.hosts.entry(host.to_owned()).or_default();
        history.failures += 1;
        history.strays = 0;
        let spread = spread(rules.seed, host, history.failures.into());
        let wait = pause(rules.retry_first, longest, history.failures, spread);
        history.next_try = Some(after(now, wait));
        history.last_error = Some(shortened(why));
    }
}

fn shortened(why: &str) -> String {
    why.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
