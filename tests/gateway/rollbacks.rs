//! The way back outlives the gateway: after a new start, a kill and a swap the same generations are there, with the
//! environment of then, sealed; and what cannot be gone back to says so.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;

use crate::{
    NAVAJA, Site, TestGateway,
    deploy::{GATEWAYS, current, deploy, served, site},
    eventually,
    running::workers,
};

fn shelf(site: &Site) -> PathBuf {
    site.state().join("generations/api.sealed")
}

/// The generation in force, and all that can be gone back to.
fn generations(gateway: &TestGateway) -> (u64, Vec<u64>) {
    let described: Value = gateway.cli(&["backend", "describe", "api", "--json"]).ok().json();
    let all = described["generations"].as_array().unwrap().iter();
    (described["generation"].as_u64().unwrap(), all.map(|one| one["number"].as_u64().unwrap()).collect())
}

#[test]
fn a_rollback_works_after_a_new_start_a_kill_and_a_swap() {
    let gateway = site("").start();
    for name in ["second", "third"] {
        deploy(&gateway, name).ok();
    }
    let gateway = gateway.stop().start();
    assert_eq!((served(&gateway).as_str(), generations(&gateway)), ("third", (3, vec![1, 2, 3])));
    gateway.cli(&["backend", "rollback", "api"]).ok();
    assert_eq!(served(&gateway), "second");
    assert!(!current(&gateway).ends_with("releases/first"));

    // The link went back with it, and so the new one starts from the generation that was gone back to.
    let gateway = gateway.kill().start();
    assert_eq!((served(&gateway).as_str(), generations(&gateway)), ("second", (2, vec![1, 2, 3])));
    gateway.cli(&["backend", "rollback", "api", "3"]).ok();
    assert_eq!(served(&gateway), "third");

    gateway.cli(&["swap"]).ok();
    assert_eq!(generations(&gateway), (3, vec![1, 2, 3]));
    gateway.cli(&["backend", "rollback", "api", "1"]).ok();
    assert_eq!(served(&gateway), "first");
    assert!(current(&gateway).ends_with("releases/first"));
    // None of the numbers is given again.
    deploy(&gateway, "fourth").ok().says(&["generation 4"]);
}

#[test]
fn an_environment_comes_back_with_what_its_file_said_then_and_lies_sealed_meanwhile() {
    let secret = "hunter2-and-more";
    let site = site("");
    let file = site.write("secrets.env", format!("PASSWORD={secret}\n"));
    site.configure(&format!("backend.api.env_file = {file:?}\nbackend.api.env.LABEL = \"before\""));
    site.write("app/releases/first/server.mjs", SAYS);
    let gateway = site.start();
    gateway.site().write("secrets.env", "PASSWORD=another\n");
    gateway.site().configure("backend.api.env.LABEL = \"after\"");
    gateway.cli(&["backend", "reload", "api"]).ok();
    assert_eq!(served(&gateway), "after another");
    let site = gateway.kill();
    let sealed = fs::read(shelf(&site)).unwrap();
    for plain in [secret, "PASSWORD", "server.mjs"] {
        assert!(!sealed.windows(plain.len()).any(|bytes| bytes == plain.as_bytes()), "{plain} is legible");
    }
    for (path, mode) in [(shelf(&site).as_path(), 0o600), (shelf(&site).parent().unwrap(), 0o700)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, mode, "{}", path.display());
    }
    let gateway = site.start();
    assert_eq!((served(&gateway).as_str(), generations(&gateway)), ("after another", (2, vec![1, 2])));
    let stays = "rolled back: generation 1 stays until `gateway backend reload api`, a deploy, or another configuration";
    gateway.cli(&["backend", "rollback", "api"]).ok().says(&[stays]);
    let before = format!("before {secret}");
    assert_eq!(served(&gateway), before);
    // The configuration says what it said when somebody chose otherwise: that choice holds.
    gateway.cli(&["reload"]).ok();
    let gateway = gateway.stop().start();
    assert_eq!((served(&gateway), generations(&gateway)), (before.clone(), (1, vec![1, 2])));
    let gateway = gateway.kill().start();
    assert_eq!(served(&gateway), before);
    gateway.cli(&["swap"]).ok();
    assert_eq!(served(&gateway), before);
    gateway.cli(&["backend", "describe"]).ok().says(&[stays]);
    gateway.cli(&["backend", "reload"]).ok();
    assert_eq!((served(&gateway).as_str(), generations(&gateway)), ("after another", (3, vec![1, 3])));
    // Another word of it is in force, whether a reload or a new start brings it.
    gateway.cli(&["backend", "rollback", "api", "1"]).ok();
    let site = gateway.stop();
    site.configure("backend.api.env.LABEL = \"at last\"");
    let gateway = site.start();
    assert_eq!(served(&gateway), "at last another");
    assert!(!gateway.log().contains(secret), "the log knows a secret");
}

