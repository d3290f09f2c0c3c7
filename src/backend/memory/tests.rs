//! Memory of real processes: one that leads, its children, orphans and threads.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use super::*;

fn resident_bytes(pid: u32) -> Option<u64> {
    Some(resident_pages(&statm(pid)?)? * page_bytes())
}

#[test]
fn what_is_touched_is_counted() {
    let own = std::process::id();
    let before = resident_bytes(own).unwrap();
    let held = vec![1_u8; 64 * 1024 * 1024];
    let after = resident_bytes(own).unwrap();
    assert!(after >= before + 60 * 1024 * 1024, "{before} {after} {}", held.len());
    assert_eq!(resident_bytes(u32::MAX), None);
}

#[test]
fn a_group_is_all_its_processes() {
    let group = nix::unistd::getpgrp().as_raw().unsigned_abs();
    // Its leader has started us long ago, and perhaps through others.
    take_census();
    assert!(Memory::of_group(group).resident_bytes() >= resident_bytes(std::process::id()).unwrap() / 2);
}

#[test]
fn one_whom_no_known_process_has_started_is_counted_at_the_next_look() {
    let mut leader = Command::new("sh");
    // Its parent has ended by then.
    leader.args(["-c", "read go; (sleep 60 &); read go"]).stdin(Stdio::piped());
    let mut leader = leader.process_group(0).spawn().unwrap();
    let mut words = leader.stdin.take().unwrap();
    let mut memory = Memory::of_group(leader.id());
    take_census();
    memory.resident_bytes();
    assert!(memory.members.is_empty());
    words.write_all(b"go\n").unwrap();
    let orphan = loop {
        let members = process_group::members(leader.id());
        let orphan = members.iter().copied().find(|pid| *pid != leader.id());
        if let (2, Some(orphan)) = (members.len(), orphan)
            && !process_group::started_by(leader.id()).contains(&orphan)
        {
            break orphan;
        }
        std::thread::yield_now();
    };
    take_census();
    memory.resident_bytes();
    assert_eq!(memory.members, BTreeSet::from([orphan]));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(orphan).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    drop(words);
    leader.wait().unwrap();
}

#[test]
fn who_has_come_since_joins_the_list_once() {
    let before = Census::of_all();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let ids = before.newcomers().unwrap();
    assert!(ids.contains(&child.id()));
    let after = before.clone().joined_by(ids);
    let count = |census: &Census| census.seen.iter().filter(|seen| seen.pid == child.id()).count();
    assert_eq!((count(&before), count(&after)), (0, 1));
    assert!(after.newcomers().is_none_or(|ids| !ids.contains(&child.id())));
    assert!(after.looked > before.looked && after.taken == before.taken);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn threads_are_no_processes_and_ids_that_have_gone_round_are_not_guessed() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
    let thread = std::thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw().unsigned_abs()).unwrap();
        let _end = ended.recv();
    });
    let id = told.recv().unwrap();
    assert!(process_group::see(id).is_some(), "it looks like one");
    assert!(!process_group::is_process(id) && process_group::is_process(std::process::id()));
    drop(end);
    thread.join().unwrap();
    assert!(process_group::last_id().is_some_and(|id| id > 0));
    assert_eq!((ids_between(7, 9), ids_between(9, 9), ids_between(9, 7)), (Some(8..10), Some(10..10), None));
}

#[test]
fn a_child_is_counted_some_looks_later_and_one_that_has_gone_no_more() {
    let mut leader = Command::new("sh");
    leader.args(["-c", "read go; sleep 60 & read go; kill $!; wait; read go"]).stdin(Stdio::piped());
    let mut leader = leader.process_group(0).spawn().unwrap();
    let mut words = leader.stdin.take().unwrap();
    let until = |count| {
        while process_group::members(leader.id()).len() != count {
            std::thread::yield_now();
        }
    };
    let mut memory = Memory::of_group(leader.id());
    let alone = memory.resident_bytes();
    assert!(alone > 0 && memory.members.is_empty());
    words.write_all(b"go\n").unwrap();
    until(2);
    for _ in 0..CHILDREN_EVERY {
        memory.resident_bytes();
    }
    assert_eq!(memory.members.len(), 1);
    // A process that is just being made holds next to nothing.
    assert!((0..100_000).any(|_| memory.resident_bytes() > alone), "{alone}");
    words.write_all(b"go\n").unwrap();
    until(1);
    memory.resident_bytes();
    assert!(memory.members.is_empty());
    drop(words);
    leader.wait().unwrap();
    assert_eq!(memory.resident_bytes(), 0);
}
