//! The schedule, tabled and simulated over days: what it orders, when, and what it must never do.

use super::{
    super::{
        failure::Failure,
        history::{Ended, Issued, PendingOrder, Renewal},
    },
    *,
};

const START: Timestamp = Timestamp::UNIX_EPOCH;
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A world in which orders are answered at once.
struct World {
    wanted: BTreeSet<String>,
    held: Vec<Held>,
    ledger: Ledger,
    rules: Rules,
    now: Timestamp,
    /// Every order: when, for whom.
    orders: Vec<(Timestamp, Vec<String>)>,
    life: Duration,
}

impl World {
    fn new(hosts: &[&str]) -> Self {
        Self {
            wanted: hosts.iter().map(|host| (*host).to_owned()).collect(),
            held: Vec::new(),
            ledger: Ledger::default(),
            rules: Rules::default(),
            now: after(START, DAY * 400),
            orders: Vec::new(),
            life: DAY * 90,
        }
    }

    fn plan(&mut self) -> Plan {
        self.ledger.keep(&self.wanted, self.now);
        let facts =
            Facts { wanted: &self.wanted, held: &self.held, ledger: &self.ledger, rules: &self.rules };
        plan(facts, self.now)
    }

    /// Plan, carry out as `outcome` says, and go to the next moment.
    fn step(&mut self, outcome: impl Fn(&[String]) -> Option<Failure>) {
        let plan = self.plan();
        assert!(plan.look_again > self.now, "the schedule spins");
        for order in plan.orders {
            self.ledger.begin(&order.names, self.now);
            let outcome = outcome(&order.names);
            // What cannot be reached makes no order; anything else may have, whatever became of its answer.
            let made = !matches!(outcome, Some(Failure::Authority(_, None)));
            if made {
                self.orders.push((self.now, order.names.clone()));
            }
            let ended = Ended { begun: self.now, now: self.now, made };
            match outcome {
                Some(failure) => self.ledger.failed(&order.names, &failure, ended, &self.rules),
                None => self.issue(&order),
            }
        }
        let again = self.plan();
        self.now = if again.orders.is_empty() { again.look_again } else { after(self.now, MINUTE / 60) };
    }

    fn issue(&mut self, order: &Proposal) {
        self.ledger.issued.push(Issued { at: self.now, names: order.names.clone(), renewal: order.renewal });
        self.ledger.succeeded(&order.names);
        let id = format!("c{}", self.orders.len());
        let (not_before, not_after) = (self.now, after(self.now, self.life));
        self.held.push(Held { id, names: order.names.clone(), not_before, not_after });
        let gone = superfluous(&self.held, &self.wanted, self.now);
        self.held.retain(|held| !gone.contains(&held.id));
    }

    fn run(&mut self, span: Duration, outcome: impl Fn(&[String]) -> Option<Failure>) {
        let end = after(self.now, span);
        while self.now < end {
            self.step(&outcome);
        }
    }

    fn add(&mut self, host: &str) {
        self.wanted.insert(host.to_owned());
    }

    /// The most orders with `host` in any hour.
    fn busiest_hour(&self, host: &str) -> usize {
        let times: Vec<_> = self
            .orders
            .iter()
            .filter(|(_, names)| names.iter().any(|n| n == host))
            .map(|(at, _)| *at)
            .collect();
        let in_hour =
            |from: &Timestamp| times.iter().filter(|at| *at >= from && **at < after(*from, HOUR)).count();
        times.iter().map(in_hour).max().unwrap_or(0)
    }
}

fn good(_: &[String]) -> Option<Failure> {
    None
}

/// Orders with a name in `bad.` fail because of it.
fn blames(names: &[String]) -> Option<Failure> {
    let bad: Vec<_> = names.iter().filter(|name| name.starts_with("bad.")).collect();
    (!bad.is_empty())
        .then(|| Failure::Names(bad.into_iter().map(|name| (name.clone(), "no".into())).collect()))
}

