//! How workers are let go: those that a shell has started, those with requests in flight, those that hear nothing.

use super::*;

/// `sh -c` with a program behind it: a signal to the group ends the shell before the program has said goodbye.
fn behind_a_shell(tail: &str) -> Config {
    let words = program("polite.mjs");
    let line = format!("{} {}{tail}", words[0], words[1]);
    Config { command: vec!["sh".to_owned(), "-c".to_owned(), line], ..config("polite.mjs") }
}

fn said_goodbye(bench: &Bench) -> bool {
    bench.backend.output(None, 100).iter().any(|line| line.text == "goodbye")
}

#[tokio::test]
async fn a_program_behind_a_shell_has_its_grace_when_it_is_told_to_stop() {
    let bench = Bench::start(behind_a_shell("; true"));
    bench.ready().await;
    let node: u32 = bench.get("/").await.parse().unwrap();
    assert_ne!(node, bench.pid(), "the shell is in between, or this proves nothing");
    bench.backend.stop().await;
    assert!(said_goodbye(&bench), "{:?}", bench.backend.output(None, 100));
    assert!(!alive(node));
    bench.finish().await;
}

#[tokio::test]
async fn what_is_left_of_the_group_is_killed_after_the_grace() {
    let stubborn = Config {
        command: vec![
            "sh".to_owned(),
            "-c".to_owned(),
            format!("{} & wait; sleep 600", program("stubborn.mjs").join(" ")),
        ],
        stop_grace: Duration::from_millis(400),
        ..config("stubborn.mjs")
    };
    let bench = Bench::start(stubborn);
    bench.ready().await;
    let children: Vec<u32> = serde_json::from_value(bench.json_at("/").await["children"].clone()).unwrap();
    bench.backend.stop().await;
    for pid in children {
        until_dead(pid).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_gentle_replacement_waits_longer_than_the_grace_for_requests_in_flight() {
    // Not asked often how it is: who has crashed would else be replaced for its health, whoever sees it first.
    let bench = Bench::start(Config {
        health: health_path("/health"),
        max_requests: Some(2),
        stop_grace: Duration::from_millis(100),
        ..config("weary.mjs")
    });
    bench.ready().await;
    let old = bench.pid();
    let (lease, held) = (bench.backend.roster().pick(&[]).unwrap(), bench.held());
    let slow = bench.shutdown.spawn(async move { get(lease, &held).await });
    bench.get("/").await;
    bench.until("another takes over", |status| status.workers[0].pid != Some(old)).await;
    assert!(alive(old));
    // The successor is watched over meanwhile: it must not look ready when it has gone.
    kill(bench.pid());
    bench.until("the crash is noticed", |status| status.workers[0].restarts == 1).await;
    // Longer than the grace.
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench.let_go();
    assert_eq!(slow.await.unwrap(), "slow", "cut after stop_grace");
    until_dead(old).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_drain_has_an_end_and_does_not_wait_for_what_has_none() {
    for lasting in [false, true] {
        let drain_timeout = Duration::from_millis(if lasting { 600_000 } else { 300 });
        let stop_grace = Duration::from_millis(100);
        let labelled = |label: &str| Config {
            env: BTreeMap::from([("LABEL".to_owned(), label.to_owned())]),
            drain_timeout,
            stop_grace,
            ..config("well.mjs")
        };
        let bench = Bench::start(labelled("old"));
        bench.ready().await;
        let (old, held) = (bench.pid(), bench.backend.roster().pick(&[]).unwrap());
        if lasting {
            held.lasts();
        }
        tokio::time::timeout(PATIENCE, bench.adopt(labelled("new"))).await.expect("an end").unwrap();
        assert!(!alive(old));
        drop(held);
        bench.finish().await;
    }
}

#[tokio::test]
async fn the_end_of_a_backend_does_not_wait_for_a_long_drain() {
    let labelled = |label: &str| Config {
        env: BTreeMap::from([("LABEL".to_owned(), label.to_owned())]),
        stop_grace: Duration::from_millis(100),
        ..config("well.mjs")
    };
    let bench = Bench::start(labelled("old"));
    bench.ready().await;
    let (old, held) = (bench.pid(), bench.backend.roster().pick(&[]).unwrap());
    let reload = bench.adopt(labelled("new"));
    let end = async {
        bench.until("old and new", |status| status.workers.iter().any(|one| one.state == "draining")).await;
        let generations: Vec<u64> = bench.backend.status().workers.iter().map(|one| one.generation).collect();
        assert_eq!(generations, [2, 1]);
        tokio::time::timeout(PATIENCE, bench.backend.stop()).await.expect("an end");
    };
    let (_answer, ()) = tokio::join!(reload, end);
    assert!(!alive(old));
    drop(held);
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_dies_while_its_successor_starts_is_out_at_once() {
    let bench = Bench::start(config("well.mjs"));
    bench.ready().await;
    let old = bench.pid();
    let reload = bench.adopt(Config { stop_grace: Duration::from_millis(100), ..config("never.mjs") });
    let crash = async {
        bench.until("a successor", |status| status.workers.len() == 2).await;
        kill(old);
        bench.until("it is seen", |status| status.workers[0].state == "ended").await;
        assert_eq!(bench.worker().pid, None);
        assert!(bench.backend.roster().pick(&[]).is_none());
        bench.backend.stop().await;
    };
    let (_answer, ()) = tokio::join!(reload, crash);
    bench.finish().await;
}

#[tokio::test]
async fn what_a_worker_has_detached_ends_with_it_when_it_is_told_to_stop() {
    let bench = Bench::start(Config { stop_grace: Duration::from_millis(500), ..config("detaches.mjs") });
    bench.ready().await;
    let children: Vec<u32> = serde_json::from_value(bench.json_at("/").await).unwrap();
    assert_eq!(children.iter().filter(|pid| alive(**pid)).count(), 2);
    bench.backend.stop().await;
    for pid in children {
        until_dead(pid).await;
    }
    bench.finish().await;
}
