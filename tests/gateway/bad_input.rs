//! The operator's mistakes and the machine's troubles: one clear message with a remedy, and nothing lost.

use std::{net::TcpListener, process::Command};

use serde_json::json;

use crate::{BARBA, NAVAJA, Site, TestGateway, eventually};

#[test]
fn a_command_that_does_not_exist_ends_with_2_and_says_which_do() {
    let site = TestGateway::builder().site();
    site.cli(&["frobnicate"]).fails(2).says(&["frobnicate"]);
    site.cli(&["tenant"]).fails(2).says(&["add"]);
    site.cli(&["tenant", "add"]).fails(2);
    site.cli(&["run", "--no-such-flag"]).fails(2).says(&["--no-such-flag"]);
    site.cli(&["--help"]).ok().says(&["run", "tenant", "status"]);
    site.cli(&["--version"]).ok();
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once_with_file_key_value_and_remedy() {
    let site = Site::new();
    let text = format!(
        "state_dir = {:?}\nruntime_dir = {:?}\nshutdown_grace = \"soon\"\n[edge]\nhtps = []\nhttp = [\"localhost\"]\n\
         http_mode = \"both\"\n[edge.limits]\nheaders_max = -1\n[backend.api]\nworkers = \"many\"\n[cors]\n\
         credentials = true\nheaders = [\"*\"]\n[[tenant]]\nid = \"Bad Id\"\norigins = [\"https://*.vercel.app\"]\n",
        site.state(),
        site.runtime()
    );
    site.write("gateway.toml", text);
    for command in ["check", "run"] {
        let output = site.cli(&[command]).fails(2);
        output.says(&[
            "gateway.toml",
            "shutdown_grace",
            "soon",
            "htps",
            "https",
            "http_mode",
            "both",
            "headers_max",
            "-1",
            "workers",
            "many",
            "credentials",
            "Bad Id",
            "vercel.app",
            "public suffix",
        ]);
    }
    assert!(!site.state().exists(), "a bad configuration made directories");
}

#[test]
fn contradictions_are_told_with_both_sides() {
    for (config, words) in [
        (
            "[backend.api]\ncommand = [\"node\", \"x.mjs\"]\nupstream = \"http://127.0.0.1:1\"",
            &["command", "upstream"][..],
        ),
        ("[backend.api]\nhosts = [\"api.example\"]", &["command", "upstream"]),
        (
            "[backend.a]\ncommand = [\"x\"]\nhosts = [\"api.example\"]\n[backend.b]\ncommand = [\"x\"]\nhosts = [\"API.example\"]",
            &["api.example"],
        ),
        (
            "[[tenant]]\nid = \"a\"\norigins = [\"https://x.example\"]\n[[tenant]]\nid = \"b\"\norigins = [\"https://X.example:443\"]",
            &["https://x.example", "a", "b"],
        ),
        ("[[tenant]]\nid = \"a\"\n[[tenant]]\nid = \"a\"", &["a"]),
        ("[[tenant]]\nid = \"a\"\nbackend = \"nobody\"", &["nobody"]),
        ("tls.mode = \"files\"", &["tls"]),
        (
            "[pool]\nbudget = 10\ntenant_max = 8\ntenant_min = 6\n[[tenant]]\nid = \"a\"\ndatabase = \"sqlite://a.db\"\n[[tenant]]\nid = \"b\"\ndatabase = \"sqlite://b.db\"",
            &["budget", "tenant_min"],
        ),
    ] {
        TestGateway::builder().config(config).site().cli(&["check"]).fails(2).says(words);
    }
}

#[test]
fn a_configuration_that_is_not_there_or_no_toml_is_told() {
    let site = Site::new();
    site.cli(&["check"]).fails(2).says(&["gateway.toml"]);
    site.write("gateway.toml", "[edge\nhttp = ");
    site.cli(&["check"]).fails(2).says(&["gateway.toml", "1"]);
    site.write("gateway.toml", b"\xff\xfe\x00");
    site.cli(&["check"]).fails(2).says(&["gateway.toml"]);
}

#[test]
fn the_environment_goes_over_the_files_and_flags_over_both() {
    let site = TestGateway::builder().site();
    site.cli(&["check"]).ok();
    site.cli_with(&["check"], "", &[("GATEWAY_EDGE__LIMITS__HEADERS_MAX", "none")])
        .fails(2)
        .says(&["GATEWAY_EDGE__LIMITS__HEADERS_MAX", "none"]);
    site.cli_with(&["check"], "", &[("GATEWAY_EGDE__THREADS", "1")])
        .fails(2)
        .says(&["GATEWAY_EGDE__THREADS"]);
    site.write("conf.d/10-limits.toml", "[edge.limits]\nheaders_max = \"ten\"");
    site.cli(&["check"]).fails(2).says(&["10-limits.toml", "headers_max", "ten"]);
    site.write("conf.d/10-limits.toml", "[edge.limits]\nheaders_max = 7");
    site.cli(&["check"]).ok();
    site.cli(&["--set", "edge.limits.headers_max=many", "check"]).fails(2).says(&["headers_max", "many"]);
}

#[test]
fn a_port_in_use_is_told_with_its_address_and_nothing_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = TestGateway::builder().worker("echo.mjs").config(&format!("edge.http = [{address:?}]")).site();
    site.cli(&["run"]).fails(1).says(&[&address, "in use"]);
    assert!(crate::left_behind::processes(site.path()).is_empty());
    // Another gateway shares its port with its own threads, and with nobody else.
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let address = gateway.http().to_string();
    let site = TestGateway::builder().worker("echo.mjs").config(&format!("edge.http = [{address:?}]")).site();
    site.cli(&["run"]).fails(1).says(&[&address, "in use"]);
    for _ in 0..20 {
        gateway.get("/x").origin(NAVAJA).send().is(200);
    }
}

