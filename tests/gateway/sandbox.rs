//! What holds in the sandbox while the world around it changes: files that are put in place of others, sockets that
//! are there for somebody else, kernels that have no Landlock. `/etc` is one of the test's own, in a mount namespace.

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use nix::unistd::geteuid;
use serde_json::Value;

use crate::{
    HOST, Output, Site, TestGateway, as_root, eventually,
    isolation::{STRANGER, ask, file, site},
    node, node_mirror,
};

/// Where the test's own name server listens: port 53, which `/etc/resolv.conf` cannot change.
const NAME_SERVER: &str = "127.53.11.4";

/// And another's, which leads every name back here.
const NAME_SERVER_OF_HERE: &str = "127.53.11.6";

/// Has the program that it executes find no Landlock: a seccomp filter answers landlock_create_ruleset(2), 444 on every
/// machine, with ENOSYS (38).
const WITHOUT_LANDLOCK: &str = r#"
use POSIX;
my $prctl = { x86_64 => 157, aarch64 => 167 }->{ (POSIX::uname())[4] } or die "which machine?";
my $filter = pack("SCCL" x 4, 0x20, 0, 0, 0, 0x15, 0, 1, 444, 0x06, 0, 0, 0x00050000 | 38, 0x06, 0, 0, 0x7fff0000);
my $program = pack("Sx6P", 4, $filter);
$> == 0 or syscall($prctl, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
syscall($prctl, 22, 2, $program) == 0 or die "seccomp: $!";
exec { $ARGV[0] } @ARGV or die "exec: $!";
"#;

/// An `/etc` of the test's own, with a `/etc/gateway` that the shipped installation has: the gateway's, and its group's.
fn own_etc(site: &Site) -> PathBuf {
    let etc = site.path().join("etc");
    assert!(Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().unwrap().success());
    if !etc.join("gateway").exists() {
        fs::DirBuilder::new().mode(0o750).create(etc.join("gateway")).unwrap();
    }
    fs::write(etc.join("gateway/secret"), "secret").unwrap();
    replace(&etc.join("resolv.conf"), "nameserver 127.53.11.5\noptions timeout:1 attempts:1\n");
    etc
}

/// Start a gateway that has it for `/etc`.
fn start_with(site: Site, etc: &Path) -> TestGateway {
    let etc = etc.to_str().unwrap().to_owned();
    let script = r#"mount --bind "$0" /etc && exec "$@""#;
    TestGateway::start_through(site, &["unshare", "--mount", "sh", "-c", script, &etc])
}

/// Put a new file in its place, as `dhclient` and NetworkManager do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(new, path).unwrap();
}

/// Does the status say that workers cannot read the file?
fn warned(status: &Value) -> bool {
    status["warnings"].to_string().contains("/etc/resolv.conf")
}

/// Answer every question for an address with that one, as long as the test runs.
fn serve_names(server: &str, address: [u8; 4]) {
    let socket = UdpSocket::bind((server, 53)).unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let question = &question[..length];
            // The header's twelve bytes, the name up to its empty label, the type, the class.
            let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_for_an_address = question[end - 4..end - 2] == [0, 1];
            let mut answer = question[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_for_an_address), 0, 0, 0, 0]);
            answer.extend(&question[12..end]);
            if is_for_an_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
}

