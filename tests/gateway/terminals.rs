//! Whoever runs something as the workers' user on his own terminal keeps it to himself: they cannot type on it, and
//! Ctrl-C, prompts and exit codes work all the same. On real terminals, by the kernel's word.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, OutputFlags, tcgetattr},
    },
    unistd::{Pid, geteuid, ttyname},
};
use serde_json::Value;

use crate::{NAVAJA, Site, TestGateway, builder::worker_program, eventually};

/// What the kernel says about its terminal and its session, and what its standard streams are.
const SELF: &str = "
const fs = require('fs');
const stat = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
const streams = [0, 1, 2].map((fd) => fs.readlinkSync('/proc/self/fd/' + fd));
let tty = 'none';
try { fs.closeSync(fs.openSync('/dev/tty', 'r+')); tty = 'open'; } catch (error) { tty = error.code; }
const told = { session: +stat[3], terminal: +stat[4], streams, tty, uid: process.getuid(), pid: process.pid };
console.log(JSON.stringify({ ...told, columns: process.stdout.columns ?? null }));
";

/// An operator's terminal, with what is on it.
struct Desk {
    keys: File,
    theirs: std::os::fd::OwnedFd,
    shown: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Desk {
    fn new() -> Self {
        let size = Winsize { ws_row: 40, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let (sender, shown) = mpsc::sync_channel(1024);
        let mut screen = File::from(master.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { keys: File::from(master), theirs: slave, shown, text: String::new() }
    }

    fn name(&self) -> String {
        ttyname(self.theirs.as_fd()).unwrap().display().to_string()
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// A program whose controlling terminal this is; each of its standard streams is it, if so said.
    fn start(&self, site: &Site, streams: [bool; 3], words: &[&str]) -> Child {
        // What execs its last arguments is a name for this; `--ctty` takes standard input, and then gives it away.
        let swap = if streams[0] { "exec \"$@\"" } else { "exec \"$@\" < /dev/null" };
        let mut command = site.command_through(&["setsid", "--ctty", "sh", "-c", swap, "sh"], words);
        let stream =
            |ours: bool| if ours { Stdio::from(self.theirs.try_clone().unwrap()) } else { Stdio::piped() };
        command.stdin(stream(true)).stdout(stream(streams[1])).stderr(stream(streams[2]));
        command.spawn().unwrap()
    }

    /// Wait until it shows that.
    #[track_caller]
    fn shows(&mut self, word: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.text.contains(word) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.shown.recv_timeout(left);
            let bytes = bytes.unwrap_or_else(|_| panic!("`{word}` is not on the terminal: {:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.text.clone()
    }
}

fn end(mut child: Child) -> ExitStatus {
    eventually("the command ends", || child.try_wait().unwrap())
}

/// A backend, of another user where we are root.
fn site() -> Site {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    site.write("app/x", "");
    let app = site.path().join("app");
    let whose = if geteuid().is_root() {
        "\nbackend.api.user = \"61234\"\nbackend.api.group = \"61234\""
    } else {
        ""
    };
    site.configure(&format!("backend.api.directory = {app:?}{whose}"));
    let pass = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(site.path(), pass).unwrap();
    site
}

fn exec<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [&["node", "exec", "--backend", "api", "--"], command].concat()
}

/// The JSON document on it.
fn told(text: &str) -> Value {
    let start = text.find('{').unwrap_or_else(|| panic!("no JSON in {text:?}"));
    serde_json::Deserializer::from_str(&text[start..]).into_iter().next().unwrap().unwrap()
}

#[test]
fn a_command_has_a_terminal_of_its_own_and_no_way_to_the_operators() {
    let site = site();
    let mut desk = Desk::new();
    let theirs = nix::sys::stat::fstat(&desk.theirs).unwrap().st_rdev;
    let status = end(desk.start(&site, [true; 3], &exec(&["node", "-e", SELF])));
    let own = told(&desk.shows("}\r\n"));
    assert!(status.success(), "{own}");
    assert_eq!(own["session"], own["pid"], "it is in the operator's session: {own}");
    assert!(own["terminal"] != 0 && own["terminal"] != theirs, "the operator's terminal is its: {own}");
    let streams = own["streams"].as_array().unwrap();
    assert!(streams.iter().all(|stream| stream != &desk.name()), "{own} has {}", desk.name());
    assert!(streams.iter().all(|stream| stream.as_str().unwrap().starts_with("/dev/pts/")), "{own}");
    assert_eq!((&own["tty"], &own["columns"]), (&"open".into(), &97.into()), "its own is of no use to it");
    if geteuid().is_root() {
        assert_eq!(own["uid"], 61234);
    }
}

#[test]
fn what_is_no_terminal_stays_what_it_is_and_there_is_no_other_way_to_the_operators() {
    let site = site();
    let mut desk = Desk::new();
    let name = desk.name();
    // `gateway node exec … < file | …`: nothing of it is a terminal, but the session has one.
    let child = desk.start(&site, [false; 3], &exec(&["node", "-e", SELF]));
    let output = child.wait_with_output().unwrap();
    let own = told(&String::from_utf8_lossy(&output.stdout));
    assert_eq!((&own["terminal"], &own["tty"]), (&0.into(), &"ENXIO".into()), "{own}");
    assert_eq!(own["session"], own["pid"], "{own}");
    // And where one of them is, only that one is another.
    let child = desk.start(&site, [false, false, true], &exec(&["node", "-e", SELF]));
    let output = child.wait_with_output().unwrap();
    let own = told(&String::from_utf8_lossy(&output.stdout));
    let streams: Vec<_> =
        own["streams"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(streams[0], "/dev/null");
    assert!(streams[1].starts_with("pipe:") && streams[2].starts_with("/dev/pts/"), "{own}");
    assert!(streams[2] != name && own["tty"] == "open", "{own}");
    let status =
        end(desk.start(&site, [false, true, true], &exec(&["sh", "-c", "echo a; echo b >&2; exit 7"])));
    assert_eq!(status.code(), Some(7));
    let text = desk.shows("b");
    assert!(text.ends_with("a\r\nb\r\n") || text.contains("a\r\nb"), "{text:?}");
}

#[test]
fn in_a_pipeline_the_operators_terminal_still_ends_the_lines_of_others() {
    let site = site();
    let mut desk = Desk::new();
    let child =
        desk.start(&site, [true, false, true], &exec(&["sh", "-c", "echo begun >&2; read word; echo $word"]));
    desk.shows("begun\r\n");
    let manners = tcgetattr(&desk.theirs).unwrap();
    assert!(
        manners.output_flags.contains(OutputFlags::OPOST) && !manners.local_flags.contains(LocalFlags::ISIG)
    );
    desk.type_in("word\r");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"word\n"[..]));
}

#[test]
fn ctrl_c_means_the_command_and_its_exit_code_is_ours() {
    let site = site();
    let mut desk = Desk::new();
    let program = "process.on('SIGINT', () => { console.log('heard'); process.exit(42); });
        setInterval(() => {}, 1000); console.log('begun');";
    let child = desk.start(&site, [true; 3], &exec(&["node", "-e", program]));
    desk.shows("begun");
    desk.type_in("\x03");
    desk.shows("heard");
    assert_eq!(end(child).code(), Some(42));
    // What was changed on the operator's terminal is as it was.
    let manners = tcgetattr(&desk.theirs).unwrap();
    assert!(manners.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG));
    // One that hears nothing of it ends as programs do.
    let child = desk.start(&site, [true; 3], &exec(&["sh", "-c", "echo waiting; exec sleep 600"]));
    desk.shows("waiting");
    desk.type_in("\x03");
    assert_eq!(end(child).code(), Some(128 + 2));
}

#[test]
fn prompts_are_answered_and_signals_reach_the_whole_command() {
    let site = site();
    let mut desk = Desk::new();
    let script = "printf 'name? '; read name < /dev/tty; echo hello $name; exit 3";
    let child = desk.start(&site, [true; 3], &exec(&["sh", "-c", script]));
    desk.shows("name? ");
    desk.type_in("navaja\r");
    desk.shows("hello navaja");
    assert_eq!(end(child).code(), Some(3));
    for (signal, more) in [(Signal::SIGTERM, ""), (Signal::SIGINT, ""), (Signal::SIGHUP, " </dev/null")] {
        let script = format!("sleep 600{more} & echo $signal started; wait");
        let child = desk.start(&site, [true; 3], &exec(&["sh", "-c", &script]));
        desk.shows("started");
        desk.text.clear();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let status = end(child);
        assert_eq!((status.code(), status.signal()), (Some(128 + signal as i32), None), "{signal}");
    }
    eventually("nothing is left of it", || {
        crate::left_behind::processes(site.path()).is_empty().then_some(())
    });
}

#[test]
fn workers_of_a_gateway_that_was_started_on_a_terminal_have_none() {
    let site = site();
    site.write("app/confined.mjs", std::fs::read(worker_program("confined.mjs")).unwrap());
    site.configure("backend.api.command = [\"node\", \"confined.mjs\"]");
    let desk = Desk::new();
    let mut command = Command::new("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_gateway"), "--config"]).arg(site.config_path()).arg("run");
    command.stdin(Stdio::from(desk.theirs.try_clone().unwrap()));
    let gateway = TestGateway::start_command(site, command);
    let terminal = |pid: i32| -> i64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(4).unwrap().parse().unwrap()
    };
    assert_ne!(terminal(gateway.pid()), 0, "the gateway has none, which proves nothing");
    for pid in gateway.worker_pids() {
        assert_eq!(terminal(pid), 0, "worker {pid} may type on the gateway's terminal");
    }
    let tty: Value = gateway.get("/read?path=/dev/tty").origin(NAVAJA).send().is(200).json();
    assert_eq!(tty, "ENXIO");
}
