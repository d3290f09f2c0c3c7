//! How commands behave where people and scripts meet their ends: a reader that leaves, a full disk, Ctrl-C, and an order
//! that takes its time.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{NAVAJA, Output, TestGateway, eventually, running::workers};

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn a_follower_whose_reader_has_left_ends_well() {
    let gateway = TestGateway::builder().shops().worker("chatty.mjs").start();
    let say = || gateway.get("/say?stdout=a+line").origin(NAVAJA).send().is(200);
    say();
    let mut follower =
        gateway.site().command(&["logs", "-f"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(follower.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("api/0 stdout"), "{line}");
    let ended = eventually("it ends at the next lines", || {
        say();
        follower.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn an_answer_that_cannot_be_printed_is_no_success() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    for arguments in [&["status", "--json"][..], &["backend", "list"]] {
        let mut command = gateway.site().command(arguments);
        let output = command.stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
        Output::of(&output).fails(1).says(&["cannot write to standard output"]);
    }
    // A reader that has seen enough is none.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = gateway.site().command(&["backend", "list"]).stdout(writer).output().unwrap();
    assert_eq!(Output::of(&output).ok().stderr, "");
}

#[test]
fn an_order_that_takes_its_time_says_so_and_goes_on_when_its_command_is_interrupted() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    gateway.site().configure("[backend.api]\nready_timeout = \"1m\"\nenv.ECHO_READY_AFTER_MS = \"9000\"");
    let mut command = gateway.site().command(&["reload"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("\nstill waiting: api/0 starting for ") {
        assert_ne!(told.read_line(&mut seen).unwrap(), 0, "it has ended: {seen}");
    }
    assert!(seen.contains("api/0 starting (pid "), "{seen}");
    kill(pid(&child), Signal::SIGINT).unwrap();
    told.read_to_string(&mut seen).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{seen}");
    assert!(
        seen.contains("the gateway goes on with what it has begun\nhint: `gateway backend list`"),
        "{seen}"
    );
    let of_new = |worker: &serde_json::Value| worker["generation"] == 2 && worker["state"] == "ready";
    eventually("the order is carried out", || workers(&gateway.status()).all(of_new).then_some(()));
}

#[test]
fn tenants_of_the_file_are_announced_before_the_first_start() {
    let builder = || TestGateway::builder().worker("echo.mjs");
    let declared = builder().shops().site().cli(&["tenant", "list"]).ok();
    declared.says(&["there is no tenant yet", "hint: 2 in the configuration file come in"]);
    builder()
        .site()
        .cli(&["tenant", "list"])
        .ok()
        .says(&["there is no tenant yet", "gateway tenant add acme"]);
}
