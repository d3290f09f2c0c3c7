//! What workers write: kept whole, found again, throttled when there is too much, written to files that stay within
//! their bound.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    NAVAJA, Site, TestGateway, bad_input::on_a_small_disk, builder::Builder, eventually, memory::metric,
    running::workers,
};

const MIB: u64 = 1024 * 1024;

fn chatty() -> Builder {
    TestGateway::builder().shops().worker("chatty.mjs")
}

/// Have a worker write one line to a stream; its process id.
fn say(gateway: &TestGateway, stream: &str, line: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair(stream, line).finish();
    gateway.get(&format!("/say?{query}")).origin(NAVAJA).send().is(200).text()
}

fn flood(gateway: &TestGateway, lines: u32) {
    gateway.get(&format!("/flood?lines={lines}")).origin(NAVAJA).send().is(200);
}

/// What `gateway logs --json` with these arguments shows.
fn shown(gateway: &TestGateway, arguments: &[&str]) -> Vec<Value> {
    let output = gateway.cli(&[&["logs", "--json", "--lines", "1000000"], arguments].concat()).ok();
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["text"].as_str()).collect()
}

/// Every line of every file of a directory; each must be whole.
fn written(directory: &Path) -> Vec<Value> {
    let files = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    texts.iter().flat_map(|text| text.lines()).map(line).collect()
}