#[test]
fn a_sandboxed_worker_of_the_gateways_own_user_gives_it_no_orders_nor_does_its_orphan() {
    let gateway = site("allow_root = true").start();
    let socket = gateway.site().admin_socket();
    for deed in ["order", "orphan"] {
        let answer = ask(&gateway, &format!("/{deed}?socket={}&path=/status", socket.display()));
        let said = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        assert_eq!(said, "403", "{deed}");
    }
    gateway.has_logged("order refused: it shows no key");
    let key = gateway.site().runtime().join("admin.sock.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file(&gateway, "read", &key), "EACCES");
    // Under systemd's NoNewPrivileges, in a hardened container: who can read the key is no worker.
    let mut held = gateway.site().command_through(&["setpriv", "--no-new-privs"], &["status"]);
    Output::of(&held.output().unwrap()).ok();
    let stopped = gateway.stop();
    assert!(!stopped.runtime().join("admin.sock.key").exists());
}

#[test]
fn a_directory_with_a_secret_that_the_user_cannot_read_anyway_is_open_as_a_whole() {
    if !as_root("a secret in the directory of another user's worker") {
        return;
    }
    let site = site(STRANGER);
    let app = site.path().join("app");
    let secret = site.write("app/.env", "SECRET=1");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    replace(&app.join("words"), "before");
    site.configure(&format!("backend.api.env_file = {secret:?}"));
    let gateway = site.start();
    replace(&app.join("words"), "after");
    assert_eq!(file(&gateway, "read", &app), "done");
    assert_eq!(file(&gateway, "read", &app.join("words")), "done");
    assert_eq!(file(&gateway, "read", &secret), "EACCES");
}

#[test]
fn a_worker_resolves_names_by_a_server_that_was_named_after_it_had_started() {
    if !as_root("a name server on port 53") {
        return;
    }
    let site = site(STRANGER);
    let etc = own_etc(&site);
    let gateway = start_with(site, &etc);
    serve_names(NAME_SERVER, [203, 0, 113, 7]);
    replace(&etc.join("resolv.conf"), &format!("nameserver {NAME_SERVER}\noptions timeout:1 attempts:2\n"));
    assert_eq!(ask(&gateway, "/name?name=shop.example"), "203.0.113.7");
    for path in ["/etc/gateway", "/etc/gateway/secret"] {
        assert_eq!(file(&gateway, "read", Path::new(path)), "EACCES", "{path}");
    }
    assert!(!warned(&gateway.status()));
}

#[test]
fn an_application_with_a_native_module_asks_name_servers_and_verifies_https_by_the_systems_authorities() {
    if !as_root("a name server on port 53") {
        return;
    }
    let site = site(STRANGER);
    let native = node::directory().join("node_modules/@libsql/linux-x64-gnu/index.node");
    fs::copy(native, site.path().join("app/native.node")).unwrap();
    let etc = own_etc(&site);
    replace(&etc.join("resolv.conf"), &format!("nameserver {NAME_SERVER_OF_HERE}\n"));
    // The machine may say it in its own way, which comes before every name server.
    replace(&etc.join("hosts"), "127.0.0.1 localhost\n");
    replace(&etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n");
    serve_names(NAME_SERVER_OF_HERE, [127, 0, 0, 1]);
    let gateway = start_with(site, &etc);
    assert_eq!(ask(&gateway, "/native"), "done");
    assert_eq!(ask(&gateway, &format!("/name?name={HOST}")), "127.0.0.1");
    assert_eq!(ask(&gateway, &format!("/resolve?name={HOST}")), "127.0.0.1");

    let url = format!("https://{HOST}:{}/healthz", gateway.https().port());
    let fetched = || ask(&gateway, &format!("/fetch?url={url}"));
    trust(&etc, Path::new(gateway.status()["local_ca"].as_str().unwrap()));
    assert_eq!(fetched(), "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "Node has read nothing of it yet");
    let (own, other) = (node_mirror::own().0, gateway.site().path().join("other/bin/node"));
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::copy(node_mirror::other().0, &other).unwrap();
    for (program, extra, options) in [
        (&own, "/etc/ssl/certs/ca-certificates.crt", ""),
        (&own, "", "--use-openssl-ca"),
        (&other, "", "--use-system-ca"),
    ] {
        gateway.site().configure(&format!(
            "[backend.api]\nnode.path = {program:?}\n[backend.api.env]\nNODE_EXTRA_CA_CERTS = {extra:?}\n\
             NODE_OPTIONS = {options:?}"
        ));
        gateway.cli(&["backend", "reload", "api"]).ok();
        assert_eq!(fetched(), 200, "{extra}{options}: {}", gateway.log());
    }
}

/// Make it one of the authorities of that `/etc`, as `update-ca-certificates` does.
fn trust(etc: &Path, authority: &Path) {
    let certificates = etc.join("ssl/certs");
    let pem = fs::read_to_string(authority).unwrap();
    let bundle = fs::read_to_string(certificates.join("ca-certificates.crt")).unwrap();
    replace(&certificates.join("ca-certificates.crt"), &format!("{bundle}{pem}"));
    fs::write(certificates.join("shop.pem"), pem).unwrap();
    Output::of(&Command::new("openssl").arg("rehash").arg(&certificates).output().unwrap()).ok();
}

#[test]
fn a_worker_of_the_gateways_own_user_does_not_see_etc_gateway_and_a_replaced_resolv_conf_is_told() {
    if !as_root("an /etc of its own") {
        return;
    }
    let site = site("allow_root = true");
    let etc = own_etc(&site);
    let gateway = start_with(site, &etc);
    for (path, expected) in [("gateway", "EACCES"), ("gateway/secret", "EACCES"), ("resolv.conf", "done")] {
        assert_eq!(file(&gateway, "read", &Path::new("/etc").join(path)), expected, "{path}");
    }
    assert!(!warned(&gateway.status()));
    replace(&etc.join("resolv.conf"), "nameserver 127.53.11.5\n");
    assert_eq!(file(&gateway, "read", Path::new("/etc/resolv.conf")), "EACCES");
    let status = gateway.status();
    assert!(warned(&status), "{status}");
    eventually("the log says it once", || {
        let times = gateway.log().matches("has been replaced").count();
        assert!(times < 2, "{}", gateway.log());
        (times == 1).then_some(())
    });
    gateway.cli(&["backend", "reload", "api"]).ok();
    assert_eq!(file(&gateway, "read", Path::new("/etc/resolv.conf")), "done");
    assert!(!warned(&gateway.status()));
}

#[test]
fn devices_are_there_and_nothing_that_a_worker_has_written_can_be_executed() {
    let site = site("allow_root = true\nallow_write = [\"app/uploads\"]");
    let app = site.path().join("app");
    fs::create_dir(app.join("uploads")).unwrap();
    for (name, mode) in [("tool", 0o755), ("tools/deep", 0o755)] {
        let path = site.write(&format!("app/{name}"), fs::read("/bin/true").unwrap());
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let gateway = site.start();
    for device in ["null", "zero", "random", "urandom"] {
        assert_eq!(file(&gateway, "append", &Path::new("/dev").join(device)), "done", "{device}");
    }
    // Without a terminal there is none to open, which is another answer than "you may not".
    assert_eq!(file(&gateway, "append", Path::new("/dev/tty")), "ENXIO");
    for path in ["/dev", "/dev/kmsg", "/dev/shm"] {
        assert_eq!(file(&gateway, "read", Path::new(path)), "EACCES", "{path}");
    }
    for path in ["/proc/version", "/sys/kernel", "/etc/passwd", "/etc"] {
        assert_eq!(file(&gateway, "read", Path::new(path)), "done", "{path}");
    }
    for path in [app.join("tool"), app.join("tools/deep"), "/bin/true".into()] {
        assert_eq!(file(&gateway, "exec", &path), "done", "{}", path.display());
    }
    let own = ask(&gateway, "/self");
    let temporary = Path::new(own["temporary"].as_str().unwrap());
    for path in [app.join("uploads/tool"), temporary.join("tool")] {
        let copied = format!("/copy?from={}&path={}", app.join("tool").display(), path.display());
        assert_eq!(ask(&gateway, &copied), "done");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0o111);
        assert_eq!(file(&gateway, "read", &path), "done");
        assert_eq!(file(&gateway, "exec", &path), "EACCES", "{}", path.display());
    }
}

#[test]
fn a_directory_with_a_file_of_the_gateways_can_be_listed_and_is_told_by_check_and_autopsy() {
    let site = site("allow_root = true");
    let app = site.path().join("app");
    let secret = site.write("app/.env", "SECRET=1");
    site.configure(&format!("backend.api.env_file = {secret:?}"));
    let checked = site.cli(&["check"]).ok();
    checked.says(&["backend.api.env_file", "lies in the application's directory"]);
    let gateway = site.start();
    assert_eq!(file(&gateway, "list", &app), "done");
    assert_eq!(file(&gateway, "read", &app.join("confined.mjs")), "done");
    assert_eq!(file(&gateway, "read", &secret), "EACCES");
    replace(&app.join("later"), "written after the start");
    assert_eq!(file(&gateway, "read", &app.join("later")), "EACCES");
    let site = gateway.stop();
    site.configure("backend.api.health.path = \"/nowhere\"\nbackend.api.ready_timeout = \"2s\"");
    site.write("app/confined.mjs", "setInterval(() => {}, 1000)");
    let gateway = TestGateway::start_without_workers(site);
    let facts = eventually("the autopsy", || {
        let status = gateway.status();
        let facts = status["backends"][0]["workers"][0]["last_facts"].to_string();
        (facts != "[]" && facts != "null").then_some(facts)
    });
    for word in ["sandbox: ", "app/.env lies in its directory", "allow_read"] {
        assert!(facts.contains(word), "{word} is not in {facts}");
    }
}

#[test]
fn a_reload_of_one_backend_hides_the_file_that_it_names_anew() {
    let site = site("allow_root = true");
    let secret = site.write("app/later.env", "SECRET=1");
    let gateway = site.start();
    assert_eq!(file(&gateway, "read", &secret), "done", "it is nobody's yet");
    gateway.site().configure(&format!("backend.api.env_file = {secret:?}"));
    gateway.cli(&["backend", "reload", "api"]).ok();
    assert_eq!(file(&gateway, "read", &secret), "EACCES");
}

/// As docs/workers.md says.
#[test]
fn a_browser_draws_pages_and_to_have_a_sandbox_of_its_own_it_writes_to_proc() {
    let site = site(if geteuid().is_root() { STRANGER } else { "" });
    let (package, modules) =
        (node::directory().join("node_modules/playwright-core"), site.path().join("app/node_modules"));
    fs::create_dir(&modules).unwrap();
    assert!(Command::new("cp").arg("-r").arg(package).arg(modules).status().unwrap().success());
    let gateway = site.start();
    assert_eq!(ask(&gateway, "/browser"), "drawn 42 %PDF");
    let refused = ask(&gateway, "/browser?own");
    assert!(refused.as_str().unwrap().contains("No usable sandbox!"), "{refused}");
    gateway.site().configure("backend.api.allow_write = [\"/proc\"]");
    gateway.cli(&["backend", "reload", "api"]).ok();
    assert_eq!(ask(&gateway, "/browser?own"), "drawn 42 %PDF");
}

#[test]
fn a_kernel_without_landlock_is_told_once_and_shown_and_its_workers_serve() {
    let site = site("allow_root = true");
    site.configure("[backend.other]\ncommand = [\"node\", \"confined.mjs\"]\nallow_root = true");
    let other = format!(
        "backend.other.directory = {:?}\nbackend.other.hosts = [\"other.example\"]",
        site.path().join("app")
    );
    site.configure(&format!("{other}\nbackend.other.env.TEST_SITE = {:?}", site.path()));
    let gateway = TestGateway::start_through(site, &["perl", "-e", WITHOUT_LANDLOCK]);
    assert_eq!(file(&gateway, "read", &gateway.site().config_path()), "done", "there is a sandbox");
    let status = gateway.status();
    assert_eq!(status["backends"][0]["isolation"]["sandbox"], "unsupported");
    assert!(status["warnings"].to_string().contains("this kernel has no Landlock"), "{status}");
    gateway.cli(&["status"]).ok().says(&["this kernel has no Landlock"]);
    gateway.cli(&["backend", "reload", "api"]).ok();
    let log = gateway.has_logged("this kernel has no Landlock");
    assert_eq!(log.matches("this kernel has no Landlock").count(), 1, "{log}");
}

/// Reads what is outside, or makes what it may not make, before it listens.
const OUTSIDE: &str = "
import fs from 'node:fs';
if (process.env.DEED === 'read') fs.readFileSync(process.env.PLACE);
if (process.env.DEED === 'write') fs.mkdirSync(process.env.PLACE);
";

#[test]
fn a_worker_that_ends_at_what_the_sandbox_refuses_is_told_which_setting_opens_it() {
    for deed in ["read", "write"] {
        let site = site("allow_root = true");
        let app = site.write("app/confined.mjs", OUTSIDE);
        let file = site.write("outside", "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let place = if deed == "read" { file } else { app.with_file_name("uploads") };
        site.configure(&format!("backend.api.env.DEED = {deed:?}\nbackend.api.env.PLACE = {place:?}"));
        let gateway = TestGateway::start_without_workers(site);
        let fact = format!("it cannot {deed}: {} (outside the sandbox: `allow_{deed}`)", place.display());
        eventually("it is told", || gateway.status().to_string().contains(&fact).then_some(()));
        gateway.cli(&["status"]).ok().says(&[&fact, "EACCES"]);
    }
}
