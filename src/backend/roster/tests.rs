//! The roster against a naive list, and raced by threads.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{Address, Roster, WarmUp, Worker, WorkerLease, next_key};

fn roster() -> Arc<Roster> {
    Roster::new("api".to_owned(), Duration::from_secs(4), Default::default())
}

fn worker(slot: usize) -> Arc<Worker> {
    Worker::new(next_key(), format!("api/{slot}"), Address::unix(format!("/run/{slot}.sock")))
}

fn roster_of(count: usize) -> (Arc<Roster>, Vec<Arc<Worker>>) {
    let roster = roster();
    let workers: Vec<_> = (0..count).map(worker).collect();
    workers.iter().for_each(|worker| roster.add(worker));
    (roster, workers)
}

#[test]
fn an_empty_roster_gives_nothing() {
    assert!(roster().pick(&[]).is_none());
}

#[test]
fn ties_go_round() {
    let (roster, _workers) = roster_of(3);
    let mut seen: Vec<u64> = (0..3).map(|_| roster.pick(&[]).unwrap().key()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3, "three idle workers are each picked once in three turns");
}

#[test]
fn avoided_workers_are_not_picked() {
    let (roster, workers) = roster_of(2);
    for _ in 0..10 {
        assert_eq!(roster.pick(&[workers[0].key()]).unwrap().key(), workers[1].key());
    }
    assert!(roster.pick(&[workers[0].key(), workers[1].key()]).is_none());
}

#[test]
fn a_lease_tells_where_to_connect() {
    let (roster, workers) = roster_of(1);
    let lease = roster.pick(&[]).unwrap();
    assert_eq!((lease.key(), lease.name()), (workers[0].key(), "api/0"));
    assert_eq!(lease.address(), &Address::unix("/run/0.sock"));
    assert_eq!((roster.backend(), roster.keep_alive()), ("api", Duration::from_secs(4)));
}

#[test]
fn a_closed_worker_takes_no_lease_even_from_an_old_list() {
    let (roster, workers) = roster_of(1);
    assert!(roster.remove(&workers[0]));
    assert!(!roster.remove(&workers[0]), "the second time it is not there");
    assert!(WorkerLease::take(&workers[0]).is_none());
    assert_eq!(workers[0].in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_the_first_worker_and_idle_for_the_last_request() {
    let roster = roster();
    let late = worker(0);
    let adding = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        roster.add(&late);
    };
    assert!(tokio::time::timeout(Duration::from_millis(999), roster.ready()).await.is_err());
    tokio::join!(roster.ready(), adding);

    let lease = roster.pick(&[]).unwrap();
    roster.remove(&late);
    assert!(tokio::time::timeout(Duration::from_secs(9), late.idle()).await.is_err());
    tokio::join!(late.idle(), async { drop(lease) });
}

#[test]
fn no_request_is_in_flight_once_a_drain_has_seen_none() {
    // The race that matters: edge threads pick while the supervisor removes. After the drain has seen zero,
    // nobody may hold a lease, or a request would go to a process that is being killed.
    let roster = roster();
    std::thread::scope(|scope| {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for _ in 0..2 {
            let (roster, stop) = (Arc::clone(&roster), Arc::clone(&stop));
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    if let Some(lease) = roster.pick(&[]) {
                        std::hint::black_box(lease.key());
                    }
                }
            });
        }
        for slot in 0..500 {
            let worker = worker(slot);
            roster.add(&worker);
            std::thread::yield_now();
            roster.remove(&worker);
            while worker.in_flight() > 0 {
                std::hint::spin_loop();
            }
            for _ in 0..20 {
                assert_eq!(worker.in_flight(), 0);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// A roster that warms up, and its first worker.
fn cold(in_flight: usize, answers: usize) -> (Arc<Roster>, Arc<Worker>) {
    let roster = roster();
    roster.warm_up_is(WarmUp { in_flight, answers });
    (roster, worker(0))
}

/// Wait as a request of that lane, which came now.
async fn wait(roster: &Roster, lane: &str) -> WorkerLease {
    roster.wait(lane, roster.turn(std::time::Instant::now()), (None, &[])).await
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_are_called_in_order_as_the_worker_has_room_and_nobody_passes_them() {
    let (roster, worker) = cold(2, 3);
    let called = Arc::new(std::sync::Mutex::new(Vec::new()));
    let local = tokio::task::LocalSet::new();
    let life = crate::shutdown::Shutdown::new();
    let enter = |lane: &'static str, number: usize| {
        let (roster, called) = (Arc::clone(&roster), Arc::clone(&called));
        life.spawn_local(async move {
            let lease = wait(&roster, lane).await;
            called.lock().unwrap().push((lane, number));
            lease
        })
    };
    let names = || called.lock().unwrap().clone();
    local
        .run_until(async {
            let mut large = Vec::new();
            for number in 0..6 {
                large.push(enter("large", number));
                tokio::task::yield_now().await;
            }
            let small = enter("small", 0);
            tokio::task::yield_now().await;
            roster.add(&worker);
            assert!(roster.pick(&[]).is_none(), "a newcomer passed those that wait");
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(
                names(),
                [("large", 0), ("small", 0)],
                "as many as a cold worker may have, tenants in turn"
            );
            let small = small.await.unwrap();
            small.answered();
            small.answered();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(names()[2..], [("large", 1), ("large", 2)], "one for the answer, and one more");
            drop(small);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(names().len(), 4, "an answer counts once");
            // One that fails gives its place to the next, and one that has gone away never gets it.
            large.remove(3).abort();
            drop(large.remove(0).await.unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(names()[4..], [("large", 4)]);
            large.pop().unwrap().abort();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(!roster.somebody_waits());
            assert_eq!(worker.in_flight(), 3);
            for lease in large {
                lease.await.unwrap().answered();
            }
            assert_eq!(worker.in_flight(), 0);
            let warm: Vec<_> = (0..100).map_while(|_| roster.pick(&[])).collect();
            assert_eq!(warm.len(), 100, "it is warm now");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn who_must_not_get_the_only_worker_holds_up_nobody_behind() {
    let (roster, _workers) = roster_of(1);
    let only = roster.pick(&[]).unwrap().key();
    let turn = roster.turn(std::time::Instant::now());
    let avoid = [only];
    let picky = roster.wait("shop", turn, (None, &avoid));
    let behind = async {
        tokio::task::yield_now().await;
        assert!(roster.pick(&[]).is_none(), "somebody waits");
        wait(&roster, "shop").await.key()
    };
    tokio::select! {
        _ = picky => panic!("it got the worker that it must not get"),
        key = behind => assert_eq!(key, only),
    }
    assert!(roster.lists_only(&[only]) && !roster.lists_only(&[]));
    assert!(roster.pick(&[]).is_some(), "it left a trace");
}

#[test]
fn no_wait_is_forgotten_and_no_cold_worker_gets_more_than_its_window() {
    // The races that matter: room is made while somebody lines up, and waiters go away while they are called.
    let (roster, worker) = cold(3, 1_000_000);
    roster.warm_up_is(WarmUp { in_flight: 3, answers: 1 });
    roster.add(&worker);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let roster = Arc::clone(&roster);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for round in 0..2000_u64 {
                        let waiting = wait(&roster, if thread == 0 { "a" } else { "b" });
                        let lease = if round % 7 == thread {
                            // Gone at any moment.
                            match tokio::time::timeout(Duration::from_micros(round % 50), waiting).await {
                                Ok(lease) => lease,
                                Err(_) => continue,
                            }
                        } else {
                            tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("forgotten")
                        };
                        if round % 3 == 0 {
                            tokio::task::yield_now().await;
                        }
                        drop(lease);
                    }
                });
            });
        }
    });
    assert_eq!((worker.in_flight(), roster.somebody_waits()), (0, false));
    let taken: Vec<_> = (0..100).map_while(|_| roster.pick(&[])).collect();
    assert_eq!(taken.len(), 3, "places were lost or made");
}

