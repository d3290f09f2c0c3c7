//! Deploying releases by the command line, as CI does: the new one serves or everything is as it was.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, ChildStdin, Stdio},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    NAVAJA, Site, TestGateway, eventually,
    load::{Load, Target},
};

/// A release that says its name at every path but `/hold`, which it never answers.
const SERVER: &str = "
import http from 'node:http';
import fs from 'node:fs';
const name = fs.readFileSync('name', 'utf8');
if (name === 'broken') { console.error('cannot find the barber'); process.exit(7); }
const server = http.createServer((request, response) => request.url === '/hold' || response.end(name));
server.listen(process.env.PORT);
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
";

/// A site whose backend runs the release that `current` leads to.
pub(crate) fn site(more: &str) -> Site {
    let site = TestGateway::builder().shops().worker("echo.mjs").config(more).site();
    let app = site.path().join("app");
    fs::create_dir_all(app.join("releases/first")).unwrap();
    fill(&app.join("releases/first"), "first");
    std::os::unix::fs::symlink("releases/first", app.join("current")).unwrap();
    site.configure(&format!(
        "[backend.api]\ncommand = [\"node\", \"server.mjs\"]\ndirectory = {:?}",
        app.join("current")
    ));
    site
}

pub(crate) fn fill(directory: &std::path::Path, name: &str) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("server.mjs"), SERVER).unwrap();
    fs::write(directory.join("name"), name).unwrap();
}

/// What a build machine has.
pub(crate) fn build(gateway: &TestGateway, name: &str) -> PathBuf {
    let directory = gateway.site().path().join("build").join(name);
    fill(&directory, name);
    directory
}

pub(crate) fn deploy(gateway: &TestGateway, name: &str) -> crate::Output {
    let directory = build(gateway, name);
    gateway.cli(&["backend", "deploy", "api", directory.to_str().unwrap()])
}

pub(crate) fn served(gateway: &TestGateway) -> String {
    gateway.get("/").origin(NAVAJA).send().is(200).text()
}

pub(crate) fn releases(gateway: &TestGateway) -> usize {
    fs::read_dir(gateway.site().path().join("app/releases")).unwrap().count()
}

pub(crate) fn current(gateway: &TestGateway) -> PathBuf {
    gateway.site().path().join("app/current").canonicalize().unwrap()
}

#[test]
fn a_release_is_installed_proven_and_kept_and_a_rollback_takes_seconds() {
    let install = "backend.api.install = \"echo installed by $GATEWAY_WORKER > installed\"";
    let gateway = site(install).start();
    assert_eq!(served(&gateway), "first");
    let (load, target) = (Load::default(), Target::plain(&gateway));
    thread::scope(|scope| {
        let _ending = load.ending();
        scope.spawn(|| load.keep_asking(&gateway, &target, "/"));
        scope.spawn(|| load.keep_connecting(&gateway, &target));
        let output = deploy(&gateway, "second").ok();
        output.says(&["backend api deployed: 2 files", "api/0 ready (pid ", "generation 2"]);
        assert_eq!(served(&gateway), "second");
        let installed = fs::read_to_string(current(&gateway).join("installed")).unwrap();
        assert_eq!(installed, "installed by api/install\n");

        gateway.cli(&["backend", "rollback"]).ok();
        assert_eq!(served(&gateway), "first");
        assert!(current(&gateway).ends_with("releases/first"), "the link goes back as well");
        let link = fs::read_link(gateway.site().path().join("app/current")).unwrap();
        assert_eq!(link, PathBuf::from("releases/first"), "as relative as it was");
        for name in ["third", "fourth", "fifth", "sixth"] {
            deploy(&gateway, name).ok();
            assert_eq!(served(&gateway), name);
        }
        assert_eq!(releases(&gateway), 5 + 1, "the last five are kept, and what was put there by hand");
    });
    // A new start serves what was deployed last.
    let gateway = gateway.stop().start();
    assert_eq!(served(&gateway), "sixth");
}