#[test]
fn a_backend_that_cannot_be_started_is_told_and_the_gateway_lives() {
    let backend = |command: &str| {
        let config =
            format!("[backend.api]\ncommand = [{command:?}]\nhosts = [\"api.example\"]\nallow_root = true");
        TestGateway::builder().shops().config(&config).config("edge.admit.waiting_timeout = \"500ms\"").site()
    };
    backend("/no/such/program").cli(&["run"]).fails(2).says(&["/no/such/program"]);
    // What can be seen only by trying does not stop the gateway.
    let gateway = TestGateway::start_without_workers(backend("/bin/false"));
    gateway.get("/x").origin(NAVAJA).send().problem(503).readable_from(NAVAJA);
    eventually("the log says why", || gateway.log().contains("exit code 1").then_some(()));
}

#[test]
fn a_corrupt_registry_is_told_and_not_touched() {
    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli(&["tenant", "add", "navaja", "--origin", NAVAJA]).ok();
    let registry = site.state().join("registry.db");
    let good = std::fs::read(&registry).unwrap();
    let mut broken = good.clone();
    broken.truncate(good.len() / 2);
    broken[100..200].fill(0xff);
    for bad in [&b"this is no database, however long one looks at it. ".repeat(100)[..], &broken] {
        std::fs::write(&registry, bad).unwrap();
        for name in ["registry.db-wal", "registry.db-shm"] {
            // What a crash left beside the old file does not belong to this one.
            let _none = std::fs::remove_file(site.state().join(name));
        }
        for arguments in [&["run"][..], &["tenant", "list"]] {
            site.cli(arguments).fails(1).says(&["registry.db"]);
        }
        assert!(std::fs::read(&registry).unwrap() == bad, "a corrupt registry was changed");
    }
    std::fs::write(&registry, &good).unwrap();
    site.cli(&["tenant", "show", "navaja"]).ok();
}

#[test]
fn a_registry_that_cannot_be_read_is_told() {
    let site = TestGateway::builder().worker("echo.mjs").site();
    // A directory in its place cannot be opened by anybody, root included.
    std::fs::create_dir_all(site.state().join("registry.db")).unwrap();
    site.cli(&["run"]).fails(1).says(&["registry.db"]);
    site.cli(&["tenant", "list"]).fails(1).says(&["registry.db"]);
}