const SAYS: &str = "
import http from 'node:http';
const server = http.createServer((request, response) => response.end(`${process.env.LABEL} ${process.env.PASSWORD}`));
server.listen(process.env.PORT);
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
";

#[test]
fn a_rollback_holds_although_the_gateway_is_killed_while_old_requests_still_run() {
    let site = site("[backend.api]\nstop_grace = \"1s\"\nenv.LABEL = \"before\"");
    site.write("app/releases/first/server.mjs", HOLDS);
    let gateway = site.start();
    gateway.site().configure("backend.api.env.LABEL = \"after\"");
    gateway.cli(&["backend", "reload", "api"]).ok();
    let _held = gateway.get("/hold").origin(NAVAJA).open();
    eventually("it is in flight", || (worker_in_flight(&gateway) == 1).then_some(()));
    let mut order = gateway.site().command(&["backend", "rollback", "api"]);
    let mut order = order.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it is in force", || (generations(&gateway).0 == 1).then_some(()));
    assert!(
        order.try_wait().unwrap().is_none(),
        "it does not say that it is done while the old worker is there"
    );
    let gateway = gateway.kill().start();
    assert!(!order.wait().unwrap().success());
    assert_eq!((served(&gateway).as_str(), generations(&gateway).0), ("before", 1));
}

fn worker_in_flight(gateway: &TestGateway) -> u64 {
    let status = gateway.status();
    let all: Vec<u64> =
        workers(&status).map(|worker| worker["in_flight"].as_u64().unwrap_or_default()).collect();
    all.into_iter().sum()
}

/// `/hold` is never answered.
const HOLDS: &str = "
import http from 'node:http';
http.createServer((request, response) => {
  if (request.url !== '/hold') response.end(process.env.LABEL);
}).listen(process.env.PORT);
";

#[test]
fn a_shelf_that_is_broken_or_sealed_for_somebody_else_costs_the_way_back_and_nothing_else() {
    let gateway = site("").start();
    deploy(&gateway, "second").ok();
    let mut site = gateway.stop();
    let good = fs::read(shelf(&site)).unwrap();
    for broken in [b"no seal at all".to_vec(), good[..good.len() - 1].to_vec(), Vec::new()] {
        fs::write(shelf(&site), broken).unwrap();
        let gateway = site.start();
        assert_eq!((served(&gateway).as_str(), generations(&gateway)), ("second", (1, vec![1])));
        gateway.cli(&["backend", "rollback", "api"]).fails(1).says(&["has no earlier generation"]);
        gateway.has_logged("earlier generations cannot be read");
        site = gateway.stop();
    }
    // As it was, it is another backend's under another name.
    fs::write(shelf(&site), &good).unwrap();
    fs::copy(shelf(&site), site.state().join("generations/web.sealed")).unwrap();
    let gateway = site.start();
    assert_eq!(generations(&gateway), (2, vec![1, 2]));
}

#[test]
fn new_starts_push_nothing_out_and_ten_are_kept() {
    let mut gateway = site("").start();
    for _ in 0..3 {
        gateway = gateway.stop().start();
    }
    assert_eq!(generations(&gateway), (1, vec![1]));
    for number in 2..=12 {
        gateway.site().configure(&format!("backend.api.env.LABEL = \"{number}\""));
        gateway.cli(&["backend", "reload", "api"]).ok();
    }
    let gateway = gateway.kill().start();
    assert_eq!(generations(&gateway), (12, (3..=12).collect()));
    gateway.cli(&["backend", "rollback", "api", "2"]).fails(1).says(&["no generation 2", "kept are: 3, 4"]);
}