#[test]
fn whatever_fails_leaves_everything_as_it_was() {
    let gateway = site("backend.api.install = \"cat name; ! grep -q unfit name\"").start();
    let pids = gateway.worker_pids();
    let output = deploy(&gateway, "broken").fails(5);
    output.says(&["worker api/0 is not ready", "| cannot find the barber"]);
    let output = deploy(&gateway, "unfit").fails(1);
    output.says(&["the install command of backend api failed", "| unfit", "exit code 1"]);
    let archive = gateway.site().path().join("broken.tgz");
    fs::write(&archive, "no archive").unwrap();
    gateway.cli(&["backend", "deploy", archive.to_str().unwrap()]).fails(2).says(&["the package is refused"]);
    gateway.cli(&["backend", "deploy", "nowhere.tgz"]).fails(1).says(&["nowhere.tgz"]);
    assert_eq!((served(&gateway).as_str(), gateway.worker_pids(), releases(&gateway)), ("first", pids, 1));
    assert!(current(&gateway).ends_with("releases/first"));
}

#[test]
fn the_second_of_two_deploys_is_refused_and_told_who_holds_it() {
    let site = site("");
    let gate = site.path().join("gate");
    site.configure(&format!(
        "backend.api.install = \"until [ -e {} ]; do sleep 0.05; done\"",
        gate.display()
    ));
    let gateway = site.start();
    thread::scope(|scope| {
        let first = scope.spawn(|| deploy(&gateway, "second"));
        let described = || -> Value { gateway.cli(&["backend", "describe", "--json"]).ok().json() };
        eventually("it installs", || (described()["deploy"]["step"] == "install").then_some(()));
        let refused = deploy(&gateway, "third").fails(1);
        refused.says(&["a deploy to backend api is under way: by ", "in step install", "hint: wait"]);
        gateway.cli(&["backend", "describe"]).ok().says(&["deploy by"]);
        fs::write(&gate, "").unwrap();
        first.join().unwrap().ok().says(&["deploy: install"]);
    });
    assert_eq!(served(&gateway), "second");
}

#[test]
fn the_next_deploy_may_begin_once_a_release_is_in_force_though_old_workers_still_have_requests() {
    let gateway = site("backend.api.stop_grace = \"300ms\"").start();
    let held = gateway.get("/hold").origin(NAVAJA).open();
    let described = || -> Value { gateway.cli(&["backend", "describe", "--json"]).ok().json() };
    eventually("it is in flight", || (described()["workers"][0]["in_flight"] == 1).then_some(()));
    let draining = || {
        let workers = described()["workers"].clone();
        workers.as_array().unwrap().iter().filter(|worker| worker["state"] == "draining").count()
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| deploy(&gateway, "second"));
        eventually("it is in force", || {
            let now = described();
            (now["generation"] == 2 && now["deploy"].is_null()).then_some(())
        });
        assert_eq!((served(&gateway).as_str(), draining()), ("second", 1));
        deploy(&gateway, "third").ok();
        first.join().unwrap().ok().says(&["generation 2"]);
    });
    assert_eq!((served(&gateway).as_str(), draining()), ("third", 1));
    drop(held);
    eventually("it has gone", || (draining() == 0).then_some(()));
}

#[test]
fn a_release_whose_install_a_kill_of_the_gateway_broke_off_is_none_and_goes() {
    let gateway = site("backend.api.install = \"grep -q first name || sleep 600\"").start();
    let output = thread::scope(|scope| {
        let deploying = scope.spawn(|| deploy(&gateway, "second"));
        let described = || -> Value { gateway.cli(&["backend", "describe", "--json"]).ok().json() };
        eventually("it installs", || (described()["deploy"]["step"] == "install").then_some(()));
        // The first, the one in the making, its mark and its temporary files.
        eventually("all of it is there", || (releases(&gateway) == 4).then_some(()));
        gateway.signal(Signal::SIGKILL);
        deploying.join().unwrap()
    });
    assert_ne!(output.code, 0, "{}", output.all());
    let gateway = gateway.kill().start();
    assert_eq!(served(&gateway), "first");
    eventually("what was not finished is removed", || (releases(&gateway) == 1).then_some(()));
    assert!(current(&gateway).ends_with("releases/first"));
}

