//! Who stops a backend, or goes back, waits for nothing that is under way: what hangs may be what they are to undo.

use super::*;

/// A build of two workers, which waits for a newcomer as long as nobody breaks it off.
fn patient(label: &str) -> Config {
    Config {
        env: BTreeMap::from([("LABEL".to_owned(), label.to_owned())]),
        health: health_path("/health"),
        workers: Workers::Number(2),
        ready_timeout: 20 * PATIENCE,
        ..config("well.mjs")
    }
}

/// The same, but for the worker that hangs.
fn hanging(label: &str, worker: &str) -> Config {
    let mut config = patient(label);
    config.env.insert("HANG_WORKER".to_owned(), worker.to_owned());
    config
}

async fn all_ready(bench: &Bench) {
    bench.until("all ready", |s| s.workers.iter().all(|w| w.state == "ready")).await;
}

/// Who serves: each answers once.
async fn labels(bench: &Bench) -> [String; 2] {
    let mut labels = [String::new(), String::new()];
    for label in &mut labels {
        *label = bench.json_at("/").await["env"]["LABEL"].as_str().unwrap().to_owned();
    }
    labels
}

/// Give the first order, and the other one when that hangs; how the first one ends.
async fn broken_off(
    bench: &Bench,
    first: impl Future<Output = Result<(), BackendError>>,
    other: impl Future<Output = Result<(), BackendError>>,
) -> BackendError {
    let then = async {
        bench
            .until("it hangs", |status| {
                let mut hangs = status.workers.iter().filter(|w| w.name == "api/1");
                hangs.any(|w| w.state == "starting" && w.pid.is_some())
                    && status.workers.iter().any(|w| w.name == "api/0" && w.state == "ready")
            })
            .await;
        other.await.unwrap();
    };
    let (first, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(first, then) })
        .await
        .expect("neither waits for what hangs");
    first.unwrap_err()
}

#[tokio::test]
async fn a_stop_breaks_off_a_roll_that_hangs_and_the_build_before_starts_again() {
    let bench = Bench::start(patient("old"));
    all_ready(&bench).await;
    let reload = bench.adopt(hanging("new", "api/1"));
    let error = broken_off(&bench, reload, bench.backend.halt()).await;
    assert!(matches!(error, BackendError::BrokenOff { .. }), "{error}");
    assert!(bench.backend.status().stopped);
    bench.backend.resume().await.unwrap();
    assert_eq!(
        (labels(&bench).await, bench.backend.status().generation),
        (["old", "old"].map(Into::into), 1)
    );
    bench.finish().await;
}

#[tokio::test]
async fn a_rollback_breaks_off_a_roll_that_hangs_and_is_carried_out_in_all_slots() {
    let bench = Bench::start(patient("one"));
    all_ready(&bench).await;
    bench.adopt(patient("two")).await.unwrap();
    let reload = bench.adopt(hanging("three", "api/1"));
    let error = broken_off(&bench, reload, bench.backend.rollback(None)).await;
    assert!(matches!(error, BackendError::BrokenOff { .. }), "{error}");
    assert_eq!(
        (labels(&bench).await, bench.backend.status().generation),
        (["one", "one"].map(Into::into), 1)
    );
    assert_eq!(bench.states(), ["ready", "ready"], "the newcomer that hung is gone");
    bench.finish().await;
}

#[tokio::test]
async fn a_stop_breaks_off_a_start_and_newcomers_that_hang() {
    let bench = Bench::start(patient("old"));
    all_ready(&bench).await;
    bench.backend.halt().await.unwrap();
    let error = broken_off(&bench, bench.reload_to(hanging("new", "api/1")), bench.backend.halt()).await;
    assert!(matches!(error, BackendError::BrokenOff { .. }), "{error}");
    assert!(bench.backend.status().stopped && bench.states() == ["finished"; 2]);
    bench.backend.resume().await.unwrap();
    assert_eq!(labels(&bench).await, ["old", "old"]);

    bench.reload_to(Config { workers: Workers::Number(1), ..hanging("one", "api/1") }).await.unwrap();
    let error = broken_off(&bench, bench.backend.scale(2), bench.backend.halt()).await;
    assert!(matches!(error, BackendError::BrokenOff { .. }), "{error}");
    assert!(bench.backend.status().stopped);
    bench.finish().await;
}

#[tokio::test]
async fn a_way_back_does_not_wait_for_a_successor_that_hangs() {
    let bench = Bench::start(Config { workers: Workers::Number(1), ..patient("well") });
    all_ready(&bench).await;
    let watch = Health { watch_interval: Duration::from_millis(30), ..health_path("/health") };
    let weary = Config { health: watch, ready_timeout: 20 * PATIENCE, ..config("weary.mjs") };
    bench.reload_to(weary).await.unwrap();
    bench.get("/hang").await;
    bench.get("/sick").await;
    let hangs = |status: &BackendStatus| {
        status.workers.iter().map(|w| w.state.as_str()).collect::<Vec<_>>() == ["unwell", "starting"]
    };
    bench.until("its successor hangs", hangs).await;
    tokio::time::timeout(PATIENCE, bench.backend.rollback(None)).await.expect("it does not wait").unwrap();
    assert_eq!(bench.states(), ["ready"]);
    assert_eq!(bench.json_at("/").await["env"]["LABEL"], "well");
    bench.finish().await;
}
