//! The launcher needs a binary that becomes it. Here this test binary does: a script calls it back with the
//! name of one test and the command in a variable, and that test then becomes the worker.

use std::{
    ffi::OsString,
    fs::{File, Permissions},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::*;

const COMMAND: &str = "GATEWAY_TEST_COMMAND";
const GATEWAY: &str = "GATEWAY_TEST_DIRECTORY";

/// A file that does what `gateway worker-exec -- CMD…` does.
fn launcher(directory: &Path) -> PathBuf {
    let script = directory.join("launcher");
    let binary = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\n[ \"$1 $2\" = 'worker-exec --' ] || exit 1\nshift 2\n{COMMAND}=\"$*\" exec {} --exact \
         backend::tests::launcher::a_launched_worker_inherits_nothing --nocapture --test-threads=1\n",
        binary.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    // A fork of another test may hold the file open for writing for a moment, and then it can not be run.
    while Command::new(&script)
        .status()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy)
    {
        std::thread::yield_now();
    }
    script
}

fn become_the_worker_if_asked() {
    if let Some(command) = std::env::var_os(COMMAND) {
        let command = command.into_string().unwrap();
        worker_exec(command.split(' ').map(OsString::from).collect());
    }
}

#[tokio::test]
async fn a_launched_worker_inherits_nothing() {
    become_the_worker_if_asked();
    let directory = tempfile::tempdir().unwrap();
    let leak = directory.path().join("leak");
    // What `dup` returns survives exec: such a descriptor is what a careless parent leaves to us.
    let leaked = nix::unistd::dup(File::create(&leak).unwrap()).unwrap();
    let leaks = |seen: &serde_json::Value| {
        seen["descriptors"].as_array().unwrap().contains(&leak.display().to_string().into())
    };

    let direct = Bench::start(config("well.mjs"));
    direct.ready().await;
    assert!(
        leaks(&direct.json_at("/").await),
        "without the launcher it does leak, or this test proves nothing"
    );
    direct.finish().await;

    let launched = Bench::start_by(Some(launcher(directory.path())), config("well.mjs"));
    launched.ready().await;
    let seen = launched.json_at("/").await;
    assert!(!leaks(&seen), "{seen}");
    assert_eq!(seen["pid"], launched.pid(), "exec, not a child");
    assert_eq!(seen["env"].get("GATEWAY_PARENT_PID"), None);
    launched.finish().await;
    drop(leaked);
}

#[tokio::test]
async fn a_program_that_the_launcher_can_not_find_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { command: vec!["no-such-program".to_owned()], ..config("well.mjs") };
    let bench = Bench::start_by(Some(launcher(directory.path())), config);
    bench.until("a failure", |status| status.workers[0].last_error.is_some()).await;
    let worker = bench.worker();
    let error = worker.last_error.unwrap_or_default();
    assert!(error.starts_with("it could not be started: cannot start no-such-program: No such"), "{error}");
    bench.finish().await;
}

#[tokio::test]
async fn no_worker_outlives_a_gateway_that_is_killed() {
    let pid_file = |directory: &Path| directory.join("pid");
    if let Some(directory) = std::env::var_os(GATEWAY) {
        // We are the gateway that will be killed.
        let directory = PathBuf::from(directory);
        let bench = Bench::start_by(Some(launcher(&directory)), config("well.mjs"));
        bench.ready().await;
        std::fs::write(directory.join("pid.new"), bench.pid().to_string()).unwrap();
        std::fs::rename(directory.join("pid.new"), pid_file(&directory)).unwrap();
        std::future::pending::<()>().await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backend::tests::launcher::no_worker_outlives_a_gateway_that_is_killed"])
        .env(GATEWAY, directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !pid_file(directory.path()).exists() {
        assert!(Instant::now() < deadline, "the gateway never started its worker");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let worker: u32 = std::fs::read_to_string(pid_file(directory.path())).unwrap().parse().unwrap();
    assert!(alive(worker));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    until_dead(worker).await;
}

#[tokio::test]
async fn node_says_ready_and_hears_shutdown_over_its_own_channel() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { ready: Ready::Message, shutdown: Goodbye::Message, ..config("ipc.mjs") };
    let bench = Bench::start_by(Some(launcher(directory.path())), config);
    bench.ready().await;
    let seen = bench.json_at("/").await;
    assert_eq!((&seen["connected"], &seen["waited"]), (&true.into(), &true.into()), "{seen}");
    let goodbye = bench.directory.path().join("goodbye");
    assert!(!goodbye.exists());
    bench.backend.restart().await.unwrap();
    assert_eq!(std::fs::read_to_string(goodbye).unwrap(), "said");
    bench.finish().await;
}

fn says_ready_by(name: &str) -> Config {
    let env = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
    Config { ready: Ready::Message, ready_timeout: Duration::from_secs(3), env, ..config("ipc.mjs") }
}

#[tokio::test]
async fn ready_is_heard_behind_a_handle_that_node_wants_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let patient = Config { ready_timeout: 2 * PATIENCE, ..says_ready_by("HANDLE") };
    let bench = Bench::start_by(Some(launcher(directory.path())), patient);
    bench.ready().await;
    bench.finish().await;
}

#[tokio::test]
async fn the_end_of_a_message_beyond_bounds_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start_by(Some(launcher(directory.path())), says_ready_by("LONG"));
    bench
        .until("it has not said it", |status| {
            let error = status.workers[0].last_error.as_deref();
            error.is_some_and(|error| error.contains("not ready after"))
        })
        .await;
    bench.finish().await;
}

#[tokio::test]
async fn a_worker_that_does_not_listen_on_its_channel_gets_sigterm_instead_of_the_message() {
    let directory = tempfile::tempdir().unwrap();
    let deaf = Config {
        ready: Ready::Message,
        shutdown: Goodbye::Message,
        env: BTreeMap::from([("DEAF".to_owned(), "1".to_owned())]),
        stop_grace: PATIENCE,
        ..config("ipc.mjs")
    };
    let bench = Bench::start_by(Some(launcher(directory.path())), deaf);
    bench.ready().await;
    bench.get("/").await;
    tokio::time::timeout(PATIENCE / 2, bench.backend.stop())
        .await
        .expect("it was asked in a way that it hears");
    assert_eq!(std::fs::read_to_string(bench.directory.path().join("goodbye")).unwrap(), "by signal");
    bench.finish().await;
}
