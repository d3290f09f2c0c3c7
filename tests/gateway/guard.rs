//! A gateway that is killed: its workers hear of it, have a moment for what must not be lost, and none outlives it, nor
//! anybody whom they have started. Whoever else is killed with it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use crate::{HOST, NAVAJA, TestGateway, builder::worker_program, eventually, left_behind};

/// The guard of a gateway: who reads the other end of one of its pipes, under a name of its own.
fn guard_of(gateway: i32) -> Option<i32> {
    let pipes: Vec<PathBuf> = fs::read_dir(format!("/proc/{gateway}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .collect();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let named =
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "worker-guard\n");
        named && fs::read_link(format!("/proc/{pid}/fd/0")).is_ok_and(|input| pipes.contains(&input))
    })
}

/// It runs no more, whether somebody has seen to it or not.
fn has_ended(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn mourning() -> TestGateway {
    let gateway = TestGateway::builder().shops().worker("mourns.mjs").workers(2).start();
    assert_eq!(
        left_behind::processes(gateway.site().path()).len(),
        7,
        "gateway, two workers, two children each"
    );
    gateway
}

/// Kill it; what a worker has written of that is given back, when nobody is left.
fn told_after_kill(gateway: TestGateway) -> String {
    let workers: Vec<String> = gateway.worker_pids().iter().map(ToString::to_string).collect();
    let site = gateway.kill();
    let told = fs::read_to_string(site.path().join("disconnected")).expect("no worker heard of it");
    assert!(workers.contains(&told), "{told} is not of {workers:?}");
    told
}

#[test]
fn workers_hear_that_their_gateway_was_killed_and_nobody_outlives_it() {
    told_after_kill(mourning());
}

#[test]
fn workers_of_another_user_hear_of_it_too_and_are_ended_in_their_sandbox() {
    // Becoming another user takes root.
    let user = if geteuid().is_root() { "user = \"61234\"\ngroup = \"61234\"" } else { "" };
    let config = format!(
        "[backend.api]\ncommand = [\"node\", \"mourns.mjs\"]\nhosts = [{HOST:?}]\nstop_grace = \"1s\"\n{user}\n\
         [backend.api.health]\npath = \"/healthz\""
    );
    let site = TestGateway::builder().shops().config(&config).site();
    site.write("app/mourns.mjs", fs::read(worker_program("mourns.mjs")).unwrap());
    let (app, diary) = (site.path().join("app"), site.path().join("diary"));
    fs::create_dir(&diary).unwrap();
    for (path, mode) in [(site.path(), 0o711), (&diary, 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    site.configure(&format!(
        "backend.api.directory = {app:?}\nbackend.api.allow_write = [{diary:?}]\nbackend.api.env.TEST_SITE = {diary:?}"
    ));
    let gateway = site.start();
    let there = left_behind::processes(&diary);
    assert_eq!(there.len(), 3, "a worker and its two children: {there:?}");
    let site = gateway.kill();
    assert!(site.path().join("diary/disconnected").exists(), "the worker heard nothing");
}

#[test]
fn a_guard_that_is_killed_is_replaced_by_one_that_knows_everybody() {
    let gateway = mourning();
    for _ in 0..2 {
        let first = guard_of(gateway.pid()).expect("there is a guard");
        send(first, Signal::SIGKILL);
        eventually("another guard", || guard_of(gateway.pid()).filter(|guard| *guard != first));
    }
    gateway.get("/").origin(NAVAJA).send().is(200);
    // A worker that comes after it is known to it as well.
    gateway.cli(&["backend", "restart"]).ok();
    told_after_kill(gateway);
}

#[test]
fn a_guard_is_deaf_to_what_ends_services_and_ends_with_its_gateway() {
    let gateway = mourning();
    let guard = guard_of(gateway.pid()).expect("there is a guard");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        send(guard, signal);
    }
    gateway.cli(&["backend", "restart"]).ok();
    assert_eq!(guard_of(gateway.pid()), Some(guard));
    gateway.stop();
    eventually("it has ended", || has_ended(guard).then_some(()));
}

#[test]
fn a_program_that_takes_over_has_a_guard_of_its_own_and_the_other_one_ends() {
    let gateway = mourning();
    let first = guard_of(gateway.pid()).expect("there is a guard");
    gateway.cli(&["swap"]).ok();
    eventually("its workers are ready", || (gateway.worker_pids().len() == 2).then_some(()));
    assert_ne!(guard_of(gateway.pid()).expect("there is a guard"), first);
    eventually("the other one has ended", || has_ended(first).then_some(()));
    assert!(
        !gateway.site().path().join("disconnected").exists(),
        "workers that were ended in good order heard of it"
    );
    told_after_kill(gateway);
}

/// Who has left its worker's group is nobody's then: only the guard knew of it.
#[test]
fn no_group_of_a_worker_outlives_gateway_and_guard_that_are_killed_together() {
    let gateway = mourning();
    let guard = guard_of(gateway.pid()).expect("there is a guard");
    let strays: Vec<i32> = {
        let answer = |_| gateway.get("/").origin(NAVAJA).send().is(200).json()[0].as_i64().unwrap();
        (0..40).map(answer).map(|pid| i32::try_from(pid).unwrap()).collect()
    };
    // Held, so that it does not replace the guard: that is as if both died in the same moment.
    gateway.signal(Signal::SIGSTOP);
    send(guard, Signal::SIGKILL);
    gateway.signal(Signal::SIGKILL);
    let site = gateway.site();
    eventually("the workers and their groups are gone", || {
        let left = left_behind::processes(site.path());
        left.iter().all(|(pid, _)| strays.contains(pid)).then_some(())
    });
    for (stray, _) in left_behind::processes(site.path()) {
        send(stray, Signal::SIGKILL);
    }
    gateway.kill();
}