#[test]
fn a_new_host_is_ordered_after_a_moment_of_gathering_and_then_renewed_at_two_thirds() {
    let mut world = World::new(&["a.example.com"]);
    assert_eq!(world.plan().orders, []);
    world.now = after(world.now, world.rules.gather);
    let first = world.now;
    world.step(good);
    assert_eq!(world.orders.len(), 1);
    world.run(DAY * 61, good);
    assert_eq!(world.orders.len(), 2);
    let age = between(first, world.orders[1].0);
    assert!((DAY * 60..DAY * 61).contains(&age), "{age:?}");
}

#[test]
fn a_host_that_fails_for_ever_is_never_in_more_than_four_orders_an_hour() {
    for retry_first in [Duration::from_millis(1), Duration::from_secs(1), MINUTE * 5] {
        for failure in [
            |names: &[String]| blames(names),
            |_: &[String]| Some(Failure::Order("refused".into())),
            |_: &[String]| Some(Failure::Limited("slow down".into(), None)),
            // Answers that are lost: nobody knows whether the order was made.
            |_: &[String]| Some(Failure::Trouble("no answer".into(), None)),
            |names: &[String]| (names.len() == 1).then(|| Failure::Trouble("no answer".into(), None)),
            |_: &[String]| Some(Failure::Trouble("500".into(), Some(START))),
            |_: &[String]| Some(Failure::Limited("slow down".into(), Some(START))),
            |_: &[String]| Some(Failure::Authority("busy".into(), Some(START))),
        ] {
            let mut world = World::new(&["bad.example.com", "good.example.com"]);
            world.rules.retry_first = retry_first;
            world.rules.retry_longest = MINUTE;
            world.rules.orders_hourly_max = 1000;
            for turn in 0..6 * 60 {
                world.run(MINUTE, failure);
                match turn % 7 {
                    // An impatient operator, a restart in the middle of an order, a tenant removed and added again.
                    0 => world.ledger.ask("bad.example.com"),
                    1 => drop(world.ledger.interrupted()),
                    2 => drop(world.wanted.remove("bad.example.com")),
                    _ => world.add("bad.example.com"),
                }
            }
            let most = world.busiest_hour("bad.example.com");
            assert!((1..=ATTEMPTS_HOURLY_MAX).contains(&most), "{most} orders in an hour");
        }
    }
}

#[test]
fn failures_back_off_from_minutes_to_hours() {
    let mut world = World::new(&["bad.example.com"]);
    world.run(DAY * 5, blames);
    let pauses: Vec<_> = world.orders.windows(2).map(|pair| between(pair[0].0, pair[1].0)).collect();
    assert!(pauses[0] >= MINUTE * 5 && pauses[0] < MINUTE * 7, "{:?}", pauses[0]);
    assert!(pauses[4..].iter().all(|pause| *pause >= HOUR * 6), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= HOUR * 15), "{pauses:?}");
    assert!(world.orders.len() <= 15, "{} orders in five days", world.orders.len());
}

#[test]
fn the_challenge_changes_with_each_failure() {
    let mut world = World::new(&["bad.example.com"]);
    let mut challenges = Vec::new();
    while world.orders.len() < 4 {
        world.run(MINUTE, blames);
        if challenges.len() < world.orders.len() {
            challenges.push(world.ledger.hosts["bad.example.com"].over_http);
        }
    }
    assert_eq!(challenges, [true, false, true, false], "what the next order begins with");
}

#[test]
fn one_that_fails_holds_up_no_other() {
    let mut world = World::new(&["a.example.com", "bad.example.com", "c.example.com"]);
    world.run(MINUTE, blames);
    assert_eq!(world.held.len(), 1);
    assert_eq!(world.held[0].names, ["a.example.com", "c.example.com"]);
    // And later it stands alone: nobody else is renewed for its sake.
    world.run(DAY, blames);
    assert!(world.orders[2..].iter().all(|(_, names)| names == &["bad.example.com"]));
}

