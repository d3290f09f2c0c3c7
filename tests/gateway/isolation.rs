//! What workers are kept to: whose they are, what they have given up, which files they see. Told by the workers
//! themselves and by the kernel. Becoming another user takes root: who is not root sees the refusal instead.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::{
    HOST, NAVAJA, Site, TestGateway, as_root, builder::worker_program, eventually, node, running::workers,
};

/// Of no account and no group of any system.
pub(crate) const STRANGER: &str = "user = \"61234\"\ngroup = \"61234\"";

/// A site whose worker lies in a directory of its own, with what the fragment says about it.
pub(crate) fn site(fragment: &str) -> Site {
    let site = TestGateway::builder()
        .shops()
        .config(&format!(
            "[backend.api]\ncommand = [\"node\", \"confined.mjs\"]\nhosts = [{HOST:?}]\nstop_grace = \"3s\"\n\
             {fragment}\n[backend.api.health]\npath = \"/healthz\""
        ))
        .site();
    site.write("app/confined.mjs", fs::read(worker_program("confined.mjs")).unwrap());
    let app = site.path().join("app");
    site.configure(&format!(
        "backend.api.directory = {app:?}\nbackend.api.env.TEST_SITE = {:?}",
        site.path()
    ));
    // A worker of another user has to pass through, as through any /srv and /run.
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o711)).unwrap();
    site
}

#[track_caller]
pub(crate) fn ask(gateway: &TestGateway, path: &str) -> Value {
    gateway.get(path).origin(NAVAJA).send().is(200).json()
}

#[track_caller]
pub(crate) fn file(gateway: &TestGateway, deed: &str, path: &Path) -> Value {
    ask(gateway, &format!("/{deed}?path={}", path.display()))
}

/// One line of `/proc/PID/status`, its words joined by single spaces.
fn line(status: &str, key: &str) -> String {
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {key} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every secret of the gateway: none may be read by a worker.
fn secrets(site: &Site) -> Vec<std::path::PathBuf> {
    let state = site.state();
    let key = fs::read_dir(state.join("local-ca")).unwrap().flatten().map(|entry| entry.path());
    let own = ["registry.db", "seal.key", "generations/api.sealed"].map(|name| state.join(name));
    let secrets: Vec<_> = key.chain(own).chain([state, site.config_path()]).collect();
    assert!(secrets.len() > 5 && secrets.iter().all(|path| path.exists()), "{secrets:?}");
    secrets
}

#[test]
fn a_worker_has_no_capability_no_foreign_group_and_no_way_to_new_ones() {
    let wish = if geteuid().is_root() { STRANGER } else { "" };
    let gateway = site(&format!("{wish}\nlimits = {{ open_files = 512 }}")).start();
    let own = ask(&gateway, "/self");
    let status = own["status"].as_str().unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(line(status, set), "0000000000000000", "{set}");
    }
    assert_eq!(line(status, "NoNewPrivs"), "1");
    let limits = own["limits"].as_str().unwrap();
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(limit("Max open files").contains("512"), "{limits}");
    assert!(limit("Max core file size").contains(" 0 "), "{limits}");
    if geteuid().is_root() {
        assert_eq!(line(status, "CapBnd"), "0000000000000000");
        assert_eq!(line(status, "Uid"), "61234 61234 61234 61234");
        assert_eq!(line(status, "Gid"), "61234 61234 61234 61234");
        assert_eq!(line(status, "Groups"), "61234");
        assert_eq!(line(status, "Umask"), "0007");
        assert_eq!((&own["home"], &own["env"]["USER"]), (&json!("/"), &json!("61234")));
        assert_eq!(own["socket"].as_u64().unwrap() & 0o007, 0, "others reach the worker's socket: {own}");
        let quarters = Path::new(own["env"]["PORT"].as_str().unwrap()).parent().unwrap();
        assert_eq!(fs::metadata(quarters).unwrap().permissions().mode() & 0o7777, 0o770);
    }
    let temporary = own["temporary"].as_str().unwrap();
    assert!(temporary.starts_with(gateway.site().runtime().to_str().unwrap()), "{temporary}");
}

