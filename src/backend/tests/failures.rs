//! Real Node programs that fail: each failure is told with its reason.

use super::*;

#[tokio::test]
async fn a_crash_loop_backs_off_and_stays_visible() {
    let bench = Bench::start(config("exits.mjs"));
    bench.until("three tries", |status| status.workers[0].restarts >= 3).await;
    let worker = bench.worker();
    assert_eq!(worker.last_error.as_deref(), Some("it ended with exit code 3 before it was ready"));
    assert!(
        worker.last_lines.contains(&"Error: Cannot find module \"./missing.js\"".to_owned()),
        "{worker:?}"
    );
    assert!(worker.last_lines.contains(&"reading the configuration".to_owned()), "{worker:?}");
    assert!(bench.backend.roster().pick(&[]).is_none());
    bench.until("back-off", |status| status.workers[0].state == "back-off").await;
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_on_a_port_of_its_own_is_told_about_listen() {
    let bench = Bench::start(Config { ready_timeout: Duration::from_millis(6500), ..config("never.mjs") });
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    let error = bench.worker().last_error.unwrap();
    assert!(error.starts_with("not ready after 6s 500ms: it accepts no connection"), "{error}");
    let line = bench.worker().last_lines.pop().unwrap();
    let port = line.strip_prefix("listening on ").unwrap();
    let hint = format!("; it listens on TCP port {port}: set listen = \"port\"");
    assert!(error.contains(&hint), "{error}");
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_is_never_well_is_explained_by_its_answer() {
    let bench = Bench::start(Config {
        ready_timeout: Duration::from_millis(6500),
        health: health_path("/"),
        ..config("unhealthy.mjs")
    });
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    let error = bench.worker().last_error.unwrap();
    assert_eq!(error, "not ready after 6s 500ms: the health path answered 500 Internal Server Error");
    bench.finish().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let bench = Bench::start(Config { command: vec!["no-such-program".to_owned()], ..config("well.mjs") });
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    let error = bench.worker().last_error.unwrap();
    assert!(error.starts_with("it could not be started: No such file"), "{error}");
    bench.finish().await;
}

#[tokio::test]
async fn stop_interrupts_a_start() {
    let bench = Bench::start(config("never.mjs"));
    bench.until("a process", |status| status.workers[0].pid.is_some()).await;
    let began = Instant::now();
    bench.finish().await;
    assert!(began.elapsed() < Duration::from_secs(5), "it waited for ready_timeout");
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { directory: Some("gone".into()), ..config("well.mjs") };
    let error =
        Backend::start("api", config, surroundings(directory.path(), None), Shutdown::new(), &Metrics::new())
            .unwrap_err();
    assert!(matches!(error, BackendError::Directory { .. }), "{error}");
}

#[tokio::test]
async fn an_exit_before_ready_is_explained_by_who_and_where_it_was() {
    let bench = Bench::start(config("exits.mjs"));
    bench.until("back-off", |status| status.workers[0].state == "back-off").await;
    let facts = bench.worker().last_facts.join("\n");
    for fact in ["directory: ", "user: ", "program: ", "Node v"] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn another_program_on_the_port_is_not_taken_for_the_worker() {
    let place = tempfile::tempdir().unwrap();
    let config = Config {
        listen: Listen::Port,
        ready_timeout: Duration::from_millis(6500),
        env: BTreeMap::from([("NOTE".to_owned(), place.path().join("port").display().to_string())]),
        ..config("tells_port.mjs")
    };
    let bench = Bench::start(config);
    let deadline = Instant::now() + PATIENCE;
    let port: u16 = loop {
        if let Ok(port) = std::fs::read_to_string(place.path().join("port")).unwrap_or_default().parse() {
            break port;
        }
        assert!(Instant::now() < deadline, "never told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    let error = bench.worker().last_error.unwrap();
    assert!(error.contains(&format!("another program listens on its port ({port})")), "{error}");
    drop(listener);
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_listens_nowhere_is_told_what_to_listen_on() {
    let command = ["node", "-e", "console.log('waiting'); setInterval(() => {}, 1000)"].map(str::to_owned);
    let ready_timeout = Duration::from_millis(6500);
    let bench = Bench::start(Config { command: command.into(), ready_timeout, ..config("well.mjs") });
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    let error = bench.worker().last_error.unwrap();
    let remedy = "it does not listen on process.env.PORT: let it call `server.listen(process.env.PORT)`";
    assert_eq!(error, format!("not ready after 6s 500ms: {remedy}"));
    assert!(bench.worker().last_error_at.is_some());
    bench.finish().await;
}

#[tokio::test]
async fn what_a_worker_says_first_is_not_lost_among_its_words_on_being_asked() {
    let program = "console.log('no DATABASE_URL: waiting for it');
        require('http').createServer((request, response) => { console.log('asked'); response.writeHead(503).end(); })
            .listen(process.env.PORT);
        for (let line = 0; line < 30; line += 1) console.log('line', line);";
    let command = ["node", "-e", program].map(str::to_owned);
    let (ready_timeout, health) = (Duration::from_millis(6500), health_path("/"));
    let bench = Bench::start(Config { command: command.into(), ready_timeout, health, ..config("well.mjs") });
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    // A machine that is busy may not have started the first in time.
    bench.until("all its lines", |status| status.workers[0].last_lines.len() == 20).await;
    let lines = bench.worker().last_lines;
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[7].as_str()),
        (20, "no DATABASE_URL: waiting for it", "line 6")
    );
    assert!(lines[8].starts_with("… ") && lines[8].ends_with(" lines left out …"), "{lines:?}");
    bench.finish().await;
}