#[test]
fn every_line_has_worker_stream_and_time_and_json_stays_json() {
    let gateway = chatty().start();
    // An order of keys and a number that no reader of ours would keep.
    let written = r#"{"z":1,"level":30,"a":12345678901234567890123,"msg":"booked"}"#;
    let pid: i64 = say(&gateway, "stdout", written).parse().unwrap();
    say(&gateway, "stderr", "TypeError: x is undefined");
    let lines = eventually("both are kept", || {
        let lines = shown(&gateway, &[]);
        (lines.iter().any(|line| line["json"]["msg"] == "booked")
            && texts(&lines).contains(&"TypeError: x is undefined"))
        .then_some(lines)
    });
    let booked = lines.iter().find(|line| line["json"]["msg"] == "booked").unwrap();
    assert_eq!(
        (&booked["worker"], &booked["stream"], &booked["pid"]),
        (&"api/0".into(), &"stdout".into(), &pid.into())
    );
    assert!(
        booked["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok() && booked.get("text").is_none()
    );
    let raw = gateway.cli(&["logs", "--json"]).ok().stdout;
    assert!(raw.contains(&format!("\"json\":{written}}}")), "{raw}");
    gateway.cli(&["logs"]).ok().says(&[&format!("Z api/0 stdout {written}"), "Z api/0 stderr TypeError: x"]);
}

#[test]
fn lines_are_found_by_level_tenant_worker_and_time() {
    let gateway = chatty().workers(2).start();
    let said = [
        ("stdout", r#"{"level":"info","tenant":"navaja","msg":"a"}"#),
        ("stdout", r#"{"level":50,"tenantId":"barba","msg":"b"}"#),
        ("stderr", r#"{"level":"debug","msg":"c"}"#),
        ("stderr", "plain d"),
    ];
    for (stream, line) in said {
        say(&gateway, stream, line);
    }
    let found = |arguments: &[&str]| {
        let mut found = String::new();
        for line in shown(&gateway, arguments) {
            let word = line["json"]["msg"]
                .as_str()
                .or(line["text"].as_str().and_then(|text| text.strip_prefix("plain ")));
            found.push_str(word.unwrap_or_default());
        }
        found.chars().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<String>()
    };
    eventually("all four are kept", || (found(&[]) == "abcd").then_some(()));
    for (arguments, want) in [
        (&["--level", "error"][..], "bd"),
        (&["--level", "info"], "abd"),
        (&["--level", "trace"], "abcd"),
        (&["--tenant", "navaja"], "a"),
        (&["--tenant", "barba", "--level", "warn"], "b"),
        (&["--tenant", "barba", "--level", "fatal"], ""),
        (&["--tenant", "barb"], ""),
        (&["--since", "1h"], "abcd"),
        (&["--since", "2000-01-01T00:00:00Z"], "abcd"),
    ] {
        assert_eq!(found(arguments), want, "{arguments:?}");
    }
    let all = shown(&gateway, &[]);
    let last = all.last().unwrap()["at"].as_str().unwrap();
    assert_eq!(shown(&gateway, &["--since", last]).len(), 1, "{last}");
    let of_one = shown(&gateway, &["--worker", "api/1"]);
    assert!(
        !of_one.is_empty() && of_one.len() < all.len() && of_one.iter().all(|line| line["worker"] == "api/1")
    );
    gateway.cli(&["logs", "--tenant", "barb"]).ok().says(&["no line fits --tenant", "field `tenant`"]);
    gateway.cli(&["logs", "--worker", "nobody"]).fails(1).says(&["nobody", "gateway backend list"]);
    gateway.cli(&["logs", "--since", "yesterday"]).fails(2).says(&["10m", "2026-01-31T08:00:00Z"]);
    gateway.cli(&["logs", "--level", "loud"]).fails(2).says(&["warn", "fatal"]);
}

#[test]
fn what_is_asked_since_a_time_is_all_there_is_and_what_is_no_longer_there_is_said() {
    let gateway = chatty().config("[backend.api]\noutput_lines_max = 150").start();
    let since = |arguments: &[&str]| {
        let output = gateway.cli(&[&["logs", "--since", "1h"], arguments].concat()).ok();
        output.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    flood(&gateway, 140);
    eventually("more than the last hundred are shown", || (since(&[]).len() > 140).then_some(()));
    assert_eq!(since(&["--lines", "7"]).len(), 7);
    assert!(!since(&[])[0].contains("no longer in memory"));
    flood(&gateway, 20);
    eventually("the first line says that it is not the first", || {
        since(&[])[0].contains("api/0 gateway earlier lines are no longer in memory").then_some(())
    });
}

#[test]
fn the_longest_line_that_may_be_kept_is_shown_whole_and_a_longer_one_cannot_be_asked_for() {
    let site = chatty().config("backend.api.output_line_bytes_max = 1048576").site();
    // Each byte of it takes six as JSON.
    site.configure(
        r#"[job.long]
        schedule = "@yearly"
        command = ["node", "-e", 'console.log("\u0001".repeat(1048576))']"#,
    );
    let gateway = site.start();
    gateway.cli(&["job", "run", "long"]).ok();
    let lines = shown(&gateway, &["--worker", "job/long"]);
    assert_eq!(texts(&lines).iter().map(|text| text.len()).collect::<Vec<_>>(), [1_048_576]);
    gateway.site().configure("backend.api.output_line_bytes_max = 1048577");
    gateway.cli(&["check"]).fails(2).says(&["backend.api.output_line_bytes_max", "are not kept whole"]);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody_and_says_later_what_is_missing() {
    let site = chatty()
        .config("[backend.api]\nlog.lines_per_second_max = 1000000\nlog.bytes_per_second_max = 1000000000")
        .site();
    let pipe = site.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut held = File::options().read(true).write(true).open(&pipe).unwrap();
    let gateway =
        TestGateway::start_through(site, &["sh", "-c", "exec \"$@\" 2>\"$0\"", pipe.to_str().unwrap()]);
    // More than the pipe and what may wait before it take together.
    for _ in 0..3 {
        gateway.get("/flood?lines=1500&filling=2000").origin(NAVAJA).send().is(200);
    }
    eventually("every line is kept for `gateway logs`", || {
        let lines = shown(&gateway, &[]);
        let last = texts(&lines).iter().filter(|text| text.starts_with("flood 1499 ")).count();
        (last > 0).then_some(())
    });
    let (found, finding) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (mut read, mut chunk) = (Vec::new(), vec![0; 65536]);
        loop {
            let count = held.read(&mut chunk).unwrap();
            read.extend_from_slice(&chunk[..count]);
            if String::from_utf8_lossy(&read).contains("lines of this log are lost") {
                let _told = found.try_send(());
            }
        }
    });
    eventually("the log says what is missing", || finding.try_recv().ok());
}

#[test]
fn a_worker_that_floods_is_throttled_and_told_so_and_never_waits() {
    const LINES: u32 = 200_000;
    let gateway =
        chatty().config("[backend.api]\noutput_lines_max = 100000\nlog.lines_per_second_max = 100").start();
    // It writes 20 MB synchronously: if anybody made it wait, this would not be answered.
    flood(&gateway, LINES);
    let dropped = || metric(&gateway, "gateway_output_lines_dropped_total{backend=\"api\"}");
    eventually("every line is kept or counted", || {
        let kept = shown(&gateway, &[])
            .iter()
            .filter(|line| line["text"].as_str().is_some_and(|t| t.starts_with("flood")))
            .count();
        (u64::try_from(kept).unwrap() + dropped() == u64::from(LINES)).then_some(())
    });
    let lines = shown(&gateway, &["--level", "warn"]);
    let told: Vec<_> = lines.iter().filter(|line| line["stream"] == "gateway").collect();
    assert!(!told.is_empty() && told.iter().all(|line| line["worker"] == "api/0"), "{lines:?}");
    assert!(told[0]["text"].as_str().unwrap().contains("lines dropped"), "{told:?}");
    assert!(dropped() > u64::from(LINES) / 2, "hardly anything was dropped");
    gateway.has_logged("worker api/0 writes too much");
    let status = gateway.status();
    assert_eq!(workers(&status).next().unwrap()["lines_dropped"], dropped());
    gateway.cli(&["backend", "describe", "api"]).ok().says(&["lines of output dropped"]);
    // The other stream has an allowance of its own, and a second later so has this one.
    say(&gateway, "stderr", "what went wrong");
    eventually("it is heard again", || {
        say(&gateway, "stdout", "calm again");
        let lines = shown(&gateway, &[]);
        let texts = texts(&lines);
        (texts.contains(&"calm again") && texts.contains(&"what went wrong")).then_some(())
    });
}

#[test]
fn files_are_rotated_within_their_bound_and_nothing_in_them_is_lost() {
    let site = chatty().site();
    let logs = site.path().join("logs");
    site.configure(&format!(
        "[backend.api.log]\ndirectory = {logs:?}\nfile_max_mb = 1\nfiles_kept = 2\n\
         lines_per_second_max = 10000000\nbytes_per_second_max = 10000000000"
    ));
    let gateway = site.start();
    for round in 0..6 {
        // As many as may wait for the disk, so that none is lost however slow it is.
        flood(&gateway, 4000);
        let end = format!("round {round}");
        say(&gateway, "stdout", &end);
        eventually("the round is written", || texts(&written(&logs)).contains(&end.as_str()).then_some(()));
    }
    assert_eq!(metric(&gateway, "gateway_output_lines_unwritten_total{backend=\"api\"}"), 0);
    let mut names: Vec<_> = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["api.log", "api.log.1", "api.log.2"]);
    for name in names {
        let metadata = fs::metadata(logs.join(name)).unwrap();
        assert!(metadata.len() <= MIB, "{}", metadata.len());
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }
    // From the oldest that is left to the youngest, each line follows the one before.
    let read = |name: &str| fs::read_to_string(logs.join(name)).unwrap();
    let all = ["api.log.2", "api.log.1", "api.log"].map(read).concat();
    let numbers: Vec<u32> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| line["text"].as_str()?.strip_prefix("flood ")?.split(' ').next()?.parse().ok())
        .collect();
    assert!(numbers.len() > 4000 && numbers.windows(2).all(|two| two[1] == (two[0] + 1) % 4000));
    // Somebody else's rotation is followed.
    fs::rename(logs.join("api.log"), logs.join("taken")).unwrap();
    eventually("a new file is begun", || {
        say(&gateway, "stdout", "hello");
        logs.join("api.log").exists().then_some(())
    });
    // What a worker says while it is stopped is part of it; and a new start goes on in the same file.
    let site = gateway.stop();
    let goodbyes = || texts(&written(&logs)).iter().filter(|text| **text == "chatty says bye").count();
    assert_eq!(goodbyes(), 1);
    // The directory goes with its site.
    let _site = site.start().stop();
    assert_eq!(goodbyes(), 2);
}

#[test]
fn a_full_disk_is_told_once_and_costs_the_files_alone() {
    let site = chatty().site();
    let logs = site.path().join("logs");
    fs::create_dir(&logs).unwrap();
    site.configure(&format!("[backend.api.log]\ndirectory = {logs:?}\nfile_max_mb = 1\nfiles_kept = 1"));
    let gateway = on_a_small_disk(site, &logs);
    // As the gateway's own mount namespace sees it.
    let inside = format!("/proc/{}/root{}", gateway.pid(), logs.display());
    say(&gateway, "stdout", "before");
    eventually("the first line is written", || {
        texts(&written(Path::new(&inside))).contains(&"before").then_some(())
    });
    let filler = format!("{inside}/filler");
    let filled =
        Command::new("dd").args(["if=/dev/zero", "bs=4096", &format!("of={filler}")]).output().unwrap();
    assert!(!filled.status.success(), "four megabytes fit into three");
    let unwritten = || metric(&gateway, "gateway_output_lines_unwritten_total{backend=\"api\"}");
    // Half a page may still be free in the file.
    eventually("lines are lost to the file", || {
        say(&gateway, "stdout", "meanwhile");
        (unwritten() > 20).then_some(())
    });
    assert!(texts(&shown(&gateway, &[])).contains(&"meanwhile"));
    let cannot = "cannot write the workers' log file";
    assert_eq!(gateway.has_logged(cannot).matches(cannot).count(), 1);

    fs::remove_file(filler).unwrap();
    say(&gateway, "stdout", "after");
    let lines = eventually("it is written again", || {
        say(&gateway, "stdout", "after");
        let lines = written(Path::new(&inside));
        (texts(&lines).contains(&"after")).then_some(lines)
    });
    let missing =
        lines.iter().find(|line| line["stream"] == "gateway").expect("the file says what is missing");
    assert!(missing["text"].as_str().unwrap().contains("lines are missing here"), "{missing}");
    assert!(texts(&lines).contains(&"before"));
    eventually("that is told", || {
        gateway.log().contains("log file of workers is written again").then_some(())
    });
}

/// `gateway logs -f` into a file, ended when dropped.
struct Follower {
    child: Child,
    file: std::path::PathBuf,
}

impl Follower {
    fn of(site: &Site) -> Self {
        let file = site.path().join("followed");
        // It outlives the gateway on purpose: nothing in its command line says that it belongs to the site.
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["--config", "gateway.toml", "logs", "-f", "--json", "--lines", "1000"]);
        command.current_dir(site.path()).env_remove("PWD").stdin(Stdio::null());
        let child = command.stdout(File::create(&file).unwrap()).spawn().unwrap();
        Self { child, file }
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn hears(&self, text: &str) {
        eventually(text, || texts(&self.lines()).contains(&text).then_some(()));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[test]
fn following_goes_on_over_restarts_of_workers_and_gateway_and_no_line_comes_twice() {
    let gateway = chatty().start();
    let first = say(&gateway, "stdout", "the past");
    eventually("it is kept", || texts(&shown(&gateway, &[])).contains(&"the past").then_some(()));
    let follower = Follower::of(gateway.site());
    follower.hears("the past");
    say(&gateway, "stdout", "one");
    follower.hears("one");
    gateway.cli(&["backend", "restart"]).ok();
    let second = say(&gateway, "stdout", "two");
    assert_ne!(first, second);
    follower.hears("two");
    let site = gateway.stop();
    let gateway = site.start();
    say(&gateway, "stdout", "three");
    follower.hears("three");
    for once in ["the past", "one", "two", "three"] {
        let lines = follower.lines();
        assert_eq!(texts(&lines).iter().filter(|text| **text == once).count(), 1, "{once}: {lines:?}");
    }
    let goodbyes = texts(&follower.lines()).iter().filter(|text| **text == "chatty says bye").count();
    assert!(goodbyes >= 1, "the worker's last words were not heard");
}

#[test]
fn a_reload_moves_the_files_and_one_that_cannot_changes_nothing() {
    let site = chatty().site();
    let (old, new) = (site.path().join("old"), site.path().join("new"));
    site.configure(&format!("backend.api.log.directory = {old:?}"));
    let gateway = site.start();
    let written_to = |directory: &Path, line: &str| {
        eventually(line, || {
            say(&gateway, "stdout", line);
            texts(&written(directory)).contains(&line).then_some(())
        });
    };
    written_to(&old, "first");
    let nowhere = gateway.site().write("a-file", "");
    gateway.site().configure(&format!("backend.api.log.directory = {nowhere:?}"));
    gateway.cli(&["reload"]).fails(1).says(&["a-file/api.log"]);
    written_to(&old, "still");
    gateway.site().configure(&format!("backend.api.log.directory = {new:?}"));
    gateway.cli(&["reload"]).ok();
    written_to(&new, "second");
    let lines = json!(texts(&written(&old)));
    assert!(!lines.to_string().contains("second"), "{lines}");
}

/// What clears the screen, renames the window, and colours with the control sequence of eight bits.
const OBEYED: &str = "\u{1b}[2J\u{1b}]0;mine\u{7}\u{9b}31m red\r";

#[track_caller]
fn is_harmless(text: &str) {
    let harmful = text.chars().find(|char| char.is_control() && !matches!(char, '\n' | '\t'));
    assert_eq!(harmful, None, "{text:?}");
    assert!(text.contains("\\u001b[2J") && text.contains("\\u009b31m red"), "it is not there: {text:?}");
}

#[test]
fn no_worker_gives_orders_to_the_terminal_of_who_reads_its_lines() {
    let gateway = chatty().start();
    let in_json = json!({"msg": format!("in JSON {OBEYED}"), "tenant": "navaja"}).to_string();
    say(&gateway, "stdout", &format!("in text {OBEYED}."));
    say(&gateway, "stdout", &in_json);
    eventually("both are kept", || {
        let text = gateway.cli(&["logs"]).ok().stdout;
        (text.contains("in text") && text.contains("in JSON")).then_some(())
    });
    for arguments in [&["logs"][..], &["logs", "--json"], &["logs", "--tenant", "navaja"]] {
        is_harmless(&gateway.cli(arguments).ok().all());
    }
    let lines = shown(&gateway, &[]);
    assert!(lines.iter().any(|line| line["json"]["msg"] == format!("in JSON {OBEYED}")), "{lines:?}");
    assert!(texts(&lines).contains(&&*format!("in text {OBEYED}.")), "{lines:?}");
    // The gateway's own log is read in terminals as well.
    let log = gateway.has_logged("red");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{9b}'), "{log:?}");
}

#[test]
fn last_words_in_a_status_and_a_failure_are_harmless_too() {
    let dying = format!("process.stderr.write({}); process.exit(1)", json!(format!("{OBEYED}\n")));
    let command = format!("backend.api.command = [\"node\", \"-e\", {}]", json!(dying));
    let gateway = chatty().start();
    gateway.site().configure(&command);
    is_harmless(&gateway.cli(&["backend", "reload"]).fails(5).all());
    gateway.stop();

    let site = chatty().site();
    site.configure(&command);
    let gateway = TestGateway::start_without_workers(site);
    eventually("its last words are in the status", || {
        gateway.cli(&["status"]).ok().stdout.contains("red").then_some(())
    });
    for arguments in [&["status"][..], &["backend", "describe", "api"], &["status", "--json"]] {
        is_harmless(&gateway.cli(arguments).ok().all());
    }
}
