//! Jobs: by the clock, on order, always; once per tenant with its own database; ended in time and with the gateway.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    BARBA, NAVAJA, TestGateway,
    builder::{Builder, worker_program},
    eventually,
    memory::metric,
    tenants::with_notes,
};

/// Two minutes of the clock, if one begins while the test looks elsewhere, and room.
const CLOCK_PATIENCE: Duration = Duration::from_secs(160);

/// `[job.NAME]` that runs `tests/data/workers/job.mjs`; on New Year only, if `more` does not say when.
fn job(name: &str, words: &[&str], more: &str) -> String {
    let program = worker_program("job.mjs");
    let words: Vec<&str> = ["node", &program].into_iter().chain(words.iter().copied()).collect();
    let when = if ["schedule", "always"].iter().any(|key| more.contains(key)) {
        ""
    } else {
        "schedule = \"@yearly\""
    };
    format!("[job.{name}]\ncommand = {words:?}\n{when}\n{more}")
}

fn shops() -> Builder {
    TestGateway::builder().worker("notes.mjs")
}

/// A file below the gateway's directory, as a word of a command.
fn file(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

/// Put jobs into a configuration and the configuration in force.
fn reload(gateway: &TestGateway, jobs: &[String]) {
    for job in jobs {
        gateway.site().configure(job);
    }
    gateway.cli(&["reload"]).ok();
}

fn shown(gateway: &TestGateway, name: &str) -> Value {
    gateway.cli(&["job", "show", name, "--json"]).ok().json()
}

fn notes(gateway: &TestGateway, origin: &str) -> String {
    gateway.get("/notes").origin(origin).send().is(200).text()
}

/// The processes that have said so in `FILE.pids`, once there are so many.
fn pids(file: &str, count: usize) -> Vec<i32> {
    eventually("the job says that it is there", || {
        let text = std::fs::read_to_string(format!("{file}.pids")).unwrap_or_default();
        let pids: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
        (pids.len() >= count).then_some(pids)
    })
}

fn alive(pid: i32) -> bool {
    // A zombie is nobody's work any more.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// An order in the background: `gateway job run …` as a process.
fn ordered(gateway: &TestGateway, arguments: &[&str]) -> thread::JoinHandle<crate::Output> {
    let mut command = gateway.site().command(&[&["job", "run"], arguments].concat());
    thread::spawn(move || crate::Output::of(&command.output().unwrap()))
}

#[test]
fn a_job_runs_once_per_active_tenant_each_with_its_own_database() {
    let gateway = with_notes(shops().start());
    gateway
        .cli(&[
            "tenant",
            "add",
            "tijera",
            "--origin",
            "https://tijera.example",
            "--database",
            "sqlite://t.db",
        ])
        .ok();
    gateway.cli(&["tenant", "suspend", "tijera"]).ok();
    reload(&gateway, &[job("nightly", &["note", "a reminder"], "each = \"tenant\"")]);
    let output = gateway.cli(&["job", "run", "nightly"]).ok();
    let said = [
        "navaja | wrote a reminder",
        "✓ navaja: done, ",
        "barba | wrote a reminder",
        "- tijera: the tenant is suspended",
    ];
    output.says(&said).says(&["run 1 of job nightly", "0 of 3 went wrong"]);
    for (origin, own, other) in [(NAVAJA, "navaja", "barba"), (BARBA, "barba", "navaja")] {
        let notes = notes(&gateway, origin);
        assert!(
            notes.contains(&format!("a reminder of {own}")) && !notes.contains(&format!("of {other}")),
            "{notes}"
        );
    }
    // For one of them alone, and not again for the other.
    gateway.cli(&["job", "run", "nightly", "--tenant", "navaja"]).ok();
    assert_eq!(notes(&gateway, NAVAJA).matches("a reminder").count(), 2);
    assert_eq!(notes(&gateway, BARBA).matches("a reminder").count(), 1);
    let log = gateway.cli(&["logs", "--worker", "job/nightly/barba"]).ok();
    assert!(
        log.stdout.contains("job/nightly/barba stdout wrote a reminder") && !log.stdout.contains("navaja"),
        "{log:?}"
    );
    gateway
        .cli(&["logs", "--worker", "job/nightly"])
        .ok()
        .says(&["job/nightly/navaja stdout wrote", "job/nightly/barba stdout wrote"]);
    assert!(!gateway.log().contains("authToken"), "a ticket is in the log");
    let metrics = gateway.admin("GET", "/metrics").unwrap().text();
    assert!(metrics.contains("gateway_job_runs_total{job=\"nightly\",outcome=\"skipped\"} 1"), "{metrics}");
    assert!(metrics.contains("gateway_job_runs_total{job=\"nightly\",outcome=\"done\"} 1"), "{metrics}");
}

#[test]
fn one_tenants_failure_is_its_own_verdict_and_the_run_has_failed() {
    let gateway = with_notes(shops().start());
    reload(&gateway, &[job("nightly", &["note", "a bill", "barba"], "each = \"tenant\"\nconcurrency = 1")]);
    let output = gateway.cli(&["job", "run", "nightly", "--json"]).fails(1);
    let run = output.json();
    assert_eq!((&run["outcome"], &run["by"], &run["number"]), (&"failed".into(), &"order".into(), &1.into()));
    let verdicts = run["verdicts"].as_array().unwrap();
    let of = |tenant: &str| verdicts.iter().find(|verdict| verdict["tenant"] == tenant).unwrap();
    assert_eq!((&of("navaja")["outcome"], &of("navaja")["exit"]), (&"done".into(), &0.into()));
    assert_eq!((&of("barba")["outcome"], &of("barba")["exit"]), (&"failed".into(), &3.into()));
    assert_eq!(of("barba")["detail"], "it ended with exit code 3");
    assert!(output.stderr.contains("barba | no razor for barba"), "progress is beside the JSON: {output:?}");
    assert!(notes(&gateway, NAVAJA).contains("a bill of navaja"), "one failure stops nobody else");
    gateway.cli(&["job", "list"]).ok().says(&["nightly", "@yearly", "failed: 1 of 2"]);
    let warned = "warning: job nightly: its last run failed for barba: it ended with exit code 3";
    gateway.cli(&["status"]).ok().says(&[warned, "failed: 1 of 2"]);
    gateway.cli(&["job", "show", "nightly"]).ok().says(&[
        "once per active tenant",
        "when: @yearly, by the clock of UTC",
        "barba",
        "it ended with exit code 3",
    ]);
    assert_eq!(gateway.status()["jobs"][0]["runs"][0], run);
    // A new gateway remembers it, and its numbers go on.
    let gateway = gateway.stop().start();
    assert_eq!(shown(&gateway, "nightly")["runs"][0], run);
    let next = gateway.cli(&["job", "run", "nightly", "--tenant", "navaja", "--json"]).ok().json();
    assert_eq!(next["number"], 2);
}

#[test]
fn so_many_tenants_at_a_time_as_the_job_says() {
    let gateway = with_notes(shops().start());
    let directory = file(gateway.site().path(), "");
    // Each waits for the other: together they are done, one after the other they would never be.
    reload(&gateway, &[job("pair", &["meet", &directory, "2"], "each = \"tenant\"\nconcurrency = 2")]);
    gateway.cli(&["job", "run", "pair"]).ok();
    for tenant in ["navaja", "barba"] {
        std::fs::remove_file(gateway.site().path().join(format!("here-{tenant}"))).unwrap();
    }
    let alone =
        job("pair", &["meet", &directory, "2"], "each = \"tenant\"\nconcurrency = 1\ntimeout = \"5s\"");
    reload(&gateway, &[alone]);
    let run = gateway.cli(&["job", "run", "pair", "--json"]).fails(1).json();
    let outcomes: Vec<_> =
        run["verdicts"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    // The first left its mark when it was ended, which the second finds.
    assert_eq!(outcomes, ["timed-out", "done"], "{run}");
}

#[test]
fn what_takes_too_long_is_killed_with_all_that_it_started() {
    let gateway = shops().start();
    let told = file(gateway.site().path(), "stubborn");
    let stubborn = job("stubborn", &["stubborn", &told], "timeout = \"4s\"");
    reload(&gateway, &["backend.api.stop_grace = \"500ms\"".to_owned(), stubborn]);
    let run = gateway.cli(&["job", "run", "stubborn", "--json"]).fails(1).json();
    assert_eq!(run["outcome"], "timed-out");
    let verdict = &run["verdicts"][0];
    assert_eq!(verdict["detail"], "it took longer than 4s: it was ended by SIGKILL");
    let pids = std::fs::read_to_string(&told).unwrap();
    let pids: Vec<i32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        eventually("it is gone", || (!alive(pid)).then_some(()));
    }
    gateway.cli(&["logs", "--worker", "job/stubborn"]).ok().says(&["not I"]);
}

#[test]
fn a_program_behind_a_shell_has_its_grace_and_what_it_put_elsewhere_ends_with_it() {
    let gateway = shops().start();
    let told = file(gateway.site().path(), "polite");
    let line = format!("node {} polite {told}; true", worker_program("job.mjs"));
    let command = ["sh", "-c", &line];
    let polite = format!("[job.polite]\ncommand = {command:?}\nschedule = \"@yearly\"");
    reload(&gateway, &["backend.api.stop_grace = \"5s\"".to_owned(), polite]);
    let order = ordered(&gateway, &["polite"]);
    let pids = pids(&told, 2);
    gateway.cli(&["job", "stop", "polite"]).ok();
    order.join().unwrap().fails(1);
    for pid in pids {
        eventually("it is gone", || (!alive(pid)).then_some(()));
    }
    gateway.cli(&["logs", "--worker", "job/polite"]).ok().says(&["goodbye"]);
}

#[test]
fn the_clock_begins_a_run_and_leaves_out_the_one_that_would_overlap() {
    let gateway = with_notes(shops().start());
    let held = file(gateway.site().path(), "held");
    // The slow one is under way before it is due for the first time, and the other one is seen to wait for its time.
    reload(&gateway, &[job("slow", &["hold", &held], "")]);
    let order = ordered(&gateway, &["slow"]);
    pids(&held, 1);
    let minutely = "schedule = \"* * * * *\"";
    reload(
        &gateway,
        &[
            job("minutely", &["note", "a minute"], &format!("{minutely}\neach = \"tenant\"")),
            job("slow", &["hold", &held], minutely),
        ],
    );
    let (begun, mut seen) = (Instant::now(), None);
    let (run, next) = loop {
        let view = shown(&gateway, "minutely");
        let number = view["runs"][0]["number"].as_u64().unwrap_or(0);
        match seen {
            Some((before, next)) if number > before => break (view["runs"][0].clone(), next),
            // When the one after it is due.
            _ if view["under_way"].is_null() => {
                seen = Some((number, view["next"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()));
            }
            _ => {}
        }
        assert!(begun.elapsed() < CLOCK_PATIENCE, "the clock began nothing: {view}");
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!((&run["by"], &run["outcome"]), (&"schedule".into(), &"done".into()), "{run}");
    let started: jiff::Timestamp = run["started"].as_str().unwrap().parse().unwrap();
    assert!(started >= next, "it began at {started}, before {next}");
    assert!(notes(&gateway, NAVAJA).contains("a minute of navaja"));
    assert!(notes(&gateway, BARBA).contains("a minute of barba"));
    let slow = eventually("the overlap is counted", || {
        let slow = shown(&gateway, "slow");
        (slow["overlaps_skipped"].as_u64() >= Some(1)).then_some(slow)
    });
    assert_eq!(slow["under_way"]["number"], 1, "{slow}");
    assert_eq!(pids(&held, 1).len(), 1, "a second one was begun");
    gateway.has_logged("job is due, but a run of it is under way: left out");
    let times = if slow["overlaps_skipped"] == 1 { "once" } else { "2 times" };
    gateway
        .cli(&["job", "show", "slow"])
        .ok()
        .says(&[&format!("left out {times}, because"), "run 1 is under way: 0 of 1 have ended"]);
    std::fs::write(format!("{held}.go"), "").unwrap();
    order.join().unwrap().ok().says(&["let go", "run 1 of job slow is done"]);
}

#[test]
fn orders_that_make_no_sense_are_refused_with_the_remedy() {
    let gateway = with_notes(shops().start());
    gateway.cli(&["tenant", "suspend", "barba"]).ok();
    let held = file(gateway.site().path(), "held");
    reload(
        &gateway,
        &[
            job("each", &["note", "x"], "each = \"tenant\""),
            job("plain", &["hold", &held], ""),
            job("mailer", &["hold", &held], "always = true"),
        ],
    );
    for (arguments, code, words) in [
        (&["gone"][..], 1, ["no job `gone`", "gateway job list"]),
        (&["eahc"], 1, ["no job `eahc`", "did you mean `each`?"]),
        (&["mailer"], 2, ["job `mailer` runs always", "gateway status"]),
        (&["plain", "--tenant", "navaja"], 2, ["not run per tenant", "each = \"tenant\""]),
        (&["each", "--tenant", "nobody"], 1, ["no tenant `nobody`", "gateway tenant list"]),
        (&["each", "--tenant", "barba"], 1, ["`barba` is suspended", "gateway tenant resume barba"]),
    ] {
        gateway.cli(&[&["job", "run"], arguments].concat()).fails(code).says(&words);
    }
    pids(&held, 1); // The mailer.
    let order = ordered(&gateway, &["plain"]);
    pids(&held, 2);
    gateway
        .cli(&["job", "run", "plain"])
        .fails(1)
        .says(&["run 1 of job `plain` is under way", "wait for its end"]);
    gateway.cli(&["job", "show", "gone"]).fails(1).says(&["no job `gone`"]);
    gateway.cli(&["logs", "--worker", "job/gone"]).fails(1).says(&["no job `gone`"]);
    std::fs::write(format!("{held}.go"), "").unwrap();
    order.join().unwrap().ok();
    let at_rest = gateway.stop();
    at_rest.cli(&["job", "list"]).fails(3);
}

#[test]
fn a_reload_adds_changes_and_removes_jobs_and_leaves_other_runs_alone() {
    let gateway = shops().start();
    gateway.cli(&["job", "list"]).ok().says(&["there is no job"]);
    let [kept, changed, gone] = ["kept", "changed", "gone"].map(|name| file(gateway.site().path(), name));
    reload(
        &gateway,
        &[
            job("kept", &["hold", &kept], ""),
            job("changed", &["hold", &changed], ""),
            job("gone", &["hold", &gone], ""),
        ],
    );
    let orders = ["kept", "changed", "gone"].map(|name| ordered(&gateway, &[name]));
    let before = [&kept, &changed, &gone].map(|file| pids(file, 1)[0]);
    let path = gateway.site().config_path();
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    config["job"].as_table_mut().unwrap().remove("gone");
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    reload(
        &gateway,
        &[job("changed", &["ends", "4"], "schedule = \"@monthly\""), job("added", &["ends", "0"], "")],
    );
    assert!(!alive(before[2]), "the job that is gone still runs");
    assert!(alive(before[0]) && alive(before[1]), "a reload ended a run");
    gateway.cli(&["job", "run", "added"]).ok().says(&["ends with 0"]);
    assert_eq!(shown(&gateway, "changed")["schedule"], "@monthly");
    // One at a time, also of the old and the new way.
    gateway.cli(&["job", "run", "changed"]).fails(1).says(&["under way"]);
    for file in [&kept, &changed] {
        std::fs::write(format!("{file}.go"), "").unwrap();
    }
    let [kept, changed, gone] = orders.map(|order| order.join().unwrap());
    kept.ok().says(&["let go"]);
    changed.ok().says(&["let go"]);
    gone.fails(1).says(&["told to end", "the gateway ended it"]);
    gateway.cli(&["job", "run", "changed"]).fails(1).says(&["ends with 4", "it ended with exit code 4"]);
    // What is wrong changes nothing.
    let good = std::fs::read_to_string(&path).unwrap();
    gateway.site().configure("[job.changed]\nschedule = \"61 * * * *\"");
    gateway.cli(&["reload"]).fails(2).says(&["job.changed.schedule", "`61` is no minute: 0 to 59"]);
    assert_eq!(shown(&gateway, "changed")["schedule"], "@monthly");
    std::fs::write(&path, good).unwrap();
}

#[test]
fn a_program_that_runs_always_is_started_again_and_goes_on_with_the_backend() {
    let held = PathBuf::from("held");
    let gateway = shops().config("[backend.api]\nrestart_delay = \"50ms\"").start();
    let held = file(gateway.site().path(), held.to_str().unwrap());
    reload(&gateway, &[job("mailer", &["hold", &held], "always = true")]);
    let first = pids(&held, 1)[0];
    let program = || shown(&gateway, "mailer")["program"].clone();
    eventually("it is shown", || (program()["pid"] == first).then_some(()));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let second = pids(&held, 2)[1];
    let seen = eventually("it runs again", || Some(program()).filter(|seen| seen["state"] == "running"));
    assert_eq!((&seen["restarts"], &seen["last_error"]), (&1.into(), &"it was ended by SIGKILL".into()));
    // It is no worker: nobody waits for it to listen, and no request comes to it.
    gateway.get("/healthz").origin("https://api.example").send();
    assert_eq!(gateway.worker_pids().len(), 1);
    gateway.cli(&["status"]).ok().says(&["mailer", "always"]);
    gateway.cli(&["job", "show", "mailer"]).ok().says(&["when: always", "1 restarts"]);
    // A reload of the backend is a new release: the program goes on to it. Its goodbye is a polite one.
    gateway.cli(&["backend", "reload"]).ok();
    let third = pids(&held, 3)[2];
    eventually("the old one is gone", || (!alive(second)).then_some(()));
    eventually("its last words are kept", || {
        gateway.cli(&["logs", "--worker", "job/mailer"]).ok().stdout.contains("told to end").then_some(())
    });
    // A reload of the configuration that does not change it leaves it alone.
    reload(&gateway, &[job("other", &["ends", "0"], "")]);
    eventually("it is shown", || (program()["pid"] == third).then_some(()));
    assert!(alive(third));
    gateway.has_logged("program ended, it is started again after a pause");
    let site = gateway.stop();
    assert!(!alive(third), "it outlived the gateway");
    drop(site);
}

#[test]
fn a_program_that_cannot_run_always_backs_off_and_says_why() {
    let gateway = shops().start();
    let broken = "[job.broken]\ncommand = [\"no-such-program\"]\nalways = true".to_owned();
    reload(&gateway, &[broken, job("brief", &["ends", "0"], "always = true")]);
    let seen = eventually("it backs off", || {
        let seen = shown(&gateway, "broken")["program"].clone();
        (seen["restarts"].as_u64() >= Some(1) && !seen["last_error"].is_null()).then_some(seen)
    });
    let why = "it could not be started: cannot start no-such-program: No such file or directory";
    assert!(seen["last_error"].as_str().unwrap().starts_with(why), "{seen}");
    eventually("status warns", || {
        gateway.cli(&["status"]).ok().all().contains("warning: job broken").then_some(())
    });
    // Always is always: one that ends well is started again as well.
    eventually("it is started again", || {
        (shown(&gateway, "brief")["program"]["restarts"].as_u64() >= Some(1)).then_some(())
    });
}

#[test]
fn a_run_ends_with_the_gateway_and_a_new_gateway_knows_of_it() {
    let gateway = shops().start();
    let held = file(gateway.site().path(), "held");
    reload(&gateway, &[job("slow", &["hold", &held], "")]);
    let order = ordered(&gateway, &["slow"]);
    let pid = pids(&held, 1)[0];
    let site = gateway.stop();
    assert!(!alive(pid));
    order.join().unwrap().fails(1).says(&["the gateway ended it: it ended with exit code 0"]);
    let gateway = site.start();
    let view = shown(&gateway, "slow");
    assert_eq!((&view["runs"][0]["outcome"], &view["under_way"]), (&"ended".into(), &Value::Null), "{view}");
    assert_eq!(pids(&held, 1).len(), 1, "what was ended is not made up for");
}

#[test]
fn no_job_outlives_a_gateway_that_is_killed() {
    let gateway = shops().start();
    let told = file(gateway.site().path(), "stubborn");
    reload(
        &gateway,
        &[job("stubborn", &["stubborn", &told], ""), job("forever", &["stubborn", &told], "always = true")],
    );
    let order = ordered(&gateway, &["stubborn"]);
    eventually("both run", || {
        let view = shown(&gateway, "stubborn");
        (view["under_way"].is_object() && Path::new(&told).exists()).then_some(())
    });
    // It sees to it that nothing with this site's name in command line or environment is left.
    let site = gateway.kill();
    order.join().unwrap().fails(1);
    drop(site);
}

#[test]
fn a_job_is_what_a_worker_is_but_for_its_socket() {
    let site = shops().site();
    let directory = Path::new(&worker_program("job.mjs")).parent().unwrap().to_owned();
    let secret = site.write("state/secret", "keep me");
    site.configure(&format!(
        "[backend.api]\nsandbox = true\ndirectory = {directory:?}\nenv.LABEL = \"the backend's\"\nenv.MORE = \"a\"\n\
         allow_read = [{:?}]",
        directory.join("../../node").canonicalize().unwrap()
    ));
    site.configure(&job("look", &["look", secret.to_str().unwrap()], "env.MORE = \"the job's\""));
    let gateway = site.start();
    let output = gateway.cli(&["job", "run", "look", "--json"]).ok();
    let line = output.stderr.lines().find(|line| line.starts_with('{')).unwrap();
    let seen: Value = serde_json::from_str(line).unwrap();
    assert_eq!(seen["directory"].as_str().unwrap(), directory.to_str().unwrap());
    let env = &seen["env"];
    assert_eq!((&env["LABEL"], &env["MORE"]), (&"the backend's".into(), &"the job's".into()));
    assert_eq!((&env["GATEWAY_JOB"], &env["GATEWAY_WORKER"]), (&"look".into(), &"job/look".into()));
    assert_eq!(
        (&env["PORT"], &env["DATABASE_URL"], &env["GATEWAY_TENANT"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let isolation = gateway.status()["backends"][0]["isolation"]["sandbox"].clone();
    let expected = if isolation == "unsupported" { "read" } else { "EACCES" };
    assert_eq!(seen["read"], expected, "the gateway's own files are hidden from jobs as well");
}

#[test]
fn a_tenant_removed_in_the_middle_of_a_run_is_no_crash() {
    let gateway = with_notes(shops().start());
    let held = file(gateway.site().path(), "held");
    reload(&gateway, &[job("each", &["hold", &held], "each = \"tenant\"\nconcurrency = 1")]);
    let order = ordered(&gateway, &["each", "--json"]);
    pids(&held, 1);
    // `barba` is first; both go while it is under way.
    gateway.cli(&["tenant", "remove", "barba"]).ok();
    gateway.cli(&["tenant", "remove", "navaja"]).ok();
    std::fs::write(format!("{held}.go"), "").unwrap();
    let run = order.join().unwrap().ok().json();
    let verdict = |at: usize| (run["verdicts"][at]["tenant"].clone(), run["verdicts"][at]["detail"].clone());
    assert_eq!(verdict(0), ("barba".into(), "done".into()));
    assert_eq!(verdict(1), ("navaja".into(), "the tenant has been removed".into()));
}

#[test]
fn a_tenant_that_goes_to_another_backend_in_the_middle_of_a_run_is_left_out() {
    let gateway = with_notes(shops().backend("office", "notes.mjs", &["office.example"]).start());
    let held = file(gateway.site().path(), "held");
    let more = "backend = \"api\"\neach = \"tenant\"\nconcurrency = 1";
    reload(&gateway, &[job("each", &["hold", &held], more)]);
    let order = ordered(&gateway, &["each", "--json"]);
    pids(&held, 1);
    // `barba` is first; the other one goes while it is under way.
    gateway.cli(&["tenant", "set", "navaja", "--backend", "office"]).ok();
    std::fs::write(format!("{held}.go"), "").unwrap();
    let verdicts = order.join().unwrap().ok().json()["verdicts"].clone();
    assert_eq!((&verdicts[0]["outcome"], &verdicts[1]["outcome"]), (&"done".into(), &"skipped".into()));
    assert_eq!(verdicts[1]["detail"], "the tenant is another backend's");
}

#[test]
fn one_command_for_tenants_that_two_backends_serve_alike_is_warned_of() {
    let check = |hosts: &[&str], more: &str| {
        let site = shops().backend("office", "notes.mjs", hosts).site();
        for (name, backend) in [("mine", "api"), ("yours", "office")] {
            site.configure(&job(name, &["ends", "0"], &format!("backend = {backend:?}\n{more}")));
        }
        site.cli(&["check"]).ok().stdout
    };
    let (each, told) = ("each = \"tenant\"", "for those the same command runs in both");
    let said = check(&["office.example"], each);
    assert!(said.contains("job.yours.each") && said.matches(told).count() == 1, "{said}");
    assert!(said.contains("that of job `mine`"), "{said}");
    assert!(!check(&[], each).contains(told), "the other one serves none that do not name it");
    assert!(!check(&["office.example"], "").contains(told), "they run for no tenant");
}

#[test]
fn when_a_job_went_well_last_is_known_after_a_new_start_also() {
    let gateway = shops().start();
    reload(&gateway, &[job("mine", &["ends", "0"], "")]);
    let said = |gateway: &TestGateway| metric(gateway, "gateway_job_last_success_seconds{job=\"mine\"}");
    assert_eq!(said(&gateway), 0);
    gateway.cli(&["job", "run", "mine"]).ok();
    let before = said(&gateway);
    let site = gateway.stop();
    site.configure(&job("mine", &["ends", "1"], ""));
    let gateway = site.start();
    gateway.cli(&["job", "run", "mine"]).fails(1);
    let after = said(&gateway);
    // One is the moment at which it was said, the other that of its end: within a second of each other.
    assert!(before > 0 && after <= before && before <= after + 1, "{before} {after}");
}

#[test]
fn a_run_goes_on_when_nobody_watches_it_any_more() {
    let gateway = shops().start();
    let held = file(gateway.site().path(), "held");
    reload(&gateway, &[job("slow", &["hold", &held], "")]);
    // Whoever has started the tests may have had this signal ignored, which is inherited.
    let hears = ["env", "--default-signal=INT"];
    let mut command = gateway.site().command_through(&hears, &["job", "run", "slow"]);
    let mut order =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let pid = pids(&held, 1)[0];
    kill(Pid::from_raw(i32::try_from(order.id()).unwrap()), Signal::SIGINT).unwrap();
    assert!(!order.wait().unwrap().success());
    assert_eq!(shown(&gateway, "slow")["under_way"]["number"], 1);
    assert!(alive(pid));
    std::fs::write(format!("{held}.go"), "").unwrap();
    let run = eventually("it is done", || shown(&gateway, "slow")["runs"].get(0).cloned());
    assert_eq!(run["outcome"], "done");
}

#[test]
fn a_job_is_for_the_tenants_of_its_own_backend() {
    let gateway = shops().backend("office", "notes.mjs", &["office.example"]).start();
    let add = |id: &str, more: &[&str]| {
        let (origin, database) = (format!("https://{id}.example"), format!("sqlite://{id}.db"));
        let words = ["tenant", "add", id, "--origin", &origin, "--database", &database];
        gateway.cli(&[&words[..], more].concat()).ok();
    };
    add("navaja", &["--backend", "api"]);
    add("barba", &["--backend", "office"]);
    add("tijera", &[]);
    reload(&gateway, &[job("mine", &["ends", "0"], "backend = \"office\"\neach = \"tenant\"")]);
    let run = gateway.cli(&["job", "run", "mine", "--json"]).ok().json();
    let mut whom: Vec<_> =
        run["verdicts"].as_array().unwrap().iter().map(|one| one["tenant"].as_str().unwrap()).collect();
    whom.sort_unstable();
    // Whoever names no backend is served by all that have hosts.
    assert_eq!(whom, ["barba", "tijera"]);
    gateway.cli(&["job", "run", "mine", "--tenant", "navaja"]).fails(1).says(&["served by another backend"]);
}

#[test]
fn a_tenant_without_a_backend_is_no_job_of_one_that_no_request_of_it_reaches() {
    let hidden = |name: &str| job(name, &["ends", "0"], "backend = \"office\"\neach = \"tenant\"");
    let site = shops().backend("office", "notes.mjs", &[]).site();
    site.configure(&hidden("mine"));
    site.cli(&["check"]).says(&["job.mine.each", "`office` has no `hosts`", "no declared one does"]);
    let gateway = site.start();
    let add = |id: &str, more: &[&str]| {
        let origin = format!("https://{id}.example");
        gateway.cli(&[&["tenant", "add", id, "--origin", &origin][..], more].concat()).ok();
    };
    add("barba", &["--backend", "office"]);
    add("tijera", &[]);
    let run = gateway.cli(&["job", "run", "mine", "--json"]).ok().json();
    let verdicts = run["verdicts"].as_array().unwrap();
    assert!(verdicts.len() == 1 && verdicts[0]["tenant"] == "barba", "{run}");
    gateway.cli(&["job", "run", "mine", "--tenant", "tijera"]).fails(1).says(&["served by another backend"]);
}

#[test]
fn a_run_that_is_under_way_is_ended_by_an_order_and_both_sides_are_told() {
    let gateway = shops().start();
    for id in ["navaja", "barba"] {
        gateway.cli(&["tenant", "add", id, "--origin", &format!("https://{id}.example")]).ok();
    }
    let held = file(gateway.site().path(), "held");
    reload(&gateway, &[job("long", &["hold", &held], "each = \"tenant\"\nconcurrency = 1")]);
    gateway
        .cli(&["job", "stop", "long"])
        .fails(1)
        .says(&["no run of job `long` is under way", "job show long"]);
    gateway.cli(&["job", "stop", "other"]).fails(1).says(&["no job `other`"]);
    thread::scope(|scope| {
        let run = scope.spawn(|| gateway.cli(&["job", "run", "long", "--json"]));
        let one = pids(&held, 1)[0];
        let stopped = gateway.cli(&["job", "stop", "long", "--json"]).ok().json();
        assert_eq!(stopped["outcome"], "ended", "{stopped}");
        let ran = run.join().unwrap().fails(1).json();
        assert_eq!(ran, stopped);
        // The one was ended, and the other's turn never came.
        let verdicts = ran["verdicts"].as_array().unwrap();
        assert!(verdicts.iter().all(|verdict| verdict["outcome"] == "ended"), "{ran}");
        assert!(verdicts.iter().any(|verdict| verdict["detail"] == "it was not begun"), "{ran}");
        assert!(!alive(one), "a process of the run is left");
    });
    assert_eq!(shown(&gateway, "long")["runs"][0]["outcome"], "ended");
}
