//! Workers that run and should not any longer: unwell, too large, too old.

use super::{status::Replacements, *};

/// Asked often, so that the tests are short.
fn watched() -> Config {
    let watch = Health { watch_interval: Duration::from_millis(30), ..health_path("/health") };
    Config { health: watch, ..config("weary.mjs") }
}

fn replaced(bench: &Bench) -> u64 {
    let label = BackendLabels { backend: "api".to_owned() };
    bench.metrics.worker_replacements_total.get_or_create(&label).get()
}

async fn until_replaced(bench: &Bench, old: u32) {
    bench
        .until("another process", |status| {
            let worker = &status.workers[0];
            worker.state == "ready" && worker.pid.is_some_and(|pid| pid != old)
        })
        .await;
    until_dead(old).await;
    bench.until("it is counted", |_| replaced(bench) == 1).await;
    let worker = bench.worker();
    assert_eq!((worker.restarts, worker.replacements.count()), (0, 1), "nothing crashed");
}

/// How often for what, and the beginning of the last reason.
fn causes(bench: &Bench, reason: &str) -> [u64; 4] {
    let Replacements { memory, requests, age, health, last } = bench.worker().replacements;
    let last = last.expect("one").reason;
    assert!(last.starts_with(reason), "{last}");
    [memory, requests, age, health]
}

#[tokio::test]
async fn a_worker_that_is_not_well_any_more_is_taken_out_and_replaced() {
    let bench = Bench::start(watched());
    bench.ready().await;
    let (old, key) = (bench.pid(), bench.backend.roster().pick(&[]).unwrap().key());
    bench.get("/sick").await;
    until_replaced(&bench, old).await;
    assert_ne!(bench.backend.roster().pick(&[]).unwrap().key(), key);
    let error = bench.worker().last_error.unwrap();
    assert!(error.contains("not well 3 times in a row: the health path answered 500"), "{error}");
    assert_eq!(causes(&bench, "not well 3 times in a row"), [0, 0, 0, 1]);
    bench.finish().await;
}