#[test]
fn what_an_install_command_leaves_running_holds_up_nothing_and_goes_with_one_that_does_not_end() {
    let site = site("backend.api.install_timeout = \"5s\"");
    let told = site.path().join("pid");
    let daemon =
        format!("setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600' &", told.display());
    // Until it is there, so that its parent still lives.
    let started = format!("{daemon} until [ -e {} ]; do sleep 0.05; done;", told.display());
    site.configure(&format!(
        "backend.api.install = {:?}",
        format!("{started} ! grep -q slow name || sleep 600")
    ));
    let gateway = site.start();
    let pid = || -> i32 { fs::read_to_string(&told).unwrap().trim().parse().unwrap() };
    // It holds the install command's standard output.
    deploy(&gateway, "second").ok();
    assert_eq!(served(&gateway), "second");
    let left = pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), Signal::SIGKILL).unwrap();
    fs::remove_file(&told).unwrap();
    deploy(&gateway, "slow").fails(1).says(&["did not end within 5s (install_timeout)"]);
    let left = pid();
    eventually("nothing is left of it", || {
        let stat = fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    assert_eq!((served(&gateway).as_str(), releases(&gateway)), ("second", 2));
}

/// A deploy whose package comes from its standard input, and has begun to; what is sent of it, and the process.
fn begun(gateway: &TestGateway) -> (ChildStdin, Child) {
    let mut command = gateway.site().command(&["backend", "deploy", "api", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sending = command.spawn().unwrap();
    let mut package = sending.stdin.take().unwrap();
    package.write_all(&[0; 512]).unwrap();
    eventually("it is received", || (step(gateway) == "receive").then_some(()));
    (package, sending)
}

fn step(gateway: &TestGateway) -> Value {
    gateway.status()["backends"][0]["deploy"]["step"].clone()
}

fn ctrl_c(mut sending: Child) {
    let pid = nix::unistd::Pid::from_raw(sending.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
    eventually("it has ended", || sending.try_wait().unwrap());
    let output = crate::Output::of(&sending.wait_with_output().unwrap());
    output.fails(130).says(&["interrupted: the package was not sent to its end, and nothing is deployed"]);
}

#[test]
fn a_package_that_is_not_sent_to_its_end_is_nothing_and_ctrl_c_says_so() {
    let gateway = site("").start();
    let (package, sending) = begun(&gateway);
    ctrl_c(sending);
    eventually("the next one may", || step(&gateway).is_null().then_some(()));
    deploy(&gateway, "second").ok();
    drop(package);
}

#[test]
fn ctrl_c_is_heard_while_the_gateway_hangs_and_nothing_is_left_of_the_package() {
    let gateway = site("").start();
    let (package, sending) = begun(&gateway);
    gateway.signal(Signal::SIGSTOP);
    ctrl_c(sending);
    gateway.signal(Signal::SIGCONT);
    eventually("the next one may", || step(&gateway).is_null().then_some(()));
    assert_eq!((served(&gateway).as_str(), releases(&gateway)), ("first", 1));
    drop(package);
}

#[test]
fn a_package_whose_sender_was_cut_off_between_two_files_is_refused() {
    let gateway = site("").start();
    let directory = build(&gateway, "second");
    let archive = gateway.site().path().join("whole.tar");
    let mut tar = std::process::Command::new("tar");
    tar.arg("cf").arg(&archive).arg("-C").arg(&directory).args(["name", "server.mjs"]);
    assert!(tar.status().unwrap().success());
    // One header, one block.
    let cut = &fs::read(&archive).unwrap()[..1024];
    fs::write(&archive, cut).unwrap();
    let refused = gateway.cli(&["backend", "deploy", "api", archive.to_str().unwrap()]).fails(2);
    refused.says(&["the package is refused: it is no whole tar archive"]);
    assert_eq!((served(&gateway).as_str(), releases(&gateway)), ("first", 1));
}

#[test]
fn a_reload_waits_for_no_worker_that_an_earlier_one_has_replaced() {
    let gateway = site("backend.api.stop_grace = \"300ms\"").start();
    let held = gateway.get("/hold").origin(NAVAJA).open();
    let described = || -> Value { gateway.cli(&["backend", "describe", "--json"]).ok().json() };
    eventually("it is in flight", || (described()["workers"][0]["in_flight"] == 1).then_some(()));
    thread::scope(|scope| {
        let first = scope.spawn(|| gateway.cli(&["backend", "reload", "api"]));
        eventually("it is in force", || (described()["generation"] == 2).then_some(()));
        gateway.cli(&["backend", "reload", "api"]).ok();
        first.join().unwrap().ok();
    });
    let workers = described()["workers"].clone();
    let left = workers.as_array().unwrap().iter().filter(|one| one["state"] == "draining");
    assert_eq!(left.map(|one| one["generation"].clone()).collect::<Vec<_>>(), [1], "{workers}");
    drop(held);
}

#[test]
fn a_directory_that_is_no_link_is_refused_with_a_remedy() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    deploy(&gateway, "second").fails(1).says(&["is no symbolic link", "hint: put what is there"]);
}

/// Of no account and no group of any system: whom the workers become, and what the gateway is, as a service.
const WORKERS: &str = "61234";
pub(crate) const GATEWAYS: &str = "61235";

#[test]
fn what_an_install_command_closes_to_the_gateway_goes_with_its_release() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: becoming two other users takes root");
        return;
    }
    let install = "mkdir -p made/deep tight && touch made/deep/file tight/file && ln -s ../../outside tight/link && \
                   chmod 755 made made/deep && chmod 555 tight && mkdir -m 700 $TMPDIR/closed && \
                   touch $TMPDIR/closed/file && ! grep -q unfit name";
    let more = format!(
        "[backend.api]\nuser = {WORKERS:?}\ngroup = {WORKERS:?}\nreleases_kept = 1\ninstall = {install:?}"
    );
    let site = site(&more);
    let outside = site.write("app/outside/file", "x");
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    open(site.path(), 0o711);
    open(outside.parent().unwrap(), 0o777);
    let whole = std::process::Command::new("chown").args(["-R", GATEWAYS]).arg(site.path()).status().unwrap();
    assert!(whole.success());
    let (groups, rights) = (format!("{GATEWAYS},{WORKERS}"), "+setuid,+setgid,+kill");
    let service = ["setpriv", "--reuid", GATEWAYS, "--regid", GATEWAYS, "--groups", &groups];
    let launcher = [&service[..], &["--inh-caps", rights, "--ambient-caps", rights]].concat();
    let gateway = TestGateway::start_through(site, &launcher);

    deploy(&gateway, "unfit").fails(1).says(&["the install command of backend api failed"]);
    assert_eq!((served(&gateway).as_str(), releases(&gateway)), ("first", 1));
    for name in ["second", "third"] {
        deploy(&gateway, name).ok();
        assert_eq!((served(&gateway).as_str(), releases(&gateway)), (name, 1 + 1), "{}", gateway.log());
        let made = fs::metadata(current(&gateway).join("made")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made).to_string(), WORKERS);
    }
    assert!(outside.exists(), "a link was followed");
    assert!(!gateway.log().contains("cannot be removed"), "{}", gateway.log());
}