#[test]
fn a_lost_or_wrong_sealing_key_is_told_and_nothing_is_overwritten() {
    let site = TestGateway::builder().worker("echo.mjs").site();
    site.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    let key = site.state().join("seal.key");
    let good = std::fs::read(&key).unwrap();
    let other = TestGateway::builder().site();
    other.cli(&["tenant", "add", "x", "--origin", BARBA, "--database", "sqlite://x.db"]).ok();
    let wrong = std::fs::read(other.state().join("seal.key")).unwrap();
    std::fs::write(&key, wrong).unwrap();
    site.cli(&["run"]).fails(1).says(&["seal"]);
    std::fs::remove_file(&key).unwrap();
    site.cli(&["run"]).fails(1).says(&["seal.key"]);
    std::fs::write(&key, "junk").unwrap();
    set_mode(&key, 0o600);
    site.cli(&["run"]).fails(1).says(&["seal.key"]);
    std::fs::write(&key, good).unwrap();
    // A key that others can read is no key.
    set_mode(&key, 0o644);
    site.cli(&["run"]).fails(1).says(&["seal.key", "chmod"]);
    set_mode(&key, 0o600);
    let gateway = site.start();
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A gateway one of whose directories is a file system of 3 MB. Only its own mount namespace knows it, so that nothing
/// stays mounted however the test ends.
pub(crate) fn on_a_small_disk(site: Site, directory: &std::path::Path) -> TestGateway {
    std::fs::create_dir_all(directory).unwrap();
    let directory = directory.display().to_string();
    let script = "mount -t tmpfs -o size=3m tmpfs \"$0\" && exec \"$@\"";
    let mut launcher = vec!["unshare", "--mount"];
    if !nix::unistd::geteuid().is_root() {
        launcher.push("--map-root-user");
    }
    launcher.extend(["sh", "-c", script, &directory]);
    TestGateway::start_through(site, &launcher)
}

#[test]
fn a_full_disk_is_told_loses_nothing_and_is_over_when_there_is_room_again() {
    let site = TestGateway::builder().worker("notes.mjs").site();
    let state = site.state();
    let gateway = on_a_small_disk(site, &state);
    gateway.cli(&["tenant", "add", "navaja", "--origin", NAVAJA, "--database", "sqlite://navaja.db"]).ok();
    let post = |sql: &str| gateway.request("POST", "/sql").origin(NAVAJA).json(&json!({ "sql": sql })).send();
    post("CREATE TABLE notes (text TEXT)").is(200);
    post("INSERT INTO notes VALUES ('kept')").is(200);
    // The state directory as the gateway's own mount namespace sees it.
    let inside = format!("/proc/{}/root{}", gateway.pid(), gateway.site().state().display());
    let filler = format!("{inside}/filler");
    let filled =
        Command::new("dd").args(["if=/dev/zero", "bs=4096", &format!("of={filler}")]).output().unwrap();
    assert!(!filled.status.success(), "four megabytes fit into three");

    let mut refused = 0;
    for number in 0..200 {
        let origin = format!("https://{}{number}.example", "long-".repeat(8));
        let output = gateway.cli(&["tenant", "add", &format!("t{number}"), "--origin", &origin]);
        if output.code != 0 {
            refused += 1;
            assert!(output.code == 1 && output.stderr.contains("full"), "{}", output.all());
            gateway.get("/notes").origin(&origin).send().is(403);
            break;
        }
    }
    assert_eq!(refused, 1, "a full disk took two hundred tenants");
    let full =
        (0..50).map(|_| post("INSERT INTO notes SELECT hex(randomblob(20000))")).find(|a| a.status != 200);
    let full = full.expect("a full disk took two megabytes").is(500).json();
    assert!(full["code"].as_str().unwrap().contains("FULL"), "{full}");
    assert!(post("SELECT text FROM notes LIMIT 1").is(200).text().contains("kept"));

    for order in [&["tenant", "dump", "navaja"][..], &["backup"]] {
        let file = gateway.site().path().join("out");
        let order = [order, &[file.to_str().unwrap()]].concat();
        let passphrase = [("GATEWAY_BACKUP_PASSPHRASE", "correct horse battery staple")];
        let output = gateway.site().cli_with(&order, "", &passphrase).fails(1);
        output.says(&["the disk is full", "state/scratch", "hint: make room"]);
        assert!(!file.exists());
    }

    std::fs::remove_file(filler).unwrap();
    gateway.cli(&["tenant", "add", "barba", "--origin", BARBA]).ok();
    post("INSERT INTO notes VALUES ('again')").is(200);
}

#[test]
fn a_reload_with_a_bad_file_changes_nothing_and_says_why() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let pids = gateway.worker_pids();
    let path = gateway.site().config_path();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}\n[edgy]\nx = 1\n")).unwrap();
    let output = gateway.cli(&["reload"]);
    assert!(matches!(output.code, 1 | 2), "{}", output.all());
    output.says(&["edgy"]);
    std::fs::remove_file(&path).unwrap();
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the log says why", || gateway.log().contains("gateway.toml").then_some(()));
    std::fs::write(&path, good).unwrap();
    gateway.get("/x").origin(NAVAJA).send().is(200);
    assert_eq!(gateway.worker_pids(), pids, "a refused reload touched the workers");
}

#[test]
fn orders_to_a_gateway_that_does_not_run_say_so() {
    let site = TestGateway::builder().worker("echo.mjs").site();
    for arguments in [
        &["status"][..],
        &["reload"],
        &["logs"],
        &["backend", "list"],
        &["tenant", "refused"],
        &["tenant", "check", "x"],
    ] {
        let output = site.cli(arguments);
        assert_ne!(output.code, 0, "{arguments:?}");
        let said = ["not running", "running gateway"].iter().any(|words| output.stderr.contains(words));
        assert!(said, "{arguments:?}: {}", output.all());
    }
}
