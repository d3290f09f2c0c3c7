//! Node's versions: installed from a mirror whole or not at all, chosen at a start and at each reload, found where others
//! have put them. Two real Nodes, and programs that say they are others.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::Value;

use crate::{
    HOST, NAVAJA, Output, Site, TestGateway, Wire, as_root,
    builder::worker_program,
    eventually,
    node_mirror::{Fault, NodeMirror, archive, fake, other, own},
    running::workers,
};

/// Says what it is, and what `node` is to it.
const SERVER: &str = "
import http from 'node:http';
import { execFileSync } from 'node:child_process';
const child = execFileSync('node', ['--version']).toString().trim();
const { PATH: path, FAKE_NODE: fake } = process.env;
const said = { version: process.version, child, path, fake, uid: process.getuid() };
const server = http.createServer((request, response) => {
  if (request.url !== '/held') response.end(JSON.stringify(said));
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
";

/// Of no account and no group of any system.
const STRANGER: &str = "backend.api.user = \"61234\"\nbackend.api.group = \"61234\"";

/// A backend in a directory of its own, and where its Nodes come from.
fn site(mirror: &str, fragment: &str) -> Site {
    let site = TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config(&format!("[node]\nmirror = {mirror:?}\nidle_timeout = \"20s\""))
        .config(fragment)
        .site();
    site.write("app/server.mjs", SERVER);
    site.configure(&format!(
        "[backend.api]\ncommand = [\"node\", \"server.mjs\"]\ndirectory = {:?}",
        site.path().join("app")
    ));
    site
}

fn says(gateway: &TestGateway) -> Value {
    gateway.get("/").origin(NAVAJA).send().is(200).json()
}

fn nodes(site: &Site) -> PathBuf {
    site.state().join("node")
}

/// What lies in the versions' directory, but for the lock.
fn names(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(nodes(site)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

fn row(list: &Output, version: &str) -> Value {
    let rows = list.json();
    rows.as_array().unwrap().iter().find(|row| row["version"] == version).cloned().unwrap_or_default()
}

#[test]
fn a_version_is_installed_run_and_changed_by_a_reload() {
    let mirror = NodeMirror::start();
    let ((own, old), (other, new)) = (own(), other());
    mirror.add(&old, &own);
    mirror.add(&new, &other);
    let site = site(&mirror.url(), &format!("backend.api.node.version = {new:?}"));
    let refused = site.cli(&["run"]);
    assert_ne!(refused.code, 0);
    refused.says(&["wants a Node that is not installed", &format!("gateway node install {new}")]);

    // Without a word it installs what the configuration wants.
    let installed = site.cli(&["node", "install"]).ok();
    installed.says(&["the checksum is right", &format!("Node {new} installed")]);
    assert_eq!(names(&site), [new.as_str()]);
    site.cli(&["node", "install", &new]).ok().says(&["is installed already"]);
    assert_eq!(mirror.asked(".tar.gz"), 1);
    let gateway = site.start();
    let said = says(&gateway);
    assert_eq!((&said["version"], &said["child"]), (&new.clone().into(), &new.clone().into()));
    let bin = nodes(gateway.site()).join(&new).join("bin").canonicalize().unwrap();
    assert!(said["path"].as_str().unwrap().starts_with(&format!("{}:", bin.display())), "{said}");
    gateway
        .cli(&["backend", "describe"])
        .ok()
        .says(&[&format!("node {new} from gateway, by node.version ({new})")]);
    gateway.cli(&["status"]).ok().says(&[&format!("node.version ({new})")]);

    let major = old.trim_start_matches('v').split('.').next().unwrap().to_owned();
    gateway.cli(&["node", "install", &major]).ok().says(&[&format!("Node {old} installed")]);
    assert_eq!(says(&gateway)["version"], new, "an installation changes nothing that runs");
    gateway.site().configure(&format!("backend.api.node.version = {major:?}"));
    gateway.cli(&["reload"]).ok();
    let said = says(&gateway);
    assert_eq!((&said["version"], &said["child"]), (&old.clone().into(), &old.clone().into()));
    let list = gateway.cli(&["node", "list", "--json"]).ok();
    assert_eq!(
        (&row(&list, &old)["used_by"][0], &row(&list, &new)["used_by"][0]),
        (&"api".into(), &Value::Null)
    );
    gateway.cli(&["node", "list"]).ok().says(&["VERSION", "gateway", "api"]);

    gateway.cli(&["node", "remove", &old]).fails(1).says(&["is in use by api", "hint: "]);
    remove_though_it_is_a_way_back(&gateway, &new, "generation 1 of api");
    assert_eq!(names(gateway.site()), [old.as_str()]);
    gateway.cli(&["node", "remove", &new]).fails(1).says(&["has installed no Node"]);
}

/// Nobody runs it any more, or soon; it goes once the rollback that would need it is given up.
fn remove_though_it_is_a_way_back(gateway: &TestGateway, version: &str, whose: &str) -> Output {
    let refused = eventually("its last process has ended", || {
        let refused = gateway.cli(&["node", "remove", version]).fails(1);
        (!refused.stderr.contains("still run")).then_some(refused)
    });
    refused.says(&[&format!("a rollback to {whose} would need Node v"), "`--force`"]);
    gateway.cli(&["node", "remove", version, "--force"]).ok().says(&["removed"])
}

#[test]
fn a_version_is_not_removed_from_under_a_worker_that_drains_or_a_job_that_runs() {
    let mirror = NodeMirror::start();
    for version in ["v90.1.0", "v91.0.0"] {
        mirror.add_fake(version);
    }
    let wish = |version: &str| format!("backend.api.node.version = {version:?}");
    let site = site(&mirror.url(), &wish("90"));
    site.configure("backend.api.drain_timeout = \"10m\"");
    site.configure(
        "[job.long]\nschedule = \"@yearly\"\ncommand = [\"node\", \"-e\", \"setInterval(() => {}, 9e5)\"]",
    );
    for version in ["90", "91"] {
        site.cli(&["node", "install", version]).ok();
    }
    let gateway = site.start();
    let mut held = Wire::tcp(gateway.http());
    held.send(format!("GET /held HTTP/1.1\r\nHost: {HOST}\r\nOrigin: {NAVAJA}\r\n\r\n"));
    eventually("a worker has it", || (workers(&gateway.status()).next()?["in_flight"] == 1).then_some(()));
    gateway.site().configure(&wish("91"));
    // It ends when the worker that drains has ended.
    let reload =
        gateway.site().command(&["reload"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the other one serves", || (says(&gateway)["fake"] == "v91.0.0").then_some(()));
    let still_run = "processes of api still run Node v";
    // For a moment it is the generation's in force still.
    let refused = eventually("the other generation is in force", || {
        let refused = gateway.cli(&["node", "remove", "90", "--force"]).fails(1);
        (!refused.stderr.contains("is in use by api")).then_some(refused)
    });
    refused.says(&[still_run, "hint: wait for"]);
    held.vanish();
    Output::of(&reload.wait_with_output().unwrap()).ok();
    remove_though_it_is_a_way_back(&gateway, "90", "generation 1 of api");

    let mut run = gateway.site().command(&["job", "run", "long"]);
    let run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || {
        (!gateway.cli(&["job", "list", "--json"]).json()[0]["under_way"].is_null()).then_some(())
    });
    gateway.cli(&["node", "install", "90"]).ok();
    gateway.site().configure(&wish("90"));
    gateway.cli(&["reload"]).ok();
    gateway.cli(&["node", "remove", "91", "--force"]).fails(1).says(&[still_run]);
    gateway.cli(&["job", "stop", "long"]).ok();
    Output::of(&run.wait_with_output().unwrap()).fails(1);
    remove_though_it_is_a_way_back(&gateway, "91", "generation 2 of api");
}

#[test]
fn auto_follows_the_applications_files_with_each_reload() {
    let mirror = NodeMirror::start();
    for version in ["v90.1.0", "v90.2.0", "v91.0.0"] {
        mirror.add_fake(version);
    }
    let site = site(&mirror.url(), "backend.api.node.version = \"auto\"");
    site.write("app/package.json", r#"{"type": "module", "engines": {"node": ">=90 <91"}}"#);
    site.cli(&["node", "install"]).ok();
    site.cli(&["node", "install", "91"]).ok();
    let gateway = site.start();
    assert_eq!(says(&gateway)["fake"], "v90.2.0", "the newest that fits");
    gateway.site().write("app/.nvmrc", "91\n");
    gateway.cli(&["backend", "reload"]).ok();
    assert_eq!(says(&gateway)["fake"], "v91.0.0");
    gateway.cli(&["backend", "describe"]).ok().says(&["node v91.0.0 from gateway, by .nvmrc (91)"]);
    gateway.site().write("app/.nvmrc", "92\n");
    let failed = gateway.cli(&["backend", "reload"]).fails(1);
    failed.says(&[
        ".nvmrc (92) wants a Node that is not installed",
        "v91.0.0 (gateway)",
        "hint: `gateway node install 92`",
    ]);
    assert_eq!(says(&gateway)["fake"], "v91.0.0", "the old one serves on");
    gateway.cli(&["backend", "rollback"]).ok();
    assert_eq!(says(&gateway)["fake"], "v90.2.0");
}

#[test]
fn whatever_is_wrong_with_an_archive_installs_nothing() {
    let mirror = NodeMirror::start();
    mirror.add_fake("v90.1.0");
    let site = site(&mirror.url(), "");
    let refused = |words: &[&str]| {
        site.cli(&["node", "install", "90"]).fails(1).says(words);
        assert_eq!(names(&site), [""; 0], "something is left");
    };
    mirror.checksum("v90.1.0", &"a".repeat(64));
    refused(&["is not what SHASUMS256.txt says", &"a".repeat(64), "hint: nothing was installed"]);
    mirror.checksum("v90.1.0", "none");
    refused(&["SHASUMS256.txt of v90.1.0 does not name"]);
    mirror.add_fake("v90.1.0");
    mirror.fault(Fault::Truncate(1000));
    refused(&["broke off after 1000 bytes", "hint: nothing was installed"]);
    mirror.fault(Fault::None);
    mirror.publish("v90.1.0", &archive("v90.1.0", &fake("v90.0.9")));
    refused(&["the Node in it says that it is v90.0.9"]);
    mirror.publish("v90.1.0", &archive("v90.1.0", b"#!/bin/sh\necho 'GLIBC_9.99 not found' >&2; exit 1\n"));
    refused(&["v90.1.0 does not run on this machine: GLIBC_9.99 not found"]);
    mirror.publish("v90.1.0", &archive("v90.0.0", &fake("v90.1.0")));
    refused(&["there is no node-v90.1.0-linux-", "/bin/node in it"]);
    mirror.publish("v90.1.0", b"no archive at all");
    refused(&["the archive of v90.1.0 is refused", "it is no whole tar archive"]);
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.as_old_mut().name[..9].copy_from_slice(b"../../out");
    header.set_cksum();
    let mut evil = tar::Builder::new(Vec::new());
    evil.append(&header, b"x".as_slice()).unwrap();
    mirror.publish("v90.1.0", &evil.into_inner().unwrap());
    refused(&["leads out of the release"]);
    assert!(!nodes(&site).join("out").exists() && !site.state().join("out").exists());
    mirror.add_fake("v90.1.0");
    site.configure("node.archive_bytes_max = 100");
    refused(&["has more than 100 bytes", "node.archive_bytes_max"]);
    site.cli(&["node", "install", "95"]).fails(1).says(&[
        "no version at",
        "fits 95",
        "gateway node list --remote",
    ]);
}

#[test]
fn an_installation_that_is_killed_leaves_nothing_that_could_be_run() {
    let mirror = NodeMirror::start();
    mirror.add_fake("v90.1.0");
    let site = site(&mirror.url(), "");
    mirror.fault(Fault::Hold(1000));
    let mut child = site.command(&["node", "install", "90"]).stderr(Stdio::null()).spawn().unwrap();
    let part = nodes(&site).join(".part-v90.1.0/archive");
    eventually("half of it is there", || {
        fs::metadata(&part).is_ok_and(|file| file.len() == 1000).then_some(())
    });
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert_eq!(names(&site), [".part-v90.1.0"]);
    let list = site.cli(&["node", "list", "--json"]).ok();
    assert_eq!(row(&list, "v90.1.0"), Value::Null);
    mirror.fault(Fault::None);
    site.cli(&["node", "install", "90"]).ok();
    assert_eq!(names(&site), ["v90.1.0"]);
}

#[test]
fn the_second_of_two_installations_waits_and_finds_it_done() {
    let mirror = NodeMirror::start();
    mirror.add_fake("v90.1.0");
    let site = site(&mirror.url(), "");
    mirror.fault(Fault::Hold(1000));
    let start = || {
        let mut command = site.command(&["node", "install", "90"]);
        command.stdout(Stdio::piped()).stderr(Stdio::from(
            fs::File::options().create(true).append(true).open(site.path().join("said")).unwrap(),
        ));
        command.spawn().unwrap()
    };
    let first = start();
    eventually("the first one downloads", || {
        nodes(&site).join(".part-v90.1.0/archive").exists().then_some(())
    });
    let second = start();
    eventually("the second one waits", || {
        let said = fs::read_to_string(site.path().join("said")).unwrap();
        said.contains("another installation is under way").then_some(())
    });
    site.cli(&["node", "remove", "90"]).fails(1).says(&["another `gateway node` is at work"]);
    mirror.fault(Fault::None);
    for (child, words) in [(first, "installed: "), (second, "is installed already: ")] {
        Output::of(&child.wait_with_output().unwrap()).ok().says(&[words]);
    }
    assert_eq!((mirror.asked(".tar.gz"), names(&site)), (1, vec!["v90.1.0".to_owned()]));
}

#[test]
fn without_a_network_what_is_there_is_enough_and_a_directory_is_a_mirror() {
    let mirror = NodeMirror::start();
    for version in ["v90.1.0", "v22.99.0"] {
        mirror.add_fake(version);
    }
    // Nothing listens there: it was somebody's port a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = site(&format!("http://{free}/dist"), "");
    let refused = site.cli(&["node", "install", "90"]).fails(1);
    refused.says(&["cannot reach the mirror", "hint: without a network", "node.path"]);
    assert_eq!(names(&site), [""; 0]);
    site.configure(&format!("node.mirror = \"file://{}\"", mirror.dist().display()));
    site.cli(&["node", "install", "90"]).ok().says(&["Node v90.1.0 installed"]);
    site.cli(&["node", "install", "lts/jod"]).ok().says(&["Node v22.99.0 installed"]);
    site.cli(&["node", "list", "--remote"]).ok().says(&["v90.1.0", "Jod", "2026-01-01", "installed"]);
    site.configure(&format!("node.mirror = \"http://{free}/dist\"\nbackend.api.node.version = \"90\""));
    let warned = site.cli(&["node", "install", "90"]).ok();
    warned.says(&["is installed already", "warning: cannot reach the mirror", "newer one is not known"]);
    site.cli(&["node", "list", "--remote"]).fails(1).says(&["cannot reach the mirror"]);
    let gateway = site.start();
    assert_eq!(says(&gateway)["fake"], "v90.1.0");
}

#[test]
fn nvms_versions_and_paths_own_are_found_and_a_path_comes_first() {
    let (_, version) = own();
    let site = site("https://mirror.example/dist", "backend.api.node.version = \"93\"");
    let at = site.write("home/.nvm/versions/node/v93.1.0/bin/node", fake("v93.1.0"));
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
    let home = site.path().join("home");
    let mut run = site.command(&["run"]);
    run.env("HOME", &home);
    let gateway = TestGateway::start_command(site, run);
    assert_eq!(says(&gateway)["fake"], "v93.1.0");
    let listed =
        gateway.site().cli_with(&["node", "list", "--json"], "", &[("HOME", home.to_str().unwrap())]).ok();
    let row = row(&listed, "v93.1.0");
    assert_eq!((&row["source"], &row["used_by"][0]), (&"nvm".into(), &"api".into()));
    let nvm_dir = home.join(".nvm");
    let elsewhere = [("HOME", "/"), ("NVM_DIR", nvm_dir.to_str().unwrap())];
    gateway.site().cli_with(&["node", "list"], "", &elsewhere).ok().says(&["v93.1.0"]);

    gateway.site().configure(&format!("backend.api.node.version = \"={}\"", version.trim_start_matches('v')));
    gateway.cli(&["reload"]).ok();
    assert_eq!(says(&gateway)["version"], version);
    gateway.cli(&["backend", "describe"]).ok().says(&[&format!("node {version} from PATH")]);

    let mine = gateway.site().write("mine/bin/node", fake("v94.0.0"));
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o755)).unwrap();
    gateway.site().configure(&format!("backend.api.node.path = {:?}", gateway.site().path().join("mine")));
    gateway.cli(&["reload"]).ok();
    assert_eq!(says(&gateway)["fake"], "v94.0.0");
    gateway.cli(&["backend", "describe"]).ok().says(&["node v94.0.0 from node.path, by node.path"]);
}

#[test]
fn a_choice_holds_for_backends_whose_configuration_names_none() {
    let mirror = NodeMirror::start();
    for version in ["v90.1.0", "v91.0.0"] {
        mirror.add_fake(version);
    }
    let site = site(&mirror.url(), "");
    site.cli(&["node", "use", "90"])
        .fails(1)
        .says(&["no Node that is 90 is installed", "`gateway node install 90`"]);
    for version in ["90", "91"] {
        site.cli(&["node", "install", version]).ok();
    }
    let gateway = site.start();
    assert_eq!(says(&gateway).get("fake"), None, "nobody has chosen: PATH's");
    gateway
        .cli(&["node", "use", "90"])
        .ok()
        .says(&["Node v90.1.0 (gateway) is the one of backends", "reload"]);
    gateway.cli(&["backend", "reload"]).ok();
    assert_eq!(says(&gateway)["fake"], "v90.1.0");
    gateway.cli(&["node", "use", "91", "--backend", "api"]).ok().says(&["gateway backend reload api"]);
    gateway.cli(&["backend", "reload"]).ok();
    assert_eq!(says(&gateway)["fake"], "v91.0.0");
    let list = gateway.cli(&["node", "list", "--json"]).ok();
    let chosen = |version| row(&list, version)["chosen"].clone();
    assert_eq!((&chosen("v90.1.0")[0], &chosen("v91.0.0")[0]), (&"default".into(), &"api".into()));
    gateway.cli(&["node", "use", "91", "--backend", "gone"]).fails(1).says(&["there is no backend `gone`"]);
    remove_though_it_is_a_way_back(&gateway, "90", "generation 2 of api")
        .says(&["(default): that choice is gone with it"]);
    gateway.site().configure("backend.api.node.version = \"91\"");
    gateway.cli(&["node", "use", "91", "--backend", "api"]).fails(1).says(&["the configuration says itself"]);
}

#[test]
fn where_workers_have_no_user_of_their_own_root_runs_a_command_as_whom_the_gateway_is() {
    if !as_root("that root becomes the owner of the state directory") {
        return;
    }
    let site = site("http://127.0.0.1:9", "");
    fs::create_dir_all(site.state()).unwrap();
    let owned = Command::new("chown").args(["-R", "61234:61234"]).arg(site.path()).status().unwrap();
    assert!(owned.success());
    let said = site.cli(&["node", "exec", "--", "id", "-u"]).ok().stdout.trim().to_owned();
    assert_eq!(said, "61234");
}

#[test]
fn a_command_is_run_in_the_applications_directory_as_its_user() {
    let mirror = NodeMirror::start();
    mirror.add_fake("v90.1.0");
    let root = geteuid().is_root();
    let site = site(&mirror.url(), if root { STRANGER } else { "" });
    site.configure("backend.api.node.version = \"90\"\nbackend.api.env.COLOUR = \"red\"");
    site.cli(&["node", "exec", "--", "node"]).fails(1).says(&["not installed", "gateway node install 90"]);
    site.cli(&["node", "install"]).ok();
    site.write("left/package.json", r#"{"name": "left", "version": "1.0.0"}"#);
    site.write(
        "app/package.json",
        r#"{"name": "app", "version": "1.0.0", "dependencies": {"left": "file:../left"}}"#,
    );
    site.write(
        "app/package-lock.json",
        r#"{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {
            "": {"name": "app", "version": "1.0.0", "dependencies": {"left": "file:../left"}},
            "../left": {"version": "1.0.0"},
            "node_modules/left": {"resolved": "../left", "link": true}}}"#,
    );
    let app = site.path().join("app");
    if root {
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o711)).unwrap();
        std::os::unix::fs::chown(&app, Some(61234), Some(61234)).unwrap();
    }
    site.cli(&["node", "exec", "--", "npm", "ci", "--no-audit", "--no-fund"]).ok();
    let made = fs::symlink_metadata(app.join("node_modules/left")).unwrap();
    assert!(made.is_symlink());
    let program = "const {env} = process; console.log(JSON.stringify({uid: process.getuid(), cwd: process.cwd(), \
        fake: env.FAKE_NODE, colour: env.COLOUR, port: env.PORT, worker: env.GATEWAY_WORKER, temporary: env.TMPDIR, \
        confinement: env.GATEWAY_CONFINEMENT}))";
    let said = site.cli(&["node", "exec", "--backend", "api", "--", "node", "-e", program]).ok().json();
    for (key, want) in
        [("fake", "v90.1.0"), ("colour", "red"), ("worker", "api/exec"), ("cwd", app.to_str().unwrap())]
    {
        assert_eq!(said[key], want, "{said}");
    }
    assert_eq!((said.get("port"), said.get("confinement")), (None, None));
    assert!(!Path::new(said["temporary"].as_str().unwrap()).exists(), "temporary files outlived the command");
    if root {
        assert_eq!((made.uid(), &said["uid"]), (61234, &61234.into()));
        let blocked =
            site.cli(&["node", "exec", "--", "cat", site.state().join("seal.key").to_str().unwrap()]);
        assert_ne!(blocked.code, 0, "{}", blocked.stdout);
    }
    assert_eq!(site.cli(&["node", "exec", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(site.cli(&["node", "exec", "--", "sh", "-c", "kill -TERM $$"]).code, 128 + 15);
    site.cli(&["node", "exec", "--", "no-such-program"]).fails(127).says(&["cannot start no-such-program"]);
    mirror.add_fake("v91.0.0");
    site.cli(&["node", "install", "91"]).ok();
    site.cli(&["node", "exec", "--version", "91", "--", "node", "-p", "process.env.FAKE_NODE"])
        .ok()
        .says(&["v91.0.0"]);
    site.configure("[backend.second]\ncommand = [\"node\"]\nallow_root = true");
    site.cli(&["node", "exec", "--", "true"]).fails(2).says(&["--backend", "api, second"]);
}

#[test]
fn what_ends_the_gateways_command_ends_what_it_runs() {
    let site = site("https://mirror.example/dist", "");
    let marker = site.path().join("began");
    let script = format!("trap 'exit 9' TERM; echo $$ > {}; while :; do sleep 0.05; done", marker.display());
    let start = || {
        let _old = fs::remove_file(&marker);
        let mut command = site.command(&["node", "exec", "--", "sh", "-c", &script]);
        let child = command.spawn().unwrap();
        let pid: i32 = eventually("it runs", || fs::read_to_string(&marker).ok()?.trim().parse().ok());
        (child, pid)
    };
    let (mut child, _) = start();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9), "the command's own end");
    let (mut child, pid) = start();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("it does not outlive it", || (!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(()));
}

#[test]
fn a_sandboxed_worker_of_another_user_runs_it_and_sees_nothing_beside_it() {
    if !as_root("a sandboxed worker of another user with a Node of the gateway's") {
        return;
    }
    let mirror = NodeMirror::start();
    let (other, version) = other();
    mirror.add(&version, &other);
    for sandbox in [true, false] {
        let wish =
            format!("{STRANGER}\nbackend.api.sandbox = {sandbox}\nbackend.api.node.version = \"lts/jod\"");
        let site = site(&mirror.url(), &wish);
        let program = fs::read(worker_program("confined.mjs")).unwrap();
        site.write("app/confined.mjs", program);
        site.configure(&format!(
            "backend.api.command = [\"node\", \"confined.mjs\"]\nbackend.api.hosts = [{HOST:?}]"
        ));
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o711)).unwrap();
        site.cli(&["node", "install"]).ok();
        let gateway = site.start();
        let state = gateway.site().state();
        let node = gateway.status()["backends"][0]["generations"][0]["node"].clone();
        assert_eq!(
            (&node["version"], &node["source"]),
            (&version.clone().into(), &"gateway".into()),
            "{node}"
        );
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o711);
        let read = |path: &Path| -> Value {
            gateway.get(&format!("/read?path={}", path.display())).origin(NAVAJA).send().is(200).json()
        };
        let program = nodes(gateway.site()).join(&version).join("include/node/node_version.h");
        assert_eq!(read(&program), "done");
        for secret in ["registry.db", "seal.key", "gateway.lock", "", "local-ca"] {
            assert_eq!(read(&state.join(secret)), "EACCES", "{secret}");
        }
    }
}
