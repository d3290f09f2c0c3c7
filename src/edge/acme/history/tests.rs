//! What each outcome does to the history.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

const MADE: Ended = Ended { begun: NOW, now: NOW, made: true };

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_culprit_backs_off_and_changes_its_challenge_and_its_neighbours_go_free() {
    let mut ledger = Ledger::default();
    let both = names(&["bad.example", "good.example"]);
    ledger.begin(&both, NOW);
    let failure = Failure::Names(vec![("bad.example".into(), "connection refused".into())]);
    ledger.failed(&both, &failure, MADE, &Rules::default());
    let bad = &ledger.hosts["bad.example"];
    assert_eq!((bad.failures, bad.over_http, bad.share_max), (1, true, Some(1)));
    assert!(bad.next_try.is_some() && bad.last_error.as_deref() == Some("connection refused"));
    let good = &ledger.hosts["good.example"];
    assert_eq!((good.failures, good.next_try, good.attempts.len()), (0, None, 1));
}

#[test]
fn an_order_that_surely_was_not_made_counts_for_nobody_and_any_other_does() {
    let one = names(&["a.example"]);
    let later = after(NOW, HOUR / 4);
    let down = || Failure::Authority("down".into(), None);
    for (failure, made, orders) in [
        (down(), false, vec![NOW]),
        (down(), true, vec![NOW, later]),
        (Failure::Trouble("no answer".into(), None), true, vec![NOW, later]),
        (Failure::Order("no".into()), false, vec![NOW, later]),
    ] {
        let mut ledger = Ledger::default();
        ledger.begin(&one, NOW);
        ledger.begin(&one, later);
        ledger.failed(&one, &failure, Ended { begun: later, now: later, made }, &Rules::default());
        assert_eq!((&ledger.orders, &ledger.hosts["a.example"].attempts), (&orders, &orders), "{failure:?}");
    }
}

#[test]
fn an_order_is_kept_as_long_as_it_can_bring_something() {
    let order = |id: &str| PendingOrder {
        id: id.to_owned(),
        url: "https://ca.example/o/1".to_owned(),
        names: names(&["a.example"]),
        begun: NOW,
        renewal: false,
        troubles: 0,
    };
    let text = || "x".to_owned();
    for (failure, keeps) in [
        (Failure::Names(Vec::new()), false),
        (Failure::Order(text()), false),
        (Failure::Gone(text()), false),
        (Failure::Limited(text(), None), true),
        (Failure::Authority(text(), None), true),
    ] {
        let mut ledger = Ledger { pending: vec![order("1"), order("2")], ..Ledger::default() };
        for _ in 0..10 {
            ledger.judge_order("1", &failure);
        }
        assert_eq!(ledger.pending.len(), if keeps { 2 } else { 1 }, "{failure:?}");
    }
    let mut ledger = Ledger { pending: vec![order("1")], ..Ledger::default() };
    let kept = [0; 3].map(|_| {
        ledger.judge_order("1", &Failure::Trouble(text(), None));
        ledger.pending.len()
    });
    assert_eq!(kept, [1, 1, 0], "what it fails at for ever is made anew");
}

#[test]
fn what_the_authority_asked_for_outlives_anothers_success_and_the_operators_wish() {
    let mut ledger = Ledger::default();
    let (one, other) = (names(&["a.example"]), names(&["b.example"]));
    let until = Some(after(NOW, HOUR));
    ledger.failed(&one, &Failure::Authority("busy".into(), until), MADE, &Rules::default());
    ledger.succeeded(&other);
    ledger.ask("a.example");
    assert_eq!((ledger.authority.turn(), ledger.authority.failures), (until, 0));
    for failure in [Failure::Limited("slow".into(), until), Failure::Trouble("500".into(), until)] {
        ledger.failed(&one, &failure, MADE, &Rules::default());
        ledger.ask("a.example");
        assert_eq!(ledger.hosts["a.example"].turn(), until, "{failure:?}");
    }
    let mut ledger = Ledger::default();
    ledger.failed(&one, &Failure::Limited("slow".into(), None), MADE, &Rules::default());
    assert!(ledger.hosts["a.example"].turn() >= until);
    ledger.ask("a.example");
    assert_eq!(ledger.hosts["a.example"].turn(), None, "our own pauses are the operator's to end");
}

#[test]
fn an_authority_is_down_when_it_fails_at_three_different_orders_in_a_row() {
    let trouble = |ledger: &mut Ledger, list: &[&str]| {
        ledger.failed(&names(list), &Failure::Trouble("500".into(), None), MADE, &Rules::default());
        ledger.authority.next_try.is_some()
    };
    let mut ledger = Ledger::default();
    for _ in 0..9 {
        assert!(!trouble(&mut ledger, &["bad.example"]), "one and the same host says nothing of it");
    }
    assert!(!trouble(&mut ledger, &["b.example", "c.example"]));
    ledger.succeeded(&names(&["good.example"]));
    assert!(!trouble(&mut ledger, &["a.example", "b.example"]), "what succeeds between breaks the row");
    assert!(!trouble(&mut ledger, &["b.example"]), "a part of an order is no other order");
    assert!(!trouble(&mut ledger, &["c.example"]));
    assert!(trouble(&mut ledger, &["d.example"]));
    assert_eq!(ledger.hosts["d.example"].failures, 0, "it is no host's fault then");
}

#[test]
fn an_order_refused_as_a_whole_is_halved_until_each_name_stands_alone() {
    let mut ledger = Ledger::default();
    let four = names(&["a.example", "b.example", "c.example", "d.example"]);
    let refused = Failure::Order("no".into());
    ledger.failed(&four, &refused, MADE, &Rules::default());
    assert!(four.iter().all(|name| ledger.hosts[name].share_max == Some(2)));
    ledger.failed(&four[..1], &refused, MADE, &Rules::default());
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
    ledger.failed(&one, &Failure::Authority("down".into(), None), MADE, &Rules::default());
    assert_eq!(ledger.hosts["a.example"].failures, 0);
    assert!(ledger.authority.next_try.is_some_and(|next| next > NOW));
    ledger.succeeded(&one);
    assert_eq!(ledger.authority, AuthorityHistory::default());
}
