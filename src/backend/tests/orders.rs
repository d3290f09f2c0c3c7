//! Orders to real Node programs: scale, stop, start, roll back, signal.

use super::*;

fn labelled(label: &str) -> Config {
    Config {
        env: BTreeMap::from([("LABEL".to_owned(), label.to_owned())]),
        health: health_path("/health"),
        ..config("well.mjs")
    }
}

impl Bench {
    async fn label(&self) -> String {
        self.json_at("/").await["env"]["LABEL"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn scaling_is_done_when_the_new_ones_are_ready_and_the_surplus_has_gone() {
    let bench = Bench::start(labelled("x"));
    bench.ready().await;
    bench.backend.scale(3).await.unwrap();
    assert_eq!(bench.states(), ["ready"; 3]);
    assert_eq!(bench.backend.roster().slots(), 3);
    assert_eq!(bench.backend.status().wanted, 3);
    let first = bench.pid();
    bench.backend.scale(1).await.unwrap();
    assert_eq!((bench.states(), bench.pid()), (vec!["ready".to_owned()], first));

    // A reload keeps the number, a changed configuration has the last word.
    bench.backend.scale(2).await.unwrap();
    bench.reload().await.unwrap();
    assert_eq!(bench.states(), ["ready"; 2]);
    bench.adopt(labelled("y")).await.unwrap();
    assert_eq!(bench.states(), ["ready"]);
    for workers in [0, 1025] {
        let error = bench.backend.scale(workers).await.unwrap_err().to_string();
        assert!(error.contains("from 1 to 1024"), "{error}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn newcomers_that_do_not_get_ready_go_again() {
    let mut config = labelled("x");
    config.env.insert("FAIL_WORKER".to_owned(), "api/1".to_owned());
    let bench = Bench::start(config);
    bench.ready().await;
    let pid = bench.pid();
    let error = bench.backend.scale(2).await.unwrap_err().to_string();
    assert!(error.contains("worker api/1 fails on purpose"), "{error}");
    assert_eq!((bench.states(), bench.pid()), (vec!["ready".to_owned()], pid));
    assert_eq!(bench.backend.status().wanted, 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_stopped_backend_has_no_process_and_starts_again_with_its_output_kept() {
    let bench = Bench::start(labelled("x"));
    bench.ready().await;
    let pid = bench.pid();
    bench.backend.halt().await.unwrap();
    assert!(!alive(pid) && bench.backend.roster().is_stopped());
    assert!(bench.backend.status().stopped && bench.states() == ["finished"]);
    assert!(matches!(bench.backend.signal(Signal::SIGUSR2, None), Err(BackendError::NoProcess { .. })));
    // Neither a changed configuration nor a number starts it, but both count.
    bench.adopt(labelled("y")).await.unwrap();
    bench.backend.scale(2).await.unwrap();
    assert!(bench.backend.roster().pick(&[]).is_none());

    bench.backend.resume().await.unwrap();
    assert_eq!((bench.states(), bench.label().await), (vec!["ready".to_owned(); 2], "y".to_owned()));
    assert!(!bench.backend.roster().is_stopped());
    let output = bench.backend.output(Some("api/0"), 100);
    assert!(output.iter().any(|line| line.pid == pid && line.text == "bye"), "{output:?}");
    bench.backend.resume().await.unwrap();
    bench.finish().await;
}

#[tokio::test]
async fn rollback_goes_to_the_generation_before_or_to_the_one_named() {
    let bench = Bench::start(labelled("one"));
    bench.ready().await;
    let error = bench.backend.rollback(None).await.unwrap_err().to_string();
    assert!(error.contains("no earlier generation"), "{error}");
    for label in ["two", "three"] {
        bench.adopt(labelled(label)).await.unwrap();
    }
    bench.backend.rollback(None).await.unwrap();
    assert_eq!((bench.label().await.as_str(), bench.backend.status().generation), ("two", 2));
    bench.backend.rollback(None).await.unwrap();
    assert_eq!((bench.label().await.as_str(), bench.backend.status().generation), ("one", 1));

    // A crash starts the generation that is in force, and a reload is the configuration's word.
    kill(bench.pid());
    bench
        .until("another life", |status| status.workers[0].restarts == 1 && status.workers[0].state == "ready")
        .await;
    assert_eq!(bench.label().await, "one");
    bench.backend.rollback(Some(3)).await.unwrap();
    assert_eq!(bench.label().await, "three");
    let error = bench.backend.rollback(Some(9)).await.unwrap_err().to_string();
    assert!(error.contains("no generation 9") && error.contains("kept are: 1, 2"), "{error}");
    bench.backend.rollback(Some(1)).await.unwrap();
    bench.reload().await.unwrap();
    assert_eq!((bench.label().await.as_str(), bench.backend.status().generation), ("three", 4));
    let numbers: Vec<_> = bench.backend.status().generations.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 4], "the third says the same");
    bench.finish().await;
}

#[tokio::test]
async fn a_rollback_to_a_directory_that_is_gone_is_refused_and_changes_nothing() {
    let releases = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| releases.path().join(name));
    std::fs::create_dir(&first).unwrap();
    std::fs::create_dir(&second).unwrap();
    let bench = Bench::start(Config { directory: Some(first.clone()), ..labelled("one") });
    bench.ready().await;
    bench.adopt(Config { directory: Some(second), ..labelled("two") }).await.unwrap();
    std::fs::remove_dir(&first).unwrap();
    let error = bench.backend.rollback(None).await.unwrap_err();
    assert!(matches!(error, BackendError::GenerationGone { number: 1, .. }), "{error}");
    assert_eq!((bench.label().await.as_str(), bench.backend.status().generation), ("two", 2));
    let known: Vec<_> = bench.backend.status().generations.iter().map(|one| one.number).collect();
    assert_eq!(known, [2], "what is gone is no way back");
    bench.finish().await;
}

#[tokio::test]
async fn a_signal_reaches_the_process_that_was_meant() {
    let bench = Bench::start(Config { workers: Workers::Number(2), ..labelled("x") });
    bench.until("both ready", |status| status.workers.iter().all(|worker| worker.state == "ready")).await;
    assert_eq!(bench.backend.signal(Signal::SIGWINCH, None).unwrap(), 2);
    let first = bench.pid();
    assert_eq!(bench.backend.signal(Signal::SIGKILL, Some("api/1")).unwrap(), 1);
    bench.until("a restart", |status| status.workers[1].restarts == 1).await;
    assert_eq!(bench.pid(), first);
    bench.until("both ready", |status| status.workers.iter().all(|worker| worker.state == "ready")).await;
    bench.finish().await;
}

#[tokio::test]
async fn the_surplus_finishes_its_requests_however_short_the_grace_is() {
    let hasty = Config { stop_grace: Duration::from_millis(200), ..config("weary.mjs") };
    let bench = Bench::start(Config { workers: Workers::Number(2), ..hasty });
    bench.until("two ready", |s| s.workers.iter().filter(|w| w.state == "ready").count() == 2).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let lease = bench.backend.roster().pick(&[]).unwrap();
        slow.push(bench.shutdown.spawn(get(lease, "/slow?ms=2000")));
    }
    bench.until("each has one", |s| s.workers.iter().all(|w| w.in_flight == 1)).await;
    bench.backend.scale(1).await.unwrap();
    assert_eq!(bench.backend.status().workers.len(), 1);
    for one in slow {
        assert_eq!(one.await.unwrap(), "slow");
    }
    bench.finish().await;
}

#[tokio::test]
async fn the_end_waits_for_a_surplus_no_longer_than_the_grace() {
    let hasty = Config { stop_grace: Duration::from_millis(200), ..config("weary.mjs") };
    let bench = Bench::start(Config { workers: Workers::Number(2), ..hasty });
    bench.until("two ready", |s| s.workers.iter().filter(|w| w.state == "ready").count() == 2).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let lease = bench.backend.roster().pick(&[]).unwrap();
        slow.push(bench.shutdown.spawn(get(lease, "/slow?ms=600000")));
    }
    bench.until("each has one", |s| s.workers.iter().all(|w| w.in_flight == 1)).await;
    let ended = async {
        bench.until("one drains", |s| s.workers.iter().any(|w| w.state == "draining")).await;
        bench.backend.stop().await;
    };
    let (scaled, ()) = tokio::join!(bench.backend.scale(1), ended);
    drop(scaled);
    slow.iter().for_each(tokio::task::JoinHandle::abort);
    bench.finish().await;
}

#[tokio::test]
async fn a_surplus_that_still_has_requests_holds_up_no_other_order_and_ends_with_the_backend() {
    let patient = |label: &str| Config {
        workers: Workers::Number(2),
        drain_timeout: 4 * PATIENCE,
        stop_grace: Duration::from_millis(200),
        ..labelled(label)
    };
    let bench = Bench::start(patient("x"));
    let all_ready =
        |status: &BackendStatus| status.workers.iter().filter(|w| w.state == "ready").count() == 2;
    bench.until("two ready", all_ready).await;
    // One on each, and neither ends.
    let endless = [(); 2].map(|()| bench.backend.roster().pick(&[]).unwrap());
    let surplus = bench.backend.status().workers[1].pid.unwrap();
    let drains = |status: &BackendStatus| {
        status.workers.iter().any(|w| w.state == "draining" && w.pid == Some(surplus) && w.in_flight == 1)
    };
    let mut scaling = Box::pin(bench.backend.scale(1));
    tokio::select! {
        done = &mut scaling => panic!("it was to wait for the request: {done:?}"),
        () = bench.until("it drains", drains) => {}
    }
    assert_eq!(bench.states(), ["ready", "draining"]);
    let orders = async {
        bench.backend.scale(2).await.unwrap();
        assert_eq!(bench.states(), ["ready", "ready", "draining"], "its place is taken beside it");
        bench.backend.restart().await.unwrap();
        bench.adopt(patient("y")).await.unwrap();
        assert_eq!((bench.label().await.as_str(), bench.label().await.as_str()), ("y", "y"));
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(scaling, orders) })
        .await
        .expect("no order waits for it")
        .0
        .unwrap();
    let status = bench.backend.status();
    assert!(drains(&status) && status.workers.len() == 3, "{status:#?}");
    // It has no more than the grace once no workers are wanted.
    tokio::time::timeout(PATIENCE, bench.backend.halt()).await.expect("an end").unwrap();
    assert!(!alive(surplus));
    assert_eq!(bench.states(), ["finished"; 2]);
    drop(endless);
    bench.finish().await;
}

#[tokio::test]
async fn a_way_back_does_not_wait_for_those_that_were_too_many() {
    let patient = |label: &str, workers| Config {
        workers: Workers::Number(workers),
        drain_timeout: 4 * PATIENCE,
        stop_grace: Duration::from_millis(200),
        ..labelled(label)
    };
    let bench = Bench::start(patient("one", 1));
    bench.ready().await;
    bench.adopt(patient("two", 5)).await.unwrap();
    let endless = [(); 5].map(|()| bench.backend.roster().pick(&[]).unwrap());
    let four_drain =
        |status: &BackendStatus| status.workers.iter().filter(|w| w.state == "draining").count() == 4;
    let mut scaling = Box::pin(bench.backend.scale(1));
    tokio::select! {
        done = &mut scaling => panic!("it was to wait for the requests: {done:?}"),
        () = bench.until("the surplus drains", four_drain) => {}
    }
    // It waits for the one that it replaces, but not before it does.
    let mut orders = Box::pin(async { tokio::join!(scaling, bench.backend.rollback(None)) });
    tokio::select! {
        done = &mut orders => panic!("its own worker has a request: {done:?}"),
        () = bench.until("it goes back", |status| status.generation == 1) => {}
    }
    assert_eq!(bench.label().await, "one");
    drop(endless);
    let (scaled, back) = orders.await;
    scaled.unwrap();
    back.unwrap();
    bench.finish().await;
}