#[test]
fn a_culprit_whom_nobody_names_is_found_by_halves() {
    let hosts: Vec<String> = (0..32).map(|n| format!("h{n:02}.example.com")).collect();
    let mut world = World::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let refuses = |names: &[String]| {
        names.iter().any(|name| name == "h07.example.com").then(|| Failure::Order("refused".into()))
    };
    world.run(DAY * 3, refuses);
    let covered: BTreeSet<_> = world.held.iter().flat_map(|held| &held.names).collect();
    assert_eq!(covered.len(), 31, "all but the culprit");
    assert!(world.orders.len() < 40, "{} orders", world.orders.len());
}

#[test]
fn hosts_of_one_domain_share_certificates_of_at_most_fifty_names() {
    let hosts: Vec<String> = (0..300).map(|n| format!("s{n:03}.shops.example.com")).collect();
    let mut world = World::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    world.add("api.other.com");
    world.run(MINUTE, good);
    assert_eq!(world.orders.len(), 7);
    assert!(world.held.iter().all(|held| held.names.len() <= 50));
    // A new one gets a certificate of its own and makes no other be made again.
    world.add("new.shops.example.com");
    world.run(MINUTE, good);
    assert_eq!(world.orders.len(), 8);
    assert_eq!(world.orders[7].1, ["new.shops.example.com"]);
}

#[test]
fn small_certificates_become_one_when_the_first_of_them_is_renewed() {
    let mut world = World::new(&[]);
    for number in 0..10 {
        world.add(&format!("s{number}.example.com"));
        world.run(HOUR, good);
    }
    assert_eq!((world.orders.len(), world.held.len()), (10, 10));
    world.run(DAY * 61, good);
    assert_eq!((world.orders.len(), world.held.len()), (11, 1));
    assert_eq!(world.held[0].names.len(), 10);
    // From then on it is renewed as it is, which no authority counts.
    world.run(DAY * 61, good);
    assert_eq!((world.orders.len(), world.held.len()), (12, 1));
    assert!(world.ledger.issued.iter().all(|issued| issued.renewal));
}

#[test]
fn a_host_that_is_gone_is_dropped_at_the_next_renewal() {
    let mut world = World::new(&["a.example.com", "b.example.com"]);
    world.run(MINUTE, good);
    world.wanted.remove("b.example.com");
    world.run(DAY * 50, good);
    assert_eq!((world.orders.len(), world.held[0].names.len()), (1, 2));
    world.run(DAY * 12, good);
    assert_eq!(world.held.iter().map(|held| held.names.clone()).collect::<Vec<_>>(), [["a.example.com"]]);
}

#[test]
fn new_certificates_of_a_domain_are_paced_and_renewals_are_not() {
    let mut world = World::new(&[]);
    world.rules.per_domain_weekly = 10;
    for number in 0..300 {
        world.add(&format!("s{number:03}.example.com"));
        world.run(HOUR, good);
    }
    for (at, _) in &world.orders {
        let week = world.orders.iter().filter(|(other, _)| other >= at && *other < after(*at, WEEK)).count();
        assert!(week <= 10, "{week} certificates in a week");
    }
    // A new host waits for hours at worst, not for the week's end.
    let longest = world.orders.windows(2).map(|pair| between(pair[0].0, pair[1].0)).max().unwrap();
    assert!(longest <= WEEK / 10 * 2 + HOUR, "{longest:?}");
    let covered: BTreeSet<_> = world.held.iter().flat_map(|held| &held.names).collect();
    assert!(covered.len() >= 260, "{}", covered.len());
    // With the week's certificates spent, what is due is still renewed.
    world.life = DAY * 2;
    let mut renewed = World::new(&["a.example.com"]);
    renewed.life = DAY;
    renewed.rules.per_domain_weekly = 1;
    renewed.run(DAY * 20, good);
    assert!(renewed.orders.len() >= 28, "a certificate of one day is renewed every sixteen hours");
}

#[test]
fn certificates_that_get_lost_are_not_ordered_for_ever() {
    let mut world = World::new(&["a.example.com"]);
    for _ in 0..48 {
        world.run(HOUR, good);
        world.held.clear();
    }
    assert_eq!(world.orders.len(), SAME_NAMES_WEEKLY_MAX);
}

