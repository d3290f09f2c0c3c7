//! Rolling reloads of real Node programs: the roster is never empty.

use super::*;

fn labelled(label: &str) -> Config {
    Config {
        env: BTreeMap::from([("LABEL".to_owned(), label.to_owned())]),
        health: health_path("/health"),
        ..config("well.mjs")
    }
}

async fn labels(bench: &Bench) -> Vec<String> {
    let workers = bench.backend.status().workers.len();
    let mut labels = Vec::new();
    // Idle workers are picked in turn: as many picks as workers see each once.
    for _ in 0..workers {
        labels.push(bench.json_at("/").await["env"]["LABEL"].as_str().unwrap().to_owned());
    }
    labels
}

#[tokio::test]
async fn reload_swaps_without_a_moment_without_workers() {
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    let (old_pid, roster) = (bench.pid(), bench.backend.roster());
    let slow = roster.pick(&[]).unwrap();
    let old_key = slow.key();
    let mut most = 0;
    let watching = async {
        loop {
            assert!(roster.pick(&[]).is_some(), "no worker during the reload");
            most = most.max(bench.backend.status().workers.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reload = async { tokio::join!(bench.adopt(labelled("new")), get(slow, "/slow?ms=1500")) };
    let (reloaded, answer) = tokio::select! {
        done = reload => done,
        () = watching => unreachable!("it watches for ever"),
    };
    reloaded.unwrap();
    assert_eq!(answer, "slow", "the request in flight on the old worker");
    assert_eq!(most, 2, "old and new are seen side by side");
    assert!(!alive(old_pid), "reload is done when the old one is gone");
    assert_ne!(roster.pick(&[]).unwrap().key(), old_key);
    assert_eq!(labels(&bench).await, ["new"]);
    assert_eq!(bench.worker().restarts, 0);
    bench.finish().await;
}

#[tokio::test]
async fn long_requests_hold_up_neither_the_other_slots_nor_the_way_back() {
    let patient = |label: &str| Config {
        workers: Workers::Number(2),
        drain_timeout: 4 * PATIENCE,
        stop_grace: Duration::from_millis(200),
        ..labelled(label)
    };
    let bench = Bench::start(patient("good"));
    let ready = |status: &BackendStatus, generation| {
        status.workers.iter().filter(|one| one.state == "ready" && one.generation == generation).count()
    };
    bench.until("two ready", |status| ready(status, 1) == 2).await;
    // One on each, and neither ends.
    let endless = [(); 2].map(|()| bench.backend.roster().pick(&[]).unwrap());
    assert_ne!(endless[0].key(), endless[1].key());
    let mut reload = Box::pin(bench.adopt(patient("bad")));
    tokio::select! {
        done = &mut reload => panic!("it was to wait for the requests: {done:?}"),
        () = bench.until("both are replaced", |status| ready(status, 2) == 2) => {}
    }
    tokio::time::timeout(PATIENCE, async { tokio::join!(bench.backend.rollback(None), reload) })
        .await
        .map(|(back, reloaded)| (back.unwrap(), reloaded.unwrap()))
        .expect("neither waits for those that were replaced");
    assert_eq!(ready(&bench.backend.status(), 1), 2);
    let left = bench.backend.status().workers.iter().filter(|one| one.state == "draining").count();
    assert_eq!(left, 2, "{:#?}", bench.backend.status());
    drop(endless);
    bench.until("they have gone", |status| status.workers.len() == 2).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_broken_build_leaves_the_old_worker_serving() {
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    let pid = bench.pid();
    let error = bench.adopt(config("exits.mjs")).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BackendError::NotReady { .. }), "{text}");
    assert!(text.contains("worker api/0 is not ready: it ended with exit code 3"), "{text}");
    assert!(text.contains("\n  | Error: Cannot find module \"./missing.js\""), "{text}");
    assert_eq!((bench.pid(), bench.worker().state.as_str()), (pid, "ready"));
    assert_eq!(labels(&bench).await, ["old"]);

    // And a crash afterwards starts the old generation, not the broken one.
    kill(pid);
    bench
        .until("another life", |status| status.workers[0].restarts == 1 && status.workers[0].state == "ready")
        .await;
    assert_eq!(labels(&bench).await, ["old"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_build_that_breaks_in_one_slot_is_taken_back_in_all() {
    let bench = Bench::start(Config { workers: Workers::Number(2), ..labelled("old") });
    bench.until("both ready", |status| status.workers.iter().all(|worker| worker.state == "ready")).await;
    let mut broken = Config { workers: Workers::Number(2), ..labelled("new") };
    broken.env.insert("FAIL_WORKER".to_owned(), "api/1".to_owned());
    let text = bench.adopt(broken).await.unwrap_err().to_string();
    assert!(text.contains("worker api/1") && text.contains("worker api/1 fails on purpose"), "{text}");
    assert_eq!(labels(&bench).await, ["old", "old"]);
    bench.finish().await;
}

#[tokio::test]
async fn reload_resolves_the_directory_anew_and_a_crash_does_not() {
    let link = tempfile::tempdir().unwrap();
    let release = |name: &str| {
        let directory = link.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        directory.canonicalize().unwrap()
    };
    let (first, second) = (release("first"), release("second"));
    let current = link.path().join("current");
    std::os::unix::fs::symlink(&first, &current).unwrap();
    let bench = Bench::start(Config { directory: Some(current.clone()), ..labelled("x") });
    bench.ready().await;
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&second, &current).unwrap();

    kill(bench.pid());
    bench
        .until("another life", |status| status.workers[0].restarts == 1 && status.workers[0].state == "ready")
        .await;
    assert_eq!(bench.json_at("/").await["directory"], first.display().to_string());
    bench.reload().await.unwrap();
    assert_eq!(bench.json_at("/").await["directory"], second.display().to_string());
    bench.finish().await;
}

#[tokio::test]
async fn reload_brings_a_crash_loop_back_to_life() {
    let bench = Bench::start(Config {
        restart_delay: Duration::from_secs(600),
        restart_delay_max: Duration::from_secs(600),
        ..config("exits.mjs")
    });
    bench.until("back-off", |status| status.workers[0].state == "back-off").await;
    bench.adopt(labelled("mended")).await.unwrap();
    assert_eq!(labels(&bench).await, ["mended"]);
    bench.finish().await;
}

#[tokio::test]
async fn reload_changes_the_number_of_workers() {
    let bench = Bench::start(labelled("one"));
    bench.ready().await;
    bench.adopt(Config { workers: Workers::Number(3), ..labelled("three") }).await.unwrap();
    bench
        .until("three ready", |status| {
            status.workers.len() == 3 && status.workers.iter().all(|worker| worker.state == "ready")
        })
        .await;
    assert_eq!(labels(&bench).await, ["three"; 3]);
    bench.adopt(labelled("one")).await.unwrap();
    assert_eq!(bench.backend.status().workers.len(), 1);
    assert_eq!(labels(&bench).await, ["one"]);
    bench.finish().await;
}

#[tokio::test]
async fn restart_starts_every_worker_again() {
    let bench = Bench::start(Config { workers: Workers::Number(2), ..labelled("x") });
    bench.until("both ready", |status| status.workers.iter().all(|worker| worker.state == "ready")).await;
    let pids = |bench: &Bench| -> Vec<_> {
        bench.backend.status().workers.iter().map(|worker| worker.pid).collect()
    };
    let before = pids(&bench);
    bench.backend.restart().await.unwrap();
    let after = pids(&bench);
    assert!(after.iter().all(|pid| pid.is_some() && !before.contains(pid)), "{before:?} → {after:?}");
    bench.finish().await;
}

#[tokio::test]
async fn stop_ends_a_reload_that_is_under_way_and_refuses_those_after_it() {
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    let (reloaded, ()) = tokio::join!(bench.adopt(config("never.mjs")), async {
        bench.until("a newcomer", |status| status.workers.len() == 2).await;
        bench.backend.stop().await;
    });
    assert!(matches!(reloaded, Err(BackendError::Stopping { .. })), "{reloaded:?}");
    let late = bench.reload().await;
    assert!(matches!(late, Err(BackendError::Stopping { .. })), "{late:?}");
    bench.finish().await;
}

#[tokio::test]
async fn old_and_new_never_have_the_same_instance_and_the_environment_file_is_read_anew() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "LABEL=file\nSECRET=first\n").unwrap();
    let with_file = Config { env_file: Some(file.path().to_owned()), ..labelled("env wins") };
    let bench = Bench::start(with_file);
    bench.ready().await;
    let env = |seen: serde_json::Value| {
        ["NODE_APP_INSTANCE", "LABEL", "SECRET"].map(|name| seen["env"][name].as_str().unwrap().to_owned())
    };
    assert_eq!(env(bench.json_at("/").await), ["0", "env wins", "first"]);

    std::fs::write(file.path(), "SECRET=second\n").unwrap();
    bench.reload().await.unwrap();
    assert_eq!(env(bench.json_at("/").await), ["1", "env wins", "second"]);

    std::fs::write(file.path(), "SECRET=hunter2 and more\n").unwrap();
    let error = bench.reload().await.unwrap_err().to_string();
    assert!(error.contains("line 1 cannot be read") && !error.contains("hunter2"), "{error}");
    assert_eq!(env(bench.json_at("/").await), ["1", "env wins", "second"]);
    bench.adopt(labelled("plain")).await.unwrap();
    assert_eq!(bench.json_at("/").await["env"]["NODE_APP_INSTANCE"], "0");
    bench.finish().await;
}

#[tokio::test]
async fn what_the_configuration_leads_to_rolls_the_workers_and_nothing_else_does() {
    let place = tempfile::tempdir().unwrap();
    let (file, current) = (place.path().join("env"), place.path().join("current"));
    for release in ["one", "two"] {
        std::fs::create_dir(place.path().join(release)).unwrap();
    }
    std::os::unix::fs::symlink("one", &current).unwrap();
    std::fs::write(&file, "SECRET=first\n").unwrap();
    let config =
        Config { env_file: Some(file.clone()), directory: Some(current.clone()), ..labelled("same") };
    let bench = Bench::start(config.clone());
    bench.ready().await;
    let first = bench.pid();
    bench.adopt(config.clone()).await.unwrap();
    assert_eq!((bench.pid(), bench.backend.status().generation), (first, 1), "nothing has changed");

    std::fs::write(&file, "SECRET=second\n").unwrap();
    bench.adopt(config.clone()).await.unwrap();
    assert_eq!(bench.json_at("/").await["env"]["SECRET"], "second");

    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("two", &current).unwrap();
    bench.adopt(config.clone()).await.unwrap();
    assert!(bench.json_at("/").await["directory"].as_str().unwrap().ends_with("/two"));

    // A rollback is not undone by a reload that is about something else.
    bench.backend.rollback(Some(1)).await.unwrap();
    bench.adopt(config).await.unwrap();
    assert_eq!(bench.json_at("/").await["env"]["SECRET"], "first");
    bench.finish().await;
}

#[tokio::test]
async fn a_slot_that_is_added_and_fails_leaves_everything_as_it_was() {
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    let mut broken = Config { workers: Workers::Number(2), ..labelled("new") };
    broken.env.insert("FAIL_WORKER".to_owned(), "api/1".to_owned());
    let text = bench.adopt(broken).await.unwrap_err().to_string();
    assert!(text.contains("worker api/1 fails on purpose"), "{text}");
    let status = bench.backend.status();
    assert_eq!((status.wanted, status.generation, status.workers.len()), (1, 1, 1), "{status:#?}");
    assert_eq!(labels(&bench).await, ["old"]);
    bench.finish().await;
}

#[tokio::test]
async fn an_order_that_would_start_a_stopped_backend_and_fails_leaves_it_stopped_as_it_was() {
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    bench.backend.halt().await.unwrap();
    let error = bench.reload_to(config("exits.mjs")).await.unwrap_err();
    assert!(matches!(error, BackendError::NotReady { .. }), "{error}");
    let status = bench.backend.status();
    assert!(status.stopped && status.generation == 1, "{status:#?}");
    assert!(bench.backend.roster().is_stopped());
    bench.backend.resume().await.unwrap();
    assert_eq!(labels(&bench).await, ["old"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_reload_waits_for_room_beside_two_old_generations_and_lets_the_way_back_pass() {
    let patient = |label: &str| Config {
        drain_timeout: 4 * PATIENCE,
        stop_grace: Duration::from_millis(200),
        ..labelled(label)
    };
    let bench = Bench::start(patient("one"));
    bench.ready().await;
    let order = |label| bench.backend.reload(patient(label));
    let draining = |status: &BackendStatus| status.workers.iter().filter(|w| w.state == "draining").count();
    let mut endless = Vec::new();
    for label in ["two", "three"] {
        endless.push(bench.backend.roster().pick(&[]).unwrap());
        drop(order(label).await.unwrap());
    }
    assert_eq!(draining(&bench.backend.status()), 2);

    let mut fourth = Box::pin(order("four"));
    let told = |status: &BackendStatus| {
        let why = status.held_up.as_deref();
        why.is_some_and(|why| why.starts_with("2 workers that were replaced before still finish"))
    };
    tokio::select! {
        done = &mut fourth => panic!("it was to wait: {done:?}"),
        () = bench.until("what it waits for", told) => {}
    }
    assert_eq!(labels(&bench).await[0], "three");
    let (fourth, back) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(fourth, bench.backend.rollback(None)) })
            .await
            .expect("the way back does not wait");
    back.unwrap();
    assert!(matches!(fourth, Err(BackendError::GaveWay { .. })), "{fourth:?}");
    assert_eq!((labels(&bench).await[0].as_str(), bench.backend.status().held_up), ("two", None));

    let mut fifth = Box::pin(order("five"));
    tokio::select! {
        done = &mut fifth => panic!("it was to wait: {done:?}"),
        () = bench.until("what it waits for", told) => {}
    }
    drop(endless.pop());
    fifth.await.unwrap().over().await;
    let status = bench.backend.status();
    assert_eq!((labels(&bench).await[0].as_str(), draining(&status)), ("five", 1), "{status:#?}");
    drop(endless);
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_does_not_come_up_is_replaced_at_once_however_many_drain() {
    let patient = |label: &str| Config {
        drain_timeout: 4 * PATIENCE,
        stop_grace: Duration::from_millis(200),
        restart_delay: Duration::from_secs(600),
        restart_delay_max: Duration::from_secs(600),
        ..labelled(label)
    };
    let bench = Bench::start(patient("one"));
    bench.ready().await;
    let mut endless = Vec::new();
    for label in ["two", "three"] {
        endless.push(bench.backend.roster().pick(&[]).unwrap());
        drop(bench.backend.reload(patient(label)).await.unwrap());
    }
    kill(bench.pid());
    bench.until("it is down", |status| status.workers[0].state == "back-off").await;
    let mended = tokio::time::timeout(PATIENCE, bench.backend.reload(patient("four"))).await;
    drop(mended.expect("there is nobody to be replaced").unwrap());
    assert_eq!(bench.states(), ["ready", "draining", "draining"]);
    drop(endless);
    bench.finish().await;
}

#[tokio::test]
async fn an_order_that_fails_leaves_the_log_files_of_the_next_one_alone() {
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    let logs = bench.directory.path().join("logs");
    let log = Log { directory: Some(logs.clone()), ..Log::default() };
    let (failed, adopted) =
        tokio::join!(bench.reload_to(config("exits.mjs")), bench.adopt(Config { log, ..labelled("new") }));
    assert!(matches!(failed, Err(BackendError::NotReady { .. })), "{failed:?}");
    adopted.unwrap();
    // Then all is in the file.
    bench.backend.stop().await;
    let written = std::fs::read_to_string(logs.join("api.log")).unwrap();
    assert!(written.contains("listening, new"), "{written}");
    bench.finish().await;
}