#[test]
fn what_the_configuration_leads_to_no_more_serves_as_before_over_new_starts_and_swaps() {
    let site = site("");
    site.configure("backend.api.node.version = \"auto\"");
    let wish = |site: &Site, version: &str| site.write("app/releases/first/.nvmrc", version);
    let installed = std::process::Command::new("node").arg("--version").output().unwrap().stdout;
    let installed = String::from_utf8(installed).unwrap();
    wish(&site, &installed);
    let gateway = site.start();
    // As a `git pull` would bring it.
    wish(gateway.site(), "1");
    let gateway = gateway.kill().start();
    assert_eq!((served(&gateway).as_str(), generations(&gateway)), ("first", (1, vec![1])));
    gateway.has_logged("the backend starts as it was before");
    gateway.cli(&["swap"]).ok();
    assert_eq!(served(&gateway), "first");
    gateway.cli(&["backend", "reload", "api"]).fails(1).says(&[".nvmrc (1)"]);
    wish(gateway.site(), &installed);
    gateway.cli(&["backend", "reload", "api"]).ok();
    assert_eq!(served(&gateway), "first");

    // Where there is nothing from before it ends, and who has ordered it is told at once.
    wish(gateway.site(), "1");
    fs::remove_file(shelf(gateway.site())).unwrap();
    gateway.cli(&["swap"]).fails(1).says(&["the gateway has ended", "hint: "]);
    drop(gateway.kill());
}

#[test]
fn reloads_that_change_nothing_are_no_way_back_and_push_none_out() {
    let gateway = site("").start();
    deploy(&gateway, "second").ok();
    for _ in 0..10 {
        gateway.cli(&["backend", "reload", "api"]).ok();
    }
    assert_eq!(generations(&gateway), (12, vec![1, 12]));
    gateway.cli(&["backend", "rollback", "api"]).ok().says(&["rolled back to generation 1"]);
    assert_eq!(served(&gateway), "first");
}

#[test]
fn a_release_that_is_no_longer_there_is_no_way_back_and_says_so() {
    let gateway = site("backend.api.releases_kept = 2").start();
    for name in ["second", "third", "fourth"] {
        deploy(&gateway, name).ok();
    }
    let gateway = gateway.stop().start();
    assert_eq!(generations(&gateway), (4, vec![1, 3, 4]), "only what is there can be gone back to");
    let gone = gateway.cli(&["backend", "rollback", "api", "2"]).fails(1);
    gone.says(&["generation 2 of backend api", "is no longer there", "hint: kept are: 1, 3"]);
    assert_eq!(served(&gateway), "fourth");
    eventually("it is as it was", || Path::new(&shelf(gateway.site())).exists().then_some(()));
}

#[test]
fn a_rollback_whose_link_cannot_be_moved_is_one_error_and_the_workers_go_on() {
    let site = site("");
    let app = site.path().join("app");
    let open = |mode| fs::set_permissions(&app, fs::Permissions::from_mode(mode)).unwrap();
    // Root writes wherever it likes: then the gateway is somebody else.
    let launcher: &[&str] = if nix::unistd::geteuid().is_root() {
        let whole =
            std::process::Command::new("chown").args(["-R", GATEWAYS]).arg(site.path()).status().unwrap();
        assert!(whole.success());
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o711)).unwrap();
        &["setpriv", "--reuid", GATEWAYS, "--regid", GATEWAYS, "--clear-groups"]
    } else {
        &[]
    };
    let gateway = TestGateway::start_through(site, launcher);
    deploy(&gateway, "second").ok();
    let (pids, release) = (gateway.worker_pids(), current(&gateway));
    open(0o555);
    let output = gateway.cli(&["backend", "rollback", "api"]).fails(1);
    let output = output.says(&[
        "error: the link ",
        "app/current of backend api cannot be moved: Permission denied",
        "hint: let the",
    ]);
    assert_eq!(output.stderr.matches("error: ").count(), 1, "{output:?}");
    let after = (gateway.worker_pids(), current(&gateway), served(&gateway), generations(&gateway).0);
    assert_eq!(after, (pids, release, "second".to_owned(), 2));
    open(0o755);
    gateway.cli(&["backend", "rollback", "api"]).ok();
    assert_eq!(served(&gateway), "first");
    assert!(current(&gateway).ends_with("releases/first"));
}