#[test]
fn orders_of_all_hosts_together_have_an_hourly_limit_and_nobody_starves() {
    let hosts: Vec<String> = (0..250).map(|n| format!("api.shop-{n:03}.com")).collect();
    let mut world = World::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    world.run(MINUTE, good);
    assert_eq!(world.orders.len(), 90);
    world.run(HOUR * 3, good);
    assert_eq!(world.held.len(), 250);
}

#[test]
fn the_authority_says_when_to_renew_and_cannot_let_a_certificate_run_out() {
    let mut world = World::new(&["a.example.com"]);
    world.run(MINUTE, good);
    let held = world.held[0].clone();
    let mut due = |at: Option<Timestamp>| {
        world.ledger.renewals.insert(held.id.clone(), Renewal { at, look_again: START });
        between(held.not_before, due_at(&held, &world.ledger, &world.rules)).as_secs() / DAY.as_secs()
    };
    assert_eq!(due(Some(after(held.not_before, DAY * 3))), 3);
    assert_eq!(due(Some(after(held.not_before, DAY * 89))), 75);
    assert_eq!(due(None), 60);
}

#[test]
fn what_the_operator_asks_for_is_ordered_at_once_with_its_whole_certificate() {
    let mut world = World::new(&["a.example.com", "b.example.com"]);
    world.run(MINUTE, good);
    world.ledger.ask("a.example.com");
    world.run(MINUTE, good);
    assert_eq!(world.orders.len(), 2);
    assert_eq!(world.orders[1].1, ["a.example.com", "b.example.com"]);
    world.run(DAY, good);
    assert_eq!(world.orders.len(), 2, "asked once, ordered once");
}

#[test]
fn an_authority_that_is_down_is_asked_less_and_less_and_hosts_keep_their_turn() {
    let mut world = World::new(&["a.example.com"]);
    let tries = std::cell::Cell::new(0);
    world.run(DAY, |_| {
        tries.set(tries.get() + 1);
        Some(Failure::Authority("down".into(), None))
    });
    assert!((10..=30).contains(&tries.get()), "{} tries in a day", tries.get());
    assert_eq!(world.orders.len(), 0);
    world.run(HOUR * 2, good);
    assert_eq!(world.held.len(), 1);
}

#[test]
fn one_host_that_the_authority_fails_at_holds_up_no_other() {
    for fails in [
        |names: &[String]| blames(names).map(|_| Failure::Trouble("500".into(), None)),
        |names: &[String]| {
            blames(names).map(|_| Failure::Trouble("500".into(), Some(after(START, DAY * 500))))
        },
    ] {
        let mut world = World::new(&["bad.example.com"]);
        world.run(HOUR, fails);
        for number in 0..8 {
            world.add(&format!("n.shop{number}.com"));
            world.run(MINUTE, fails);
            assert_eq!(world.held.len(), number + 1, "it waits for nobody");
        }
        // Nor does it take others with it: who shares with it stands apart before long.
        world.add("good.example.com");
        world.run(HOUR * 2, fails);
        assert_eq!(world.held.len(), 9);
    }
}

#[test]
fn an_authority_that_fails_at_all_is_asked_every_quarter_of_an_hour_at_most_and_hosts_keep_their_turn() {
    let hosts: Vec<String> = (0..40).map(|n| format!("api.shop-{n:03}.com")).collect();
    let mut world = World::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    world.rules.orders_hourly_max = 1000;
    world.run(DAY, |_| Some(Failure::Trouble("500".into(), None)));
    let moments: BTreeSet<_> = world.orders.iter().map(|(at, _)| *at).collect();
    assert!(moments.len() <= 24 * 4 + 10, "{} times in a day", moments.len());
    world.run(HOUR, good);
    assert_eq!(world.held.len(), 40);
}