#[test]
fn a_worker_of_its_own_user_reads_nothing_of_the_gateways_even_without_a_sandbox() {
    let wish = format!("{STRANGER}\nsandbox = false");
    if !as_root("a worker of another user") {
        let refused = site(&wish).cli(&["run"]);
        assert!(refused.code != 0 && refused.stderr.contains("CAP_SETUID"), "{}", refused.stderr);
        return;
    }
    let gateway = site(&wish).start();
    for secret in secrets(gateway.site()) {
        // The configuration is the operator's to protect; here it is as the test wrote it.
        if secret != gateway.site().config_path() {
            assert_eq!(file(&gateway, "read", &secret), "EACCES", "{}", secret.display());
        }
    }
    assert_eq!(file(&gateway, "write", &gateway.site().state().join("mine")), "EACCES");
}

#[test]
fn no_worker_leads_the_gateway_to_a_socket_that_is_not_the_workers() {
    if !as_root("a worker of another user") {
        return;
    }
    let gateway = site(&format!("{STRANGER}\nbackground_access = true")).start();
    let tickets = gateway.site().runtime().join("tickets.sock");
    assert!(tickets.exists());
    assert_eq!(ask(&gateway, &format!("/replace?target={}", tickets.display())), "done");
    // The office would give the gateway any tenant's; the worker that takes this one's place knows no such path.
    assert_eq!(ask(&gateway, "/tickets/barba"), Value::Null);
}

#[test]
fn a_sandboxed_worker_of_the_gateways_own_user_reads_nothing_of_the_gateways() {
    let site = site("allow_root = true\nallow_write = [\"uploads\"]");
    fs::create_dir(site.path().join("uploads")).unwrap();
    let gateway = site.start();
    assert_eq!(gateway.status()["backends"][0]["isolation"]["sandbox"], "on", "this kernel has no Landlock");
    let site = gateway.site();
    for secret in secrets(site) {
        assert_eq!(file(&gateway, "read", &secret), "EACCES", "{}", secret.display());
    }
    let own = ask(&gateway, "/self");
    let temporary = Path::new(own["temporary"].as_str().unwrap()).join("file");
    let deeds = [
        ("read", site.path().join("app/confined.mjs"), "done"),
        ("read", "/etc/hosts".into(), "done"),
        ("read", "/root".into(), "EACCES"),
        ("read", site.path().to_owned(), "EACCES"),
        ("write", site.path().join("app/file"), "EACCES"),
        ("write", site.path().join("file"), "EACCES"),
        ("write", "/dev/null".into(), "done"),
        ("write", site.path().join("uploads/file"), "done"),
        ("read", site.path().join("uploads/file"), "done"),
        ("write", temporary.clone(), "done"),
    ];
    for (deed, path, expected) in deeds {
        assert_eq!(file(&gateway, deed, &path), expected, "{deed} {}", path.display());
    }
    assert_eq!(ask(&gateway, &format!("/signal?pid={}", gateway.pid())), "EPERM");
    gateway.stop();
    assert!(!temporary.exists(), "temporary files outlived their worker");
}

#[test]
fn what_the_configuration_says_to_the_launcher_is_not_heard() {
    let said = "[backend.api.env]\nGATEWAY_EMPTY = \"1\"\nGATEWAY_SESSION = \"1\"\nGATEWAY_CHANNEL = \"7\"";
    let gateway = site(&format!("allow_root = true\n{said}")).start();
    assert!(gateway.site().path().join("app/confined.mjs").exists());
    let env = &ask(&gateway, "/self")["env"];
    let own =
        ["GATEWAY_EMPTY", "GATEWAY_SESSION", "GATEWAY_CHANNEL", "GATEWAY_CONFINEMENT", "GATEWAY_PARENT_PID"];
    assert!(own.iter().all(|name| env[*name].is_null()), "{env}");
}

#[test]
fn names_tls_and_native_modules_work_in_the_sandbox() {
    let site = site("allow_root = true");
    let native = node::directory().join("node_modules/@libsql/linux-x64-gnu/index.node");
    fs::copy(&native, site.path().join("app/native.node")).unwrap();
    let gateway = site.start();
    assert_eq!(ask(&gateway, "/native"), "done");
    assert_eq!(
        ask(&gateway, "/name?name=localhost")
            .as_str()
            .map(|ip| ip.contains("127.0.0.1") || ip.contains("::1")),
        Some(true)
    );
    let status = gateway.status();
    fs::copy(status["local_ca"].as_str().unwrap(), gateway.site().path().join("app/ca.pem")).unwrap();
    let url = format!("https://{}/healthz", gateway.https());
    assert_eq!(
        ask(&gateway, &format!("/tls?url={url}&name={HOST}&origin={NAVAJA}")),
        200,
        "{}",
        gateway.log()
    );
}

