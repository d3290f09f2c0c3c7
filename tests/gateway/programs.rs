//! Programs as they are in the world: frameworks, loaders, `cluster`, and those that behave badly.

use std::{collections::BTreeSet, path::Path, thread, time::Instant};

use serde_json::json;

use crate::{
    NAVAJA, TestGateway,
    builder::worker_program,
    eventually, left_behind,
    load::{Load, Target},
    node,
};

/// It gets, posts, and reloads without losing a request.
fn check(program: &str, more: &str) {
    let site = TestGateway::builder().shops().worker(program).site();
    site.configure(more);
    check_running(&site.start(), Path::new(program).file_stem().unwrap().to_str().unwrap());
}

fn check_running(gateway: &TestGateway, framework: &str) {
    let answer = gateway.get("/menu?x=1").origin(NAVAJA).send().is(200).json();
    assert_eq!(answer, json!({"url": "/menu?x=1", "framework": framework}));
    let order = json!({"item": "shave"});
    let made = gateway.post("/orders", "").json(&order).origin(NAVAJA).send().is(201).json();
    assert_eq!(made, json!({"order": order, "framework": framework}));
    let (load, target) = (Load::default(), Target::plain(gateway));
    thread::scope(|scope| {
        let _ending = load.ending();
        scope.spawn(|| load.keep_asking(gateway, &target, "/x"));
        scope.spawn(|| load.keep_connecting(gateway, &target));
        for _ in 0..3 {
            gateway.cli(&["backend", "reload"]).ok();
        }
    });
    assert!(load.answered() > 20, "there was no load");
}

#[test]
fn express_in_commonjs() {
    check("express.cjs", "");
}

#[test]
fn fastify_on_a_socket_and_on_a_port() {
    check("fastify.mjs", "");
    check("fastify.mjs", "backend.api.listen = \"port\"");
}

#[test]
fn typescript_through_a_loader() {
    let loader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/node_modules/tsx/dist/loader.mjs");
    let program = worker_program("typed.ts");
    let command = format!("backend.api.command = [\"node\", \"--import\", {loader:?}, {program:?}]");
    check("typed.ts", &command);
}

#[test]
fn next_standalone() {
    let server = node::directory().join("next/.next/standalone/next/server.js");
    assert!(server.exists(), "{} is missing: `tests/run` builds it", server.display());
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    let command = format!(
        "[backend.api]\ncommand = [\"node\", {server:?}]\nlisten = \"port\"\nenv.HOSTNAME = \"127.0.0.1\""
    );
    site.configure(&command);
    let gateway = site.start();
    check_running(&gateway, "next");
    let page = gateway.get("/page?name=Navaja").origin(NAVAJA).send().is(200);
    assert!(page.text().contains("Hello Navaja"), "{}", page.text());
}

#[test]
fn a_program_with_a_cluster_of_its_own_ends_whole() {
    let site = TestGateway::builder().shops().worker("cluster.mjs").site();
    let gateway = site.start();
    let pids: BTreeSet<i64> = (0..16)
        .map(|_| gateway.get("/").origin(NAVAJA).send().is(200).json()["pid"].as_i64().unwrap())
        .collect();
    assert!(!pids.contains(&i64::from(gateway.worker_pids()[0])), "its children answer: {pids:?}");
    let processes = || left_behind::processes(gateway.site().path()).len();
    let before = processes();
    gateway.cli(&["backend", "reload"]).ok();
    gateway.get("/").origin(NAVAJA).send().is(200);
    eventually("the old cluster has gone", || (processes() <= before).then_some(()));
    // And nothing outlives a gateway that is killed, its grandchildren included.
    drop(gateway.kill());
}

#[test]
fn grandchildren_that_ignore_sigterm_do_not_outlive_a_killed_gateway() {
    let gateway = TestGateway::builder().shops().worker("stubborn.mjs").start();
    assert!(left_behind::processes(gateway.site().path()).len() >= 4, "gateway, worker and two more");
    drop(gateway.kill());
}

#[test]
fn kept_connections_that_close_at_random_cost_no_request() {
    let gateway = TestGateway::builder().shops().worker("fickle.mjs").workers(2).start();
    let (load, target) = (Load::default(), Target::plain(&gateway));
    thread::scope(|scope| {
        let _ending = load.ending();
        for _ in 0..3 {
            scope.spawn(|| load.keep_asking(&gateway, &target, "/x"));
        }
        eventually("enough was asked", || (load.answered() > 1000).then_some(()));
    });
}

