//! What the operator sees of each host: pure, from the same facts as the schedule, so that the two cannot differ.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    history::HostHistory,
    schedule::{Facts, best, blocked_until, due_at},
};

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It has a certificate whose time has not come.
    Valid,
    /// An order is under way.
    Ordering,
    /// It has none yet, or is due, and is next.
    Waiting,
    /// Its last order failed.
    Failing,
    /// It does not lead here.
    Elsewhere,
    /// An imported certificate serves it.
    Imported,
    /// No authority signs such a name.
    Unfit,
}

impl State {
    /// All of them, for metrics.
    pub(crate) const ALL: [Self; 7] = [
        Self::Valid,
        Self::Ordering,
        Self::Waiting,
        Self::Failing,
        Self::Elsewhere,
        Self::Imported,
        Self::Unfit,
    ];

    /// The word used in tables, JSON and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Ordering => "ordering",
            Self::Waiting => "waiting",
            Self::Failing => "failing",
            Self::Elsewhere => "elsewhere",
            Self::Imported => "imported",
            Self::Unfit => "unfit",
        }
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostState {
    pub(crate) host: String,
    pub(crate) state: State,
    /// The certificate that serves it.
    pub(crate) certificate: Option<String>,
    /// When that ends.
    pub(crate) not_after: Option<Timestamp>,
    /// Orders that failed because of it, in a row.
    pub(crate) attempts: u32,
    /// What the last one failed with.
    pub(crate) last_error: Option<String>,
    /// Not before then.
    pub(crate) next_try: Option<Timestamp>,
    /// Where else it leads: nothing has failed, and something may.
    #[serde(default)]
    pub(crate) warning: Option<String>,
}

impl HostState {
    /// A host that is none of the schedule's.
    pub(crate) fn apart(host: &str, state: State, why: Option<&str>) -> Self {
        Self {
            host: host.to_owned(),
            state,
            certificate: None,
            not_after: None,
            attempts: 0,
            last_error: why.map(str::to_owned),
            next_try: None,
            warning: None,
        }
    }
}

/// Every host that the schedule looks after.
pub(crate) fn states(facts: Facts<'_>, now: Timestamp) -> Vec<HostState> {
    let best = best(facts.held, now);
    let nothing = HostHistory::default();
    let one = |host: &String| {
        let history = facts.ledger.hosts.get(host).unwrap_or(&nothing);
        state(facts, host, (history, &best), now)
    };
    facts.wanted.iter().map(one).collect()
}

fn state(
    facts: Facts<'_>,
    host: &str,
    (history, best): (&HostHistory, &HashMap<&str, usize>),
    now: Timestamp,
) -> HostState {
    let held = best.get(host).map(|at| &facts.held[*at]);
    let due = held.map(|held| due_at(held, facts.ledger, facts.rules));
    let state = if history.ordering {
        State::Ordering
    } else if history.failures > 0 {
        State::Failing
    } else if history.strays > 0 {
        State::Elsewhere
    } else if due.is_some_and(|due| due > now) && !history.asked {
        State::Valid
    } else {
        State::Waiting
    };
    let blocked = blocked_until(history, held.is_some(), facts.rules, now).filter(|_| !history.ordering);
    // While the authority is down nobody's turn comes.
    let authority = facts.ledger.authority.turn().filter(|next| *next > now && state != State::Valid);
    let down = facts.ledger.authority.last_error.clone().filter(|_| authority.is_some());
    HostState {
        host: host.to_owned(),
        state,
        certificate: held.map(|held| held.id.clone()),
        not_after: held.map(|held| held.not_after),
        attempts: history.failures,
        last_error: history.last_error.clone().or(down),
        next_try: match state {
            State::Valid => due,
            State::Ordering => None,
            _ => blocked.max(authority),
        },
        warning: history.warning.clone(),
    }
}

/// Until when an operator's wish for this host must wait, and why.
pub(crate) fn waits(facts: Facts<'_>, host: &str, now: Timestamp) -> Option<(Timestamp, &'static str)> {
    let history = facts.ledger.hosts.get(host)?;
    let held = history.held_until.max(facts.ledger.authority.held_until).filter(|until| *until > now);
    // An order that is under way is what was wished for.
    let blocked = blocked_until(history, true, facts.rules, now).filter(|_| !history.ordering);
    match (held, blocked) {
        (Some(held), blocked) if blocked <= Some(held) => {
            Some((held, "the certificate authority asked for this pause"))
        }
        (_, blocked) => blocked.map(|until| (until, "no host is in more than four orders an hour")),
    }
}