#[test]
fn root_starts_no_worker_as_root_unless_told() {
    if !as_root("that root starts no worker as root") {
        return;
    }
    let site = site("");
    site.cli(&["check"]).ok().says(&["warning: ", "backend.api", "`gateway run` as root is refused"]);
    let warned: Value = site.cli(&["check", "--json"]).ok().json();
    assert!(warned["warnings"].to_string().contains("would run as root"), "{warned}");
    let refused = site.cli(&["run"]);
    assert_ne!(refused.code, 0);
    for word in ["backend api: its workers would run as root", "set `user`", "`allow_root = true`"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
}

#[test]
fn an_unknown_user_is_a_problem_of_the_configuration() {
    let checked = site("user = \"no-such-user\"\nallow_read = [\"/no/such/place\"]").cli(&["check"]);
    assert_ne!(checked.code, 0);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    for word in ["backend.api.user", "useradd --system no-such-user", "there is no /no/such/place"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn workers_in_the_operators_group_are_warned_of() {
    // The account `daemon`, with a group of its own, is on every Unix.
    for (account, group, key) in [
        ("user = \"daemon\"", "daemon", Some("backend.api.user")),
        ("user = \"61234\"\ngroup = \"daemon\"", "daemon", Some("backend.api.group")),
        (STRANGER, "daemon", None),
        ("user = \"daemon\"", "nogroup", None),
    ] {
        let site = site(account);
        site.configure(&format!("admin.group = {group:?}"));
        let checked = site.cli(&["check"]).ok();
        let told = checked.stdout.contains("may give the gateway orders (`admin.group`)");
        assert_eq!(told, key.is_some(), "{account}: {}", checked.stdout);
        key.iter().for_each(|key| assert!(checked.stdout.contains(key), "{}", checked.stdout));
    }
}

#[test]
fn what_stops_the_launcher_is_said_in_the_status_and_in_the_log() {
    if !as_root("what stops the launcher") {
        return;
    }
    let site = site(STRANGER);
    fs::set_permissions(site.path().join("app"), fs::Permissions::from_mode(0o700)).unwrap();
    let gateway = TestGateway::start_without_workers(site);
    let error = eventually("the launcher fails", || {
        let status = gateway.status();
        workers(&status).find_map(|worker| worker["last_error"].as_str().map(str::to_owned))
    });
    for word in ["it could not be started: user `61234` cannot enter", "/app: Permission denied", "chmod o+x"]
    {
        assert!(error.contains(word), "{error}");
        gateway.has_logged(word);
    }
    assert!(gateway.cli(&["status"]).stdout.contains("cannot enter"));
}

#[test]
fn no_worker_of_another_user_outlives_a_gateway_that_is_killed() {
    if !as_root("that no worker of another user outlives the gateway") {
        return;
    }
    let gateway = site(STRANGER).start();
    let pids = gateway.worker_pids();
    assert!(!pids.is_empty());
    // Fails the test itself when a process is left.
    let _site = gateway.kill();
    eventually("the workers are gone", || {
        pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
    });
}

#[test]
fn signals_that_the_gateway_was_told_not_to_hear_are_a_workers_to_hear() {
    // Node undoes it itself, a shell or a program in C does not.
    let config = format!(
        "[backend.api]\ncommand = [\"sleep\", \"600\"]\nhosts = [{HOST:?}]\nallow_root = true\nsandbox = false"
    );
    let site = TestGateway::builder().shops().config(&config).site();
    let deaf = ["env", "--ignore-signal=INT,PIPE,HUP,USR1,RTMIN+1", "--block-signal=ALRM,USR1,RTMIN+2"];
    let gateway = TestGateway::start_without_workers_through(site, &deaf);
    let status = |pid: i32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status(gateway.pid());
    assert_ne!(line(&own, "SigBlk"), "0000000000000000", "or this test proves nothing: {own}");
    let worker = eventually("the launcher has become the program", || {
        let pid = workers(&gateway.status()).next()?["pid"].as_i64()?;
        let worker = status(i32::try_from(pid).ok()?);
        worker.starts_with("Name:\tsleep\n").then_some(worker)
    });
    // The C library keeps 32 and 33 to itself, and ignores them in what it starts until it needs them.
    let own_of_libc = 0b11 << 31;
    for set in ["SigIgn", "SigBlk", "SigCgt"] {
        let signals = u64::from_str_radix(&line(&worker, set), 16).unwrap();
        assert_eq!(signals & !own_of_libc, 0, "{set}: {signals:x}");
    }
}