#[test]
fn npm_needs_no_home_of_the_workers_user_to_install() {
    if !crate::as_root("that npm needs no home of the workers' user") {
        return;
    }
    // An account without a home, as `useradd --system` makes it: this one has `/`.
    let install = "npm cache verify && echo $HOME > home && test -d $HOME/.npm";
    let more = format!("[backend.api]\nuser = {WORKERS:?}\ngroup = {WORKERS:?}\ninstall = {install:?}");
    let site = site(&more);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(site.path(), open).unwrap();
    let gateway = site.start();
    deploy(&gateway, "second").ok();
    assert_eq!((served(&gateway).as_str(), releases(&gateway)), ("second", 2));
    let home = fs::read_to_string(current(&gateway).join("home")).unwrap();
    assert!(home.contains("app/releases/") && !std::path::Path::new(home.trim()).exists(), "{home}");

    let exec = ["node", "exec", "--", "sh", "-c", "npm cache verify && echo home $HOME"];
    let told = gateway.cli(&exec).ok();
    assert!(told.stdout.contains("home ") && !told.stdout.contains("home /\n"), "{}", told.stdout);
    // What the operator says is not judged.
    let site = gateway.stop();
    site.configure("backend.api.env.HOME = \"/nowhere\"");
    site.cli(&["node", "exec", "--", "sh", "-c", "echo $HOME"]).ok().says(&["/nowhere"]);
}
