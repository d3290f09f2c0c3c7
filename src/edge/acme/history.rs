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
    schedule::Rules,
};

/// The window in which orders of a host are counted.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The window in which certificates of a domain are counted.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

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

/// Why an order brought no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// These names failed, each with its reason; the others are free of blame.
    Names(Vec<(String, String)>),
    /// The authority refused the order as a whole.
    Order(String),
    /// Too many orders; not before then, if it said so.
    Limited(String, Option<Timestamp>),
    /// The authority cannot be reached, is slow or broken: no host's fault.
    Authority(String),
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
            let counts = !history.attempts.is_empty() || history.next_try.is_some_and(|next| next > now);
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

    /// The order begun then never reached the authority.
    pub(crate) fn unmade(&mut self, names: &[String], begun: Timestamp) {
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
            // What worked is what the next order begins with.
            let (since, over_http) = (history.since, history.over_http);
            let attempts = std::mem::take(&mut history.attempts);
            *history = HostHistory { since, over_http, attempts, ..HostHistory::default() };
        }
        self.authority = AuthorityHistory::default();
    }

    /// A host does not lead here; no order was made with it.
    pub(crate) fn strayed(&mut self, host: &str, why: &str, now: Timestamp, rules: &Rules) {
        let history = self.hosts.entry(host.to_owned()).or_default();
        history.strays += 1;
        let spread = spread(rules.seed, host, history.strays.into());
        history.next_try = Some(after(now, pause(rules.soft_first(), HOUR, history.strays, spread)));
        history.last_error = Some(shortened(why));
    }

    /// The order brought none.
    pub(crate) fn failed(&mut self, names: &[String], failure: &Failure, now: Timestamp, rules: &Rules) {
        for name in names {
            self.hosts.entry(name.clone()).or_default().ordering = false;
        }
        match failure {
            Failure::Names(culprits) => {
                self.authority = AuthorityHistory::default();
                for (name, why) in culprits {
                    self.blame(name, why, now, rules);
                    let history = self.hosts.entry(name.clone()).or_default();
                    // On its own from now on: the others must not wait for it.
                    history.share_max = Some(1);
                    history.over_http = !history.over_http;
                }
            }
            Failure::Order(why) => {
                for name in names {
                    self.blame(name, why, now, rules);
                    self.hosts.entry(name.clone()).or_default().share_max = Some((names.len() / 2).max(1));
                }
            }
            Failure::Limited(why, until) => {
                for name in names {
                    self.blame(name, why, now, rules);
                    let history = self.hosts.entry(name.clone()).or_default();
                    // An hour is the shortest window that authorities count in.
                    let floor = until.unwrap_or(after(now, HOUR));
                    history.next_try = history.next_try.max(Some(floor));
                }
            }
            Failure::Authority(why) => {
                let authority = &mut self.authority;
                authority.failures += 1;
                let spread = spread(rules.seed, "authority", authority.failures.into());
                let wait = pause(rules.soft_first(), HOUR, authority.failures, spread);
                authority.next_try = Some(after(now, wait));
                authority.last_error = Some(shortened(why));
            }
        }
    }

    /// Do what the operator asked for as soon as the limits allow.
    pub(crate) fn ask(&mut self, host: &str) {
        let history = self.hosts.entry(host.to_owned()).or_default();
        history.asked = true;
        history.next_try = None;
    }

    fn blame(&mut self, host: &str, why: &str, now: Timestamp, rules: &Rules) {
        let history = self.hosts.entry(host.to_owned()).or_default();
        history.failures += 1;
        history.strays = 0;
        let spread = spread(rules.seed, host, history.failures.into());
        let wait = pause(rules.retry_first, rules.retry_longest, history.failures, spread);
        history.next_try = Some(after(now, wait));
        history.last_error = Some(shortened(why));
    }
}

fn shortened(why: &str) -> String {
    why.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_culprit_backs_off_and_changes_its_challenge_and_its_neighbours_go_free() {
        let mut ledger = Ledger::default();
        let both = names(&["bad.example", "good.example"]);
        ledger.begin(&both, NOW);
        let failure = Failure::Names(vec![("bad.example".into(), "connection refused".into())]);
        ledger.failed(&both, &failure, NOW, &Rules::default());
        let bad = &ledger.hosts["bad.example"];
        assert_eq!((bad.failures, bad.over_http, bad.share_max), (1, true, Some(1)));
        assert!(bad.next_try.is_some() && bad.last_error.as_deref() == Some("connection refused"));
        let good = &ledger.hosts["good.example"];
        assert_eq!((good.failures, good.next_try, good.attempts.len()), (0, None, 1));
    }

    #[test]
    fn an_order_that_never_reached_the_authority_counts_for_nobody() {
        let mut ledger = Ledger::default();
        let one = names(&["a.example"]);
        ledger.begin(&one, NOW);
        ledger.begin(&one, after(NOW, HOUR / 4));
        ledger.unmade(&one, after(NOW, HOUR / 4));
        assert_eq!((ledger.orders.len(), ledger.hosts["a.example"].attempts.clone()), (1, vec![NOW]));
    }

    #[test]
    fn an_order_refused_as_a_whole_is_halved_until_each_name_stands_alone() {
        let mut ledger = Ledger::default();
        let four = names(&["a.example", "b.example", "c.example", "d.example"]);
        let refused = Failure::Order("no".into());
        ledger.failed(&four, &refused, NOW, &Rules::default());
        assert!(four.iter().all(|name| ledger.hosts[name].share_max == Some(2)));
        ledger.failed(&four[..1], &refused, NOW, &Rules::default());
        assert_eq!(ledger.hosts["a.example"].share_max, Some(1));
    }

    #[test]
    fn an_order_in_flight_when_the_process_ended_has_counted() {
        let mut ledger = Ledger::default();
        ledger.begin(&names(&["a.example"]), NOW);
        let text = serde_json::to_string(&ledger).unwrap();
        let mut again: Ledger = serde_json::from_str(&text).unwrap();
        assert_eq!(again, ledger);
        assert_eq!(again.interrupted(), ["a.example"]);
        assert_eq!(again.hosts["a.example"].attempts.len(), 1);
        assert_eq!(again.interrupted(), Vec::<String>::new());
    }

    #[test]
    fn a_host_that_is_gone_is_forgotten_only_when_nothing_of_it_counts() {
        let mut ledger = Ledger::default();
        ledger.begin(&names(&["a.example"]), NOW);
        ledger.interrupted();
        ledger.keep(&BTreeSet::new(), after(NOW, HOUR / 2));
        assert!(ledger.hosts.contains_key("a.example"), "removing and adding a host resets no limit");
        ledger.keep(&BTreeSet::new(), after(NOW, HOUR * 2));
        assert_eq!((ledger.hosts.len(), ledger.orders.len()), (0, 0));
    }

    #[test]
    fn an_authority_that_fails_is_no_hosts_fault() {
        let mut ledger = Ledger::default();
        let one = names(&["a.example"]);
        ledger.begin(&one, NOW);
        ledger.failed(&one, &Failure::Authority("down".into()), NOW, &Rules::default());
        assert_eq!(ledger.hosts["a.example"].failures, 0);
        assert!(ledger.authority.next_try.is_some_and(|next| next > NOW));
        ledger.succeeded(&one);
        assert_eq!(ledger.authority, AuthorityHistory::default());
    }
}