#[derive(Debug, Clone)]
enum Step {
    Add,
    Remove(usize),
    Pick,
    PickAvoiding(usize),
    Release(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Add),
        1 => any::<usize>().prop_map(Step::Remove),
        6 => Just(Step::Pick),
        2 => any::<usize>().prop_map(Step::PickAvoiding),
        4 => any::<usize>().prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 1..200)
}

/// The naive model: a list of workers, and for each the leases held.
#[derive(Default)]
struct Model {
    listed: Vec<Arc<Worker>>,
    leases: Vec<WorkerLease>,
}

impl Model {
    fn load(&self, key: u64) -> usize {
        self.leases.iter().filter(|lease| lease.key() == key).count()
    }

    fn check_pick(&mut self, picked: Option<WorkerLease>, avoid: &[u64]) {
        let open = self.listed.iter().map(|worker| worker.key()).filter(|key| !avoid.contains(key));
        let least = open.map(|key| self.load(key)).min();
        assert_eq!(picked.is_some(), least.is_some());
        let Some(lease) = picked else { return };
        assert!(self.listed.iter().any(|worker| worker.key() == lease.key()), "picked one that was removed");
        assert!(!avoid.contains(&lease.key()));
        assert_eq!(Some(self.load(lease.key())), least, "picked one that is busier than another");
        self.leases.push(lease);
    }
}

proptest! {
    #[test]
    fn the_roster_does_what_a_naive_list_does(steps in steps()) {
        let roster = roster();
        let mut model = Model::default();
        let mut all: Vec<Arc<Worker>> = Vec::new();
        for step in steps {
            match step {
                Step::Add => {
                    let worker = worker(all.len());
                    roster.add(&worker);
                    all.push(Arc::clone(&worker));
                    model.listed.push(worker);
                }
                Step::Remove(at) if !model.listed.is_empty() => {
                    let worker = model.listed.remove(at % model.listed.len());
                    prop_assert!(roster.remove(&worker));
                }
                Step::Pick => model.check_pick(roster.pick(&[]), &[]),
                Step::PickAvoiding(at) if !all.is_empty() => {
                    let avoid = [all[at % all.len()].key()];
                    model.check_pick(roster.pick(&avoid), &avoid);
                }
                Step::Release(at) if !model.leases.is_empty() => {
                    drop(model.leases.swap_remove(at % model.leases.len()));
                }
                Step::Remove(_) | Step::PickAvoiding(_) | Step::Release(_) => {}
            }
            for worker in &all {
                prop_assert_eq!(worker.in_flight(), model.load(worker.key()));
            }
            prop_assert_eq!(roster.size.get() as usize, model.listed.len());
        }
    }
}

#[test]
fn a_new_home_is_among_all_slots_that_should_have_a_worker_whichever_has_one_now() {
    let roster = Roster::for_tests("api", Duration::from_secs(1));
    assert_eq!(roster.slots(), u16::MAX);
    roster.list("api/1", Address::unix("/none"));
    assert_eq!(roster.slots(), 2, "nobody has told it");
    for wanted in [8, 3] {
        roster.slots_are(wanted);
        assert_eq!(usize::from(roster.slots()), wanted);
    }
}
