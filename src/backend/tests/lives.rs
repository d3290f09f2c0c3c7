//! Real Node programs through a whole life: start, ready, crash, stop.

use super::*;

#[tokio::test]
async fn a_worker_is_started_as_configured_and_leaves_nothing_behind() {
    let bench = Bench::start(Config {
        env: BTreeMap::from([("LABEL".to_owned(), "first".to_owned())]),
        health: health_path("/health"),
        ..config("well.mjs")
    });
    let mut follower = bench.backend.follow();
    bench.ready().await;
    let seen = bench.json_at("/").await;
    assert_eq!(seen["pid"], bench.pid());
    assert_eq!(
        Path::new(seen["directory"].as_str().unwrap()),
        bench.directory.path().canonicalize().unwrap()
    );
    let env = seen["env"].as_object().unwrap();
    let allowed = [
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "USER",
        "TMPDIR",
        "NODE_ENV",
        "LABEL",
        "GATEWAY_TICKETS",
        "PORT",
        "NODE_APP_INSTANCE",
        "GATEWAY_WORKER",
    ];
    assert!(env.keys().all(|name| allowed.contains(&name.as_str())), "{env:?}");
    assert_eq!((&env["NODE_ENV"], &env["LABEL"]), (&"production".into(), &"first".into()));
    assert_eq!((&env["NODE_APP_INSTANCE"], &env["GATEWAY_WORKER"]), (&"0".into(), &"api/0".into()));

    let heard = tokio::time::timeout(PATIENCE, follower.recv()).await.unwrap().unwrap();
    assert_eq!((heard.text.as_str(), heard.stream), ("listening, first", Stream::Stdout));
    assert_eq!(bench.backend.output(Some("api/0"), 10), [heard]);
    assert_eq!(bench.backend.output(Some("api/1"), 10), []);

    let worker = bench.worker();
    assert_eq!((worker.name.as_str(), worker.state.as_str(), worker.restarts), ("api/0", "ready", 0));
    assert_eq!(worker.last_error, None);
    bench.finish().await;
}

#[tokio::test]
async fn a_number_in_port_works_too() {
    let bench = Bench::start(Config { listen: Listen::Port, ..config("well.mjs") });
    bench.ready().await;
    let seen = bench.json_at("/").await;
    assert!(seen["env"]["PORT"].as_str().unwrap().parse::<u16>().is_ok(), "{seen}");
    bench.finish().await;
}

#[tokio::test]
async fn ready_means_that_the_health_path_answers_2xx() {
    let began = Instant::now();
    let bench = Bench::start(Config { health: health_path("/"), ..config("late.mjs") });
    bench.until("starting with a process", |status| status.workers[0].pid.is_some()).await;
    assert_eq!(bench.worker().state, "starting");
    assert!(bench.backend.roster().pick(&[]).is_none());
    bench.ready().await;
    assert!(began.elapsed() >= Duration::from_millis(800), "ready before it said so");
    assert_eq!(bench.worker().restarts, 0);
    bench.finish().await;
}

#[tokio::test]
async fn a_killed_worker_is_out_at_once_and_started_again() {
    let bench = Bench::start(config("well.mjs"));
    bench.ready().await;
    let (killed, key) = (bench.pid(), bench.backend.roster().pick(&[]).unwrap().key());
    kill(killed);
    bench
        .until("another process", |status| {
            let worker = &status.workers[0];
            worker.state == "ready" && worker.pid != Some(killed)
        })
        .await;
    let worker = bench.worker();
    assert_eq!(worker.restarts, 1);
    assert_eq!(worker.last_error.as_deref(), Some("it was ended by SIGKILL"));
    assert_ne!(bench.backend.roster().pick(&[]).unwrap().key(), key);
    assert_eq!(bench.json_at("/").await["pid"], worker.pid.unwrap());
    let label = BackendLabels { backend: "api".to_owned() };
    assert_eq!(bench.metrics.worker_restarts_total.get_or_create(&label).get(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn an_exception_is_shown_with_the_lines_it_left() {
    let bench = Bench::start(config("crashes.mjs"));
    bench.ready().await;
    let lease = bench.backend.roster().pick(&[]).unwrap();
    let Address::Unix(socket) = lease.address().clone() else { panic!("a Unix socket") };
    exchange(socket.connect().await.unwrap(), "/crash").await;
    bench.until("a second life", |status| status.workers[0].restarts == 1).await;
    let worker = bench.worker();
    assert_eq!(worker.last_error.as_deref(), Some("it ended with exit code 1"));
    assert!(worker.last_lines.iter().any(|line| line.contains("thrown on purpose")), "{worker:?}");
    drop(lease);
    bench.finish().await;
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_the_worker_nor_fills_the_memory() {
    let bench = Bench::start(Config {
        output_lines_max: 50,
        log: Log { lines_per_second_max: 5, ..Log::default() },
        ..config("floods.mjs")
    });
    bench.ready().await;
    let before: u64 = bench.get("/").await.parse().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after: u64 = bench.get("/").await.parse().unwrap();
    assert!(after > before + 1000, "it wrote {before}, then {after} lines: somebody makes it wait");
    bench.until("somebody is told", |status| status.workers[0].lines_dropped > 0).await;
    let lines = bench.backend.output(None, 10_000);
    assert!(lines.len() <= 50 && lines.iter().any(|line| line.text.contains("lines dropped")), "{lines:?}");
    bench.finish().await;
}

#[tokio::test]
async fn stop_waits_for_the_request_in_flight() {
    let bench = Bench::start(config("well.mjs"));
    bench.ready().await;
    let slow = bench.backend.roster().pick(&[]).unwrap();
    let (answer, ()) = tokio::join!(get(slow, "/slow?ms=600"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.backend.stop().await;
    });
    assert_eq!(answer, "slow");
    assert!(bench.backend.output(None, 10).iter().any(|line| line.text == "bye"), "it was asked politely");
    bench.finish().await;
}

#[tokio::test]
async fn whoever_ignores_sigterm_is_killed_after_the_grace_with_all_descendants() {
    let bench = Bench::start(Config { stop_grace: Duration::from_millis(400), ..config("stubborn.mjs") });
    bench.ready().await;
    let seen = bench.json_at("/").await;
    let mut pids: Vec<u32> = serde_json::from_value(seen["children"].clone()).unwrap();
    pids.push(bench.pid());
    assert_eq!(pids.iter().filter(|pid| alive(**pid)).count(), 3);
    let began = Instant::now();
    bench.backend.stop().await;
    assert!(began.elapsed() >= Duration::from_millis(400));
    for pid in pids {
        until_dead(pid).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn descendants_die_with_a_worker_that_crashes() {
    let bench = Bench::start(Config { stop_grace: Duration::from_millis(300), ..config("stubborn.mjs") });
    bench.ready().await;
    let children: Vec<u32> = serde_json::from_value(bench.json_at("/").await["children"].clone()).unwrap();
    kill(bench.pid());
    for pid in children {
        until_dead(pid).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn dropping_the_handle_ends_the_workers() {
    let bench = Bench::start(config("well.mjs"));
    bench.ready().await;
    let pid = bench.pid();
    let Bench { backend, shutdown, directory, .. } = bench;
    drop(backend);
    assert!(shutdown.drained(PATIENCE).await);
    assert!(!alive(pid));
    drop(directory);
}