#[test]
fn what_the_authority_asked_for_is_kept_to_by_all_and_ended_by_nobody() {
    let mut world = World::new(&["a.example.com", "b.example.org"]);
    let until = after(world.now, HOUR * 5);
    let busy = |_: &[String]| Some(Failure::Authority("busy".into(), Some(until)));
    world.run(MINUTE, busy);
    let made = world.orders.len();
    // An order that was under way brings its certificate, the operator is impatient, a host is added.
    world.ledger.succeeded(&["b.example.org".to_owned()]);
    world.ledger.ask("a.example.com");
    world.add("c.example.net");
    while world.now < until {
        assert_eq!(world.plan().orders, []);
        world.now = world.plan().look_again.min(until);
    }
    world.run(MINUTE, good);
    assert_eq!((world.orders.len() - made, world.held.len()), (3, 3));
}

#[test]
fn an_order_that_was_made_goes_on_when_its_hosts_may_and_none_is_made_beside_it() {
    let mut world = World::new(&["a.example.com", "b.example.com", "c.example.com"]);
    world.now = after(world.now, HOUR);
    let names = ["a.example.com", "b.example.com"].map(str::to_owned).to_vec();
    world.ledger.begin(&names, world.now);
    world.ledger.pending.push(PendingOrder {
        id: "1".into(),
        url: "https://ca.example/o/1".into(),
        names: names.clone(),
        begun: world.now,
        renewal: false,
        troubles: 0,
    });
    let resumed = |world: &mut World| {
        let orders = world.plan().orders;
        let ordered =
            orders.iter().flat_map(|order| &order.names).filter(|name| names.contains(name)).count();
        (orders.into_iter().filter(|order| order.resumes.is_some()).count(), ordered)
    };
    assert_eq!(resumed(&mut world), (0, 0), "it is under way");
    world.ledger.interrupted();
    assert_eq!(resumed(&mut world), (1, 2));
    let ended = Ended { begun: world.now, now: world.now, made: true };
    let trouble = Failure::Trouble("no answer".into(), None);
    world.ledger.failed(&names, &trouble, ended, &world.rules);
    assert_eq!(resumed(&mut world), (0, 0), "its hosts have a pause");
    world.now = after(world.now, MINUTE * 10);
    assert_eq!(resumed(&mut world), (1, 2));
    // Full hours are about new orders.
    for _ in 0..ATTEMPTS_HOURLY_MAX {
        world.ledger.begin(&names, world.now);
    }
    world.ledger.interrupted();
    assert_eq!(resumed(&mut world), (1, 2));
}

#[test]
fn nothing_is_kept_that_a_newer_one_replaces_and_a_lost_host_keeps_its_own_until_it_ends() {
    let held = |id: &str, names: &[&str], from: u32, to: u32| Held {
        id: id.into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_before: after(START, DAY * from),
        not_after: after(START, DAY * to),
    };
    let all = [
        held("old", &["a.example"], 0, 90),
        held("new", &["a.example", "b.example"], 60, 150),
        held("gone", &["gone.example"], 0, 90),
        held("ended", &["gone.example"], 0, 50),
        held("last", &["c.example"], 0, 50),
    ];
    let wanted = ["a.example", "b.example", "c.example"].map(str::to_owned).into();
    let names = superfluous(&all, &wanted, after(START, DAY * 61));
    assert_eq!(names, ["old", "ended"], "an ended one of a wanted host stays until there is another");
}

#[test]
fn a_new_certificate_replaces_one_that_would_have_lived_as_long_or_longer() {
    let held = |id: &str, from: u32, to: u32| Held {
        id: id.into(),
        names: vec!["a.example".to_owned()],
        not_before: after(START, DAY * from),
        not_after: after(START, DAY * to),
    };
    let wanted = ["a.example"].map(str::to_owned).into();
    for (old, new) in [
        // Its authority signs for a shorter time than before.
        (held("t-1795861288001-b", 0, 90), held("t-1796725288001-a", 10, 55)),
        // It cuts the hours off, or makes two in a second.
        (held("t-1795861288001-b", 0, 90), held("t-1795861288002-a", 0, 90)),
    ] {
        for all in [[old.clone(), new.clone()], [new, old.clone()]] {
            assert_eq!(superfluous(&all, &wanted, after(START, DAY * 11)), std::slice::from_ref(&old.id));
        }
    }
}