#[test]
fn requests_that_time_out_do_not_pile_up_on_the_worker_that_hangs() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("blocks.mjs")
        .workers(2)
        .config("[edge.limits]\nfirst_byte_timeout = \"2s\"")
        .config(
            "[backend.api]\nwarmup_answers = 0\nhealth.watch_interval = \"1h\"\nenv.BLOCKS_MS = \"20000\"",
        )
        .start();
    gateway.get("/block").origin(NAVAJA).send().problem(504);
    // The other one has the least to do as long as the first has not answered.
    let begun = Instant::now();
    for _ in 0..20 {
        gateway.get("/x").origin(NAVAJA).send().is(200);
    }
    assert!(begun.elapsed().as_secs() < 15, "it was over before it began");
}

#[test]
fn a_loop_that_is_blocked_for_five_seconds_costs_no_worker_under_the_usual_watch() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("blocks.mjs")
        .config("backend.api.env.BLOCKS_MS = \"5000\"")
        .start();
    let pids = gateway.worker_pids();
    let mut blocked = gateway.get("/block").origin(NAVAJA).open();
    // Whoever comes meanwhile waits.
    gateway.get("/x").origin(NAVAJA).send().is(200);
    blocked.answer().is(200);
    let status = gateway.status();
    assert_eq!(gateway.worker_pids(), pids, "{status}");
    assert_eq!(status["backends"][0]["workers"][0]["restarts"], 0);
}

#[test]
fn clients_of_a_worker_that_hangs_get_another_home() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("blocks.mjs")
        .workers(2)
        .config("[edge.limits]\nfirst_byte_timeout = \"2s\"")
        .config(
            "[backend.api]\nsticky = \"tenant\"\nhealth.watch_interval = \"1h\"\nenv.BLOCKS_MS = \"20000\"",
        )
        .start();
    let home = gateway.get("/x").origin(NAVAJA).send().is(200).json()["pid"].clone();
    gateway.get("/block").origin(NAVAJA).send().problem(504);
    for _ in 0..2 {
        gateway.get("/x").origin(NAVAJA).send().problem(504);
    }
    let other = gateway.get("/x").origin(NAVAJA).send().is(200).json()["pid"].clone();
    assert_ne!(other, home);
}

#[test]
fn watched_files_reload_their_backend_and_nothing_else_does() {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    let app = site.path().join("app");
    std::fs::create_dir_all(app.join("node_modules/x")).unwrap();
    let server = |word: &str| {
        format!(
            "require('node:http').createServer((q, a) => a.end('{word}')).listen(process.env.PORT);\n\
             process.on('SIGTERM', () => process.exit(0));"
        )
    };
    std::fs::write(app.join("server.js"), server("first")).unwrap();
    site.configure(&format!(
        "[backend.api]\ncommand = [\"node\", \"server.js\"]\ndirectory = {app:?}\nwatch = true"
    ));
    let gateway = site.start();
    let generation = || gateway.status()["backends"][0]["generation"].clone();
    // Each change is one event: two with a pause between them would be two reloads.
    let replace = |path: &str, text: &str| {
        let new = gateway.site().write("new", text);
        std::fs::rename(new, app.join(path)).unwrap();
    };
    for (number, path) in ["node_modules/x/index.js", ".cache", "data.db"].iter().enumerate() {
        std::fs::write(app.join(path), number.to_string()).unwrap();
    }
    std::fs::create_dir(app.join("deep")).unwrap();
    eventually("the new directory is seen, and nothing else", || (generation() == 2).then_some(()));
    // It is watched as well.
    replace("deep/lib.js", "1");
    eventually("a file in it is seen", || (generation() == 3).then_some(()));
    replace("server.js", &server("second"));
    eventually("the change is served", || {
        (gateway.get("/").origin(NAVAJA).send().is(200).text() == "second").then_some(())
    });
    eventually("that was the only reload", || (generation() == 4).then_some(()));
    // One that is moved here is watched as well.
    let elsewhere = gateway.site().path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::rename(&elsewhere, app.join("moved")).unwrap();
    eventually("the move is seen", || (generation() == 5).then_some(()));
    replace("moved/lib.js", "1");
    eventually("a file in it is seen", || (generation() == 6).then_some(()));
}

#[test]
fn a_program_that_writes_where_it_is_watched_is_named_and_slowed_down() {
    let site = TestGateway::builder().shops().worker("echo.mjs").site();
    let app = site.path().join("app");
    std::fs::create_dir_all(&app).unwrap();
    let server = "require('node:fs').writeFileSync('started.txt', String(Date.now()));\n\
                  require('node:http').createServer((q, a) => a.end()).listen(process.env.PORT);\n\
                  process.on('SIGTERM', () => process.exit(0));";
    std::fs::write(app.join("server.js"), server).unwrap();
    site.configure(&format!(
        "[backend.api]\ncommand = [\"node\", \"server.js\"]\ndirectory = {app:?}\nwatch = true"
    ));
    let gateway = site.start();
    std::fs::write(app.join("server.js"), format!("{server}\n")).unwrap();
    eventually("it is said which file it is", || {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("files change with every reload"))?;
        assert!(line.contains("app/started.txt"), "{line}");
        Some(())
    });
}
