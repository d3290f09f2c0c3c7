//! Admission against a naive bucket and a naive table.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn config() -> config::Admit {
    config::Admit {
        tenant_in_flight_max: 4,
        tenant_requests_per_second: 10,
        client_in_flight_max: 2,
        client_requests_per_second: 5,
        clients_max: 100,
        ..config::Admit::default()
    }
}

fn tenant(id: &str) -> Tenant {
    Tenant::new(id.parse().unwrap())
}

fn client(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

#[test]
fn one_client_cannot_take_its_shop_down() {
    let (admit, config, shop) = (Admit::new(100), config(), tenant("shop"));
    let enter = |who| admit.enter_at(0, &config, Some(&shop), client(who));
    let _held = [enter(1).unwrap(), enter(1).unwrap()];
    assert_eq!(enter(1).unwrap_err(), Refusal::TooMany);
    let others = [enter(2).unwrap(), enter(3).unwrap()];
    assert_eq!(enter(4).unwrap_err(), Refusal::TooMany, "the shop itself is full");
    drop(others);
    assert!(enter(4).is_ok(), "dropped places are free again");
    assert!(
        admit.enter_at(0, &config, Some(&tenant("other")), client(1)).is_ok(),
        "other shops do not notice"
    );
}

#[test]
fn a_burst_of_twice_the_rate_passes_and_then_the_rate() {
    let (admit, config, shop) = (Admit::new(100), config(), tenant("shop"));
    let enter = |now_ns| admit.enter_at(now_ns, &config, Some(&shop), client(1)).map(drop);
    assert!((0..10).all(|_| enter(0).is_ok()), "twice five at once");
    assert_eq!(enter(0), Err(Refusal::TooFast { retry_after_s: 1 }));
    assert!(enter(200_000_000).is_ok(), "one a fifth of a second");
    assert!(enter(200_000_000).is_err());
}

#[test]
fn files_are_compressed_for_a_client_at_a_rate_and_large_ones_count_more() {
    let admit = Admit::new(100);
    let config = config::Admit { client_requests_per_second: 10, ..config::Admit::default() };
    let second = 1_000_000_000;
    let compressed = |now_ns: u64, last: u8, bytes: u64| {
        (0..100).take_while(|_| admit.compresses_file_at(now_ns, &config, client(last), bytes)).count()
    };
    assert_eq!(compressed(second, 1, 1000), 20, "a burst of two seconds' worth");
    assert_eq!(compressed(2 * second, 1, 1000), 10, "and then the rate");
    assert_eq!(compressed(second, 2, 256 * 1024), 5, "four pieces each");
    assert_eq!(compressed(second, 3, u64::MAX), 1, "the largest takes all there is");
    let minute = 600 * 64 * 1024;
    assert_eq!(compressed(second, 5, minute), 1);
    assert_eq!(compressed(58 * second, 5, 1000), 0, "and more: it is paid for whole");
    assert_eq!(compressed(60 * second, 5, 1000), 10, "and then over");
    assert_eq!(compressed(second, 4, 0), 20, "others have theirs");
    // What a client may send elsewhere is not used up by it.
    let nobody = (0..100).filter(|_| admit.enter_at(second, &config, None, client(1)).is_ok()).count();
    assert_eq!(nobody, 20);
}

#[test]
fn a_tenants_own_limits_beat_the_default() {
    let (admit, config) = (Admit::new(100), config());
    let mut shop = tenant("shop");
    shop.limits.in_flight_max = Some(1);
    let _held = admit.enter_at(0, &config, Some(&shop), client(1)).unwrap();
    assert_eq!(admit.enter_at(0, &config, Some(&shop), client(2)).unwrap_err(), Refusal::TooMany);
}

#[test]
fn addresses_of_one_ipv6_network_are_one_client() {
    let (admit, config, shop) = (Admit::new(100), config(), tenant("shop"));
    let enter = |address: &str| admit.enter_at(0, &config, Some(&shop), address.parse().unwrap());
    let _held = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
    assert!(enter("2001:db8::3").is_err());
    assert!(enter("2001:db8:0:1::1").is_ok());
}

#[test]
fn waiting_has_a_bound_of_its_own() {
    let (admit, config, shop) = (Admit::new(100), config(), tenant("shop"));
    let place = admit.enter_at(0, &config, Some(&shop), client(1)).unwrap();
    let waiting = place.wait(1).unwrap();
    assert_eq!(place.wait(1).unwrap_err(), Refusal::NoWorker);
    drop(waiting);
    assert!(place.wait(1).is_ok());
}

#[test]
fn strangers_never_grow_the_table_and_the_longest_unseen_goes_first() {
    let (admit, config, shop) = (Admit::new(3), config(), tenant("shop"));
    let far = |n: u64| n * 10_000_000_000;
    let held = admit.enter_at(0, &config, Some(&shop), client(1)).unwrap();
    for n in 2..200_u8 {
        admit.enter_at(far(n.into()), &config, Some(&shop), client(n)).unwrap();
        assert!(admit.clients.len() <= 3);
    }
    // The first is the longest unseen, but it has a request in flight: forgetting it would lift its limit.
    let now = far(300);
    let _second = admit.enter_at(now, &config, Some(&shop), client(1)).unwrap();
    assert_eq!(admit.enter_at(now, &config, Some(&shop), client(1)).unwrap_err(), Refusal::TooMany);
    drop(held);
}

/// A naive bucket: the times of what passed, each of which fills up again after `1/rate`, one after the other.
#[derive(Default)]
struct Model {
    tokens_ns: i128,
    last_ns: u64,
    in_flight: VecDeque<()>,
    started: bool,
}

impl Model {
    fn enter(&mut self, now_ns: u64, per_second: u32, in_flight_max: usize) -> bool {
        let each = 1_000_000_000 / i128::from(per_second);
        if !self.started {
            (self.started, self.tokens_ns) = (true, 2_000_000_000);
        }
        self.tokens_ns = (self.tokens_ns + i128::from(now_ns - self.last_ns)).min(2_000_000_000);
        self.last_ns = now_ns;
        if self.in_flight.len() >= in_flight_max || self.tokens_ns < each {
            return false;
        }
        self.tokens_ns -= each;
        self.in_flight.push_back(());
        true
    }
}

proptest! {
    #[test]
    fn admits_exactly_what_a_naive_bucket_would(steps in prop::collection::vec((0_u64..400_000_000, any::<bool>()), 1..200)) {
        // The tenant's limits are out of the way: one client against the model.
        let config = config::Admit { tenant_in_flight_max: 1000, tenant_requests_per_second: 1_000_000, ..config() };
        let (admit, shop) = (Admit::new(100), tenant("shop"));
        let (mut model, mut places, mut now_ns) = (Model::default(), VecDeque::new(), 0);
        for (pause_ns, end_one) in steps {
            now_ns += pause_ns;
            if end_one && places.pop_front().is_some() {
                model.in_flight.pop_front();
            }
            let place = admit.enter_at(now_ns, &config, Some(&shop), client(1));
            let passes = model.enter(now_ns, config.client_requests_per_second, 2);
            prop_assert_eq!(place.is_ok(), passes, "at {} ns", now_ns);
            places.extend(place);
        }
    }
}