#[tokio::test]
async fn a_blocked_event_loop_is_seen_by_its_latency_and_costs_no_worker_while_it_is_short() {
    let bench = Bench::start(watched());
    bench.ready().await;
    let old = bench.pid();
    bench.until("a latency", |status| status.workers[0].health_ms.is_some()).await;
    bench.get("/block?ms=900").await;
    bench.until("the stall", |status| status.workers[0].health_ms.is_some_and(|ms| ms > 300)).await;
    assert_eq!((bench.pid(), replaced(&bench)), (old, 0));
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_grows_too_large_is_replaced_and_its_requests_end_first() {
    // Not asked often how it is: while it takes so much memory it answers nothing.
    let bench = Bench::start(Config {
        memory_max_mb: Some(150),
        health: health_path("/health"),
        ..config("weary.mjs")
    });
    bench.ready().await;
    let old = bench.pid();
    let (lease, held) = (bench.backend.roster().pick(&[]).unwrap(), bench.held());
    let slow = bench.shutdown.spawn(async move { get(lease, &held).await });
    bench.get("/grow?mb=150").await;
    bench
        .until("its successor is ready, and it drains", |status| {
            status.workers.len() == 2 && status.workers.iter().any(|worker| worker.state == "draining")
        })
        .await;
    bench.let_go();
    assert_eq!(slow.await.unwrap(), "slow");
    until_replaced(&bench, old).await;
    assert_eq!(causes(&bench, "it holds "), [1, 0, 0, 0]);
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_is_replaced_though_it_is_well_is_not_stopped_before_its_requests_have_ended() {
    let impatient = Config { drain_timeout: Duration::from_millis(100), ..watched() };
    let impatient = Config { stop_grace: Duration::from_millis(500), ..impatient };
    let bench = Bench::start(Config { workers: Workers::Number(2), max_requests: Some(2), ..impatient });
    bench.until("two ready", |s| s.workers.iter().filter(|w| w.state == "ready").count() == 2).await;
    let old: Vec<u32> = bench.backend.status().workers.iter().filter_map(|w| w.pid).collect();
    // Each has a request that does not end by itself, and has had as many as it may.
    let mut slow = Vec::new();
    for path in [bench.held(), bench.held(), "/".to_owned(), "/".to_owned()] {
        let lease = bench.backend.roster().pick(&[]).unwrap();
        slow.push(bench.shutdown.spawn(async move { get(lease, &path).await }));
    }
    let draining = |status: &BackendStatus| {
        let all = status.workers.iter().filter(|w| w.state == "draining" && w.in_flight == 1);
        all.filter_map(|w| w.pid).filter(|pid| old.contains(pid)).count()
    };
    bench.until("both drain beside their successors", |status| draining(status) == 2).await;
    // Twice as long as the drain and the grace together.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(draining(&bench.backend.status()), 2);
    bench.let_go();
    let mut said = Vec::new();
    for one in slow {
        said.push(one.await.unwrap());
    }
    assert_eq!(said.iter().filter(|said| *said == "slow").count(), 2, "{said:?}");
    for pid in old {
        until_dead(pid).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn enough_requests_or_enough_time_replace_a_worker() {
    let bench = Bench::start(Config { max_requests: Some(5), ..watched() });
    bench.ready().await;
    let old = bench.pid();
    for _ in 0..5 {
        bench.get("/").await;
    }
    until_replaced(&bench, old).await;
    assert_eq!(causes(&bench, "it was given 5 requests (max_requests)"), [0, 1, 0, 0]);
    bench.finish().await;

    let bench = Bench::start(Config { max_age: Some(Duration::from_millis(700)), ..watched() });
    bench.ready().await;
    let old = bench.pid();
    bench.until("another process", |status| status.workers.iter().all(|w| w.pid != Some(old))).await;
    let [memory, requests, age, health] = causes(&bench, "it has run for ");
    assert!(age >= 1 && [memory, requests, health] == [0, 0, 0]);
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_whose_successor_fails_serves_on_if_it_is_well() {
    let bench = Bench::start(Config { max_requests: Some(3), ..watched() });
    bench.ready().await;
    let old = bench.pid();
    bench.get("/fail").await;
    bench.get("/").await;
    bench.get("/").await;
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    bench.until("nobody beside it", |status| status.workers.len() == 1).await;
    assert_eq!(bench.get("/").await, old.to_string());
    let error = bench.worker().last_error.unwrap();
    assert!(error.contains("exit code 1 before it was ready"), "{error}");
    bench.finish().await;
}

#[tokio::test]
async fn workers_are_replaced_for_their_size_one_after_the_other() {
    let bench = Bench::start(Config { workers: Workers::Number(3), max_requests: Some(1), ..watched() });
    bench.until("three ready", |s| s.workers.iter().filter(|w| w.state == "ready").count() == 3).await;
    let old: Vec<u32> = bench.backend.status().workers.iter().filter_map(|w| w.pid).collect();
    for _ in 0..3 {
        bench.get("/").await;
    }
    bench
        .until("all replaced, never two at a time", |status| {
            let starting = status.workers.iter().filter(|w| w.state == "starting").count();
            assert!(starting <= 1, "{status:#?}");
            status.workers.len() == 3
                && status
                    .workers
                    .iter()
                    .all(|w| w.state == "ready" && w.pid.is_some_and(|p| !old.contains(&p)))
        })
        .await;
    bench.until("they are counted", |_| replaced(&bench) == 3).await;
    bench.finish().await;
}

#[tokio::test]
async fn ready_takes_as_many_good_answers_in_a_row_as_asked_for() {
    let health = Health { ready_successes: 20, ..health_path("/health") };
    let bench = Bench::start(Config { health, ..config("weary.mjs") });
    bench.ready().await;
    assert_eq!(bench.get("/asked").await, "20");
    bench.finish().await;
}

#[tokio::test]
async fn a_build_that_is_broken_is_tried_ever_more_seldom() {
    let bench = Bench::start(Config {
        max_requests: Some(2),
        restart_delay: Duration::from_millis(400),
        restart_delay_max: Duration::from_secs(600),
        // As old as it can be: its age says nothing about its successors.
        stable_after: Duration::from_millis(1),
        ..watched()
    });
    bench.ready().await;
    bench.get("/fail").await;
    bench.get("/").await;
    let began = Instant::now();
    let mut tried = std::collections::BTreeSet::new();
    bench
        .until("five tries", |status| {
            tried.extend(status.workers.iter().skip(1).filter_map(|worker| worker.pid));
            tried.len() == 5
        })
        .await;
    // At least half of 0.4 + 0.8 + 1.6 + 3.2 seconds.
    assert!(began.elapsed() >= Duration::from_secs(3), "tried without pauses: {:?}", began.elapsed());
    bench.finish().await;
}

#[tokio::test]
async fn the_memory_of_what_a_worker_has_started_counts() {
    let bench = Bench::start(Config { memory_max_mb: Some(150), ..watched() });
    bench.ready().await;
    let old = bench.pid();
    bench.get("/fork?mb=150").await;
    until_replaced(&bench, old).await;
    bench.finish().await;
}

#[tokio::test]
async fn the_memory_that_is_shown_is_the_whole_groups() {
    let bench = Bench::start(watched());
    bench.ready().await;
    bench.get("/fork?mb=200").await;
    bench.until("its child's as well", |status| status.workers[0].memory_mb > Some(200)).await;
    bench.finish().await;
}

#[tokio::test]
async fn one_that_falls_ill_soon_after_each_start_is_replaced_ever_more_seldom_and_an_order_does_not_wait() {
    let ill = Config {
        env: BTreeMap::from([("ILL_AFTER".to_owned(), "1".to_owned())]),
        restart_delay: Duration::from_millis(400),
        restart_delay_max: Duration::from_secs(600),
        ..watched()
    };
    let bench = Bench::start(ill);
    bench.ready().await;
    let (began, mut seen) = (Instant::now(), std::collections::BTreeSet::new());
    bench
        .until("five lives", |status| {
            seen.extend(status.workers.iter().filter_map(|worker| worker.pid));
            seen.len() == 5
        })
        .await;
    // The first is replaced at once; then at least half of 0.4 + 0.8 + 1.6 seconds.
    assert!(began.elapsed() >= Duration::from_millis(1400), "replaced without pauses: {:?}", began.elapsed());
    bench.until("it is seen while it waits", |status| status.workers[0].state == "unwell").await;
    tokio::time::timeout(PATIENCE, bench.reload_to(watched())).await.expect("no pause").unwrap();
    assert_eq!(bench.states(), ["ready"]);
    bench.finish().await;
}
