//! The shipped units in a booted Debian: served from outside, and back in service by themselves after whatever ends them.

use std::{process::Command, thread};

use crate::{
    HOST, Output, eventually,
    machine::{Disk, INSIDE, Machine},
    node,
    node_mirror::{self, NodeMirror},
    outside::OUTSIDE,
};

/// One application on the ports of the socket unit.
const CONFIG: &str = r#"
[tls]
mode = "local"
[backend.api]
command = ["node", "/srv/app/app.mjs"]
hosts = ["api.example"]
workers = 2
[backend.api.health]
path = "/healthz"
"#;

/// A machine on which the gateway was installed.
pub(crate) fn installed(config: &str) -> Disk {
    let app = format!("{}/tests/data/booted/app.mjs", env!("CARGO_MANIFEST_DIR"));
    Disk::debian().with_gateway(config).file("/srv/app/app.mjs", std::fs::read(app).unwrap())
}

/// `GET https://api.example/PATH` from outside.
pub(crate) fn ask(machine: &Machine, address: &str, path: &str) -> Output {
    let authority = machine.path("/var/lib/gateway/local-ca/ca.pem");
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let curl =
        ["curl", "--silent", "--show-error", "--max-time", "60", "--cacert", authority.to_str().unwrap()];
    let (resolve, url) = (format!("{HOST}:443:{address}"), format!("https://{HOST}{path}"));
    machine.outside().run(&[&curl[..], &["--resolve", &resolve, &url]].concat())
}

/// The answer, once there is one.
pub(crate) fn served(machine: &Machine, path: &str) -> String {
    eventually("it is served over HTTPS from outside", || {
        let answer = ask(machine, INSIDE[0], path);
        (answer.code == 0).then_some(answer.stdout)
    })
}

/// The pid of the worker that answers, as the machine counts.
pub(crate) fn worker(machine: &Machine) -> String {
    let who: serde_json::Value = serde_json::from_str(&served(machine, "/who")).unwrap();
    who["pid"].to_string()
}

#[test]
fn the_shipped_unit_comes_back_by_itself_after_kills_a_reboot_and_a_power_cut() {
    let mut machine = installed(CONFIG).boot();
    assert_eq!(served(&machine, "/"), "hello");
    assert_eq!(ask(&machine, INSIDE[1], "/").ok().stdout, "hello", "over IPv6");

    let before = machine.main_pid("gateway").unwrap();
    machine.run(&["kill", "-9", &before.to_string()]).ok();
    // Nobody is refused while there is no gateway: the sockets are systemd's.
    assert_eq!(ask(&machine, INSIDE[0], "/").ok().stdout, "hello");
    let after =
        eventually("there is another one", || machine.main_pid("gateway").filter(|pid| *pid != before));
    assert_ne!(before, after);

    let before = worker(&machine);
    machine.run(&["kill", "-9", &before]).ok();
    eventually("another worker answers", || (worker(&machine) != before).then_some(()));

    machine.reboot();
    assert_eq!(served(&machine, "/"), "hello");
    machine.power_cut();
    assert_eq!(served(&machine, "/"), "hello");
    machine.run(&["systemctl", "reload", "gateway"]).ok();
    machine.run(&["systemctl", "is-active", "gateway.service", "gateway.socket"]).ok();
    assert_eq!(machine.run(&["systemctl", "is-system-running"]).stdout, "running\n");

    // One that hangs feeds no watchdog, and is replaced.
    machine.write("/etc/systemd/system/gateway.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n");
    machine.shell("systemctl daemon-reload && systemctl restart gateway").ok();
    let hung = machine.main_pid("gateway").unwrap();
    machine.run(&["kill", "-STOP", &hung.to_string()]).ok();
    eventually("another one has come", || machine.main_pid("gateway").filter(|pid| *pid != hung));
    assert_eq!(served(&machine, "/"), "hello");
    let why = machine.shell("journalctl --no-pager -u gateway -o cat | grep 'Watchdog timeout'");
    why.ok().says(&["gateway.service: Watchdog timeout"]);
}

/// The sockets are for both families, the configuration says one.
#[test]
fn a_configuration_of_ipv4_alone_starts_under_the_shipped_sockets() {
    let edge = "[edge]\nhttps = [\"0.0.0.0:443\"]\nhttp = [\"0.0.0.0:80\"]\n";
    let machine = installed(&format!("{edge}{CONFIG}")).boot();
    assert_eq!(served(&machine, "/"), "hello");
    machine.run(&["systemctl", "is-active", "gateway.service", "gateway.socket"]).ok();
    machine.shell("journalctl --unit gateway").ok().says(&["takes IPv6 too"]);
    machine.run(&["gateway", "swap"]).ok();
    machine.run(&["systemctl", "restart", "gateway"]).ok();
    assert_eq!(served(&machine, "/"), "hello");
}

#[test]
fn only_the_threads_that_supervise_keep_capabilities_and_no_worker_does() {
    let machine = installed(CONFIG).boot();
    served(&machine, "/");
    // The machine's kernel has no Landlock: said where an operator looks, and once.
    machine.run(&["gateway", "status"]).ok().says(&["this kernel has no Landlock"]);
    let told = machine.shell("journalctl --unit gateway | grep --count 'this kernel has no Landlock'").ok();
    assert_eq!(told.stdout.trim(), "1");
    let gateway = machine.main_pid("gateway").unwrap();
    let script = format!(
        "for task in /proc/{gateway}/task/*; do \
         echo $(cat $task/comm) $(sed -n 's/^Cap\\(Prm\\|Eff\\|Inh\\|Amb\\):\\t//p' $task/status); done"
    );
    let shown = machine.shell(&script).ok().stdout;
    let (mut keep, mut gave_up) = (Vec::new(), 0);
    for line in shown.lines() {
        let (name, sets) = line.split_once(' ').unwrap();
        if sets.split(' ').all(|set| set == "0000000000000000") {
            gave_up += 1;
        } else {
            // CAP_KILL, CAP_SETGID, CAP_SETUID and nothing else.
            assert!(sets.split(' ').all(|set| set == "00000000000000e0"), "{line}");
            keep.push(name);
        }
    }
    keep.sort_unstable();
    assert_eq!(keep, ["gateway", "gateway-fork"], "{shown}");
    assert!(gave_up > 5, "{shown}");
    let status = served(&machine, "/status");
    let bits =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(bits(set), "0000000000000000", "{set} of a worker\n{status}");
    }
    assert_eq!(bits("NoNewPrivs:"), "1");
}

#[test]
fn a_configuration_that_is_bad_for_an_hour_costs_no_visit() {
    let machine = installed(CONFIG).boot();
    served(&machine, "/");
    machine.write("/etc/gateway/conf.d/bad.toml", "no_such_key = 1\n");
    machine.run(&["systemctl", "restart", "--no-block", "gateway"]).ok();
    let restarts = || {
        let shown = machine.run(&["systemctl", "show", "--property=NRestarts", "--value", "gateway"]).stdout;
        shown.trim().parse::<u32>().unwrap()
    };
    thread::scope(|scope| {
        // These come while nothing runs and nothing can.
        let waiting = scope.spawn(|| ask(&machine, INSIDE[0], "/"));
        eventually("it is tried again and again", || (restarts() >= 6).then_some(()));
        machine.run(&["rm", "/etc/gateway/conf.d/bad.toml"]).ok();
        assert_eq!(waiting.join().unwrap().ok().stdout, "hello");
    });
    machine.run(&["systemctl", "is-active", "gateway.service", "gateway.socket"]).ok();
}

#[test]
fn a_reload_that_takes_longer_than_a_start_may_is_waited_for() {
    let config = CONFIG.replace("workers = 2", "workers = 1");
    let machine = installed(&config).boot();
    served(&machine, "/");
    let before = worker(&machine);
    machine.write("/etc/systemd/system/gateway.service.d/short.conf", "[Service]\nTimeoutStartSec=3\n");
    machine.run(&["systemctl", "daemon-reload"]).ok();
    let slow = r#"["sh", "-c", "sleep 8 && exec node /srv/app/app.mjs"]"#;
    machine.write("/etc/gateway/gateway.toml", config.replace(r#"["node", "/srv/app/app.mjs"]"#, slow));
    machine.run(&["systemctl", "reload", "gateway"]).ok();
    assert_ne!(worker(&machine), before);
    machine.run(&["systemctl", "is-active", "gateway.service"]).ok();
}

#[test]
fn a_node_that_root_installs_is_run_by_the_services_workers_after_a_reload_and_a_restart() {
    let (mirror, (program, version)) = (NodeMirror::start(), node_mirror::other());
    mirror.add(&version, &program);
    let config =
        CONFIG.replace("workers = 2", "workers = 1\nuser = \"gateway-app\"\ndirectory = \"/srv/app\"");
    let config = format!("{config}[node]\nmirror = \"file:///srv/node-dist\"\n");
    let machine = installed(&config).directory("/srv/node-dist", mirror.dist()).boot();
    served(&machine, "/");
    machine.run(&["gateway", "node", "install", "22"]).ok().says(&[&format!("Node {version} installed")]);
    let place = format!("/var/lib/gateway/node/{version}");
    machine.run(&["stat", "--format", "%U %a", &place]).ok().says(&["gateway 755"]);
    machine.write("/etc/gateway/gateway.toml", config + "version = \"22\"\n");
    machine.run(&["systemctl", "reload", "gateway"]).ok();
    let runs_it = || {
        let program = machine.run(&["readlink", &format!("/proc/{}/exe", worker(&machine))]).ok();
        assert_eq!(program.stdout.trim(), format!("{place}/bin/node"));
        machine.run(&["stat", "--format", "%a", "/var/lib/gateway"]).ok().says(&["711"]);
    };
    runs_it();
    // systemd closes the state directory again at each start.
    machine.run(&["systemctl", "restart", "gateway"]).ok();
    runs_it();
    let said = machine
        .run(&["gateway", "node", "exec", "--", "node", "-p", "process.version + process.getuid()"])
        .ok();
    let user = machine.run(&["id", "-u", "gateway-app"]).ok();
    assert_eq!(said.stdout.trim(), format!("{version}{}", user.stdout.trim()));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_little_exposed() {
    let shipped = |name: &str| format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=25", &shipped("gateway.service")])
        .output()
        .unwrap();
    Output::of(&security).ok().says(&["Overall exposure level"]);
    let machine = installed(CONFIG).boot();
    let verified =
        machine.run(&["systemd-analyze", "verify", "--man=no", "gateway.service", "gateway.socket"]).ok();
    assert_eq!(verified.all().trim(), "");
}

#[test]
fn what_the_service_may_write_is_its_own() {
    let machine = installed(CONFIG).boot();
    served(&machine, "/");
    for (path, outcome) in
        [("/etc/x", "EROFS"), ("/srv/app/x", "EROFS"), ("/root/x", "EACCES"), ("/tmp/x", "written")]
    {
        assert_eq!(served(&machine, &format!("/write?{path}")), outcome, "{path}");
    }
    assert!(!machine.path("/tmp/x").exists(), "its /tmp is its own");
}

#[test]
fn an_application_with_native_modules_dns_and_tls_out_runs_under_the_shipped_unit() {
    let config = CONFIG.replace(r#"["api.example"]"#, r#"["api.example", "peer.example"]"#)
        + "[backend.api.env]\nNODE_OPTIONS = \"--use-openssl-ca\"\n";
    let mut disk = installed(&config).file("/etc/resolv.conf", format!("nameserver {OUTSIDE}\n"));
    for package in ["libsql", "@libsql/linux-x64-gnu", "@neon-rs/load", "detect-libc"] {
        let from = node::directory().join("node_modules").join(package);
        disk = disk.directory(&format!("/srv/app/node_modules/{package}"), from);
    }
    let machine = disk.boot();
    // Every name leads back to the machine.
    let dns = format!("{OUTSIDE}:53");
    machine.outside().serve(&[
        "pebble-challtestsrv",
        "-dns01",
        &dns,
        "-management",
        "127.0.0.1:8055",
        "-http01",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
        "-defaultIPv4",
        INSIDE[0],
        "-defaultIPv6",
        "",
    ]);
    let native = served(&machine, "/native");
    assert!(native.contains(r#""two":2"#), "{native}");
    assert_eq!(served(&machine, "/interfaces"), "host0 lo");
    let cpus: usize = served(&machine, "/cpus").parse().unwrap();
    assert!(cpus > 0 && cpus == thread::available_parallelism().unwrap().get(), "{cpus}");
    let answer = eventually("the name server answers", || {
        Some(served(&machine, "/out?peer.example")).filter(|answer| !answer.contains("EAI_AGAIN"))
    });
    assert!(answer.contains("certificate"), "{answer}");
    // The system's own store of authorities, as its administrator fills it.
    let ca = "/var/lib/gateway/local-ca/ca.pem /usr/local/share/ca-certificates/shop.crt";
    machine
        .shell(&format!("install -m 644 {ca} && update-ca-certificates && systemctl restart gateway"))
        .ok();
    assert_eq!(served(&machine, "/out?peer.example"), "200 hello");
}

#[test]
fn a_directory_that_is_closed_to_the_service_does_not_keep_the_others_from_being_watched() {
    let config = CONFIG.replace("workers = 2", "workers = 1\ndirectory = \"/srv/app\"\nwatch = true");
    let machine = installed(&config).file("/srv/app/closed/x", "").file("/srv/app/open/x", "").boot();
    machine.shell("chmod 700 /srv/app/closed && systemctl restart gateway").ok();
    eventually("it is ready", || (served(&machine, "/") == "hello").then_some(()));
    let before = worker(&machine);
    machine.write("/srv/app/open/x", "changed");
    eventually("another worker answers", || (worker(&machine) != before).then_some(()));
}

/// Chromium with its own sandbox, as Puppeteer starts it: the namespaces that the unit lets through, and the drop-in that
/// docs/systemd.md names.
#[test]
fn a_browser_draws_pages_in_its_own_sandbox_under_the_shipped_unit() {
    let libraries = "/usr/local/host/lib/x86_64-linux-gnu:/usr/local/host/lib/x86_64-linux-gnu/pulseaudio";
    let config =
        CONFIG.replace("workers = 2", "workers = 1\nuser = \"gateway-app\"\ndirectory = \"/srv/app\"");
    let config = format!(
        "{config}[backend.api.env]\nBROWSER = \"/usr/local/host/lib/chromium/chromium\"\n\
         BROWSER_LIBRARIES = {libraries:?}\n"
    );
    let machine =
        installed(&config).shows("/usr/local/host", "/usr").shows("/etc/fonts", "/etc/fonts").boot();
    let ready = || eventually("it is ready", || (served(&machine, "/") == "hello").then_some(()));
    ready();
    // <script>document.write('drawn ' + 6 * 7)</script>
    let page =
        "/browser?data:text/html;base64,PHNjcmlwdD5kb2N1bWVudC53cml0ZSgnZHJhd24gJyArIDYgKiA3KTwvc2NyaXB0Pg==";
    let refused = served(&machine, page);
    // It starts, finds that it cannot lock its pages in, and ends rather than go without.
    assert!(refused.contains("Check failed: sys_chroot("), "{refused}");
    let drop_in = "[Service]\nSystemCallFilter=chroot\n";
    machine.write("/etc/systemd/system/gateway.service.d/browser.conf", drop_in);
    machine.shell("systemctl daemon-reload && systemctl restart gateway").ok();
    ready();
    let drawn = served(&machine, page);
    assert!(drawn.contains("drawn 42"), "{drawn}");
}

/// Workers of another user than the service, whose releases lie where the service may write.
#[test]
fn releases_are_deployed_and_workers_of_another_user_are_signalled_and_ended() {
    let config = CONFIG.replace(
        r#"command = ["node", "/srv/app/app.mjs"]"#,
        "command = [\"node\", \"app.mjs\"]\ndirectory = \"/srv/api/current\"\nuser = \"gateway-app\"\n\
         install = \"id -un > installed; umask 077; mkdir -p node_modules/a/b; echo > node_modules/a/b/c; test ! -e endless || sleep 600\"\ninstall_timeout = \"3s\"",
    );
    let app = std::fs::read(format!("{}/tests/data/booted/app.mjs", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut disk = installed(&config)
        .file("/etc/systemd/system/gateway.service.d/50.conf", "[Service]\nReadWritePaths=/srv/api\n")
        .file("/usr/lib/tmpfiles.d/api.conf", "Z /srv/api - gateway gateway -\n")
        .link("/srv/api/current", "releases/first");
    for release in ["/srv/api/releases/first", "/srv/second", "/srv/third"] {
        disk = disk.file(&format!("{release}/app.mjs"), &app);
    }
    let machine = disk.file("/srv/third/endless", "").boot();
    let uid = || {
        let who: serde_json::Value = serde_json::from_str(&served(&machine, "/who")).unwrap();
        who["uid"].to_string()
    };
    let own = machine.run(&["id", "-u", "gateway-app"]).ok().stdout;
    assert_eq!(uid(), own.trim());

    machine.run(&["gateway", "backend", "deploy", "api", "/srv/second"]).ok();
    assert_eq!(machine.run(&["cat", "/srv/api/current/installed"]).ok().stdout, "gateway-app\n");
    assert_eq!(uid(), own.trim());
    // It reads its release and no more than its group of the service's own.
    assert_eq!(served(&machine, "/write?/srv/api/x"), "EACCES");

    machine
        .run(&["gateway", "backend", "deploy", "api", "/srv/third"])
        .fails(1)
        .says(&["did not end within 3s"]);
    let releases = || machine.run(&["ls", "/srv/api/releases"]).ok().stdout;
    assert_eq!(releases().lines().count(), 2, "nothing is left of it: {}", releases());
    eventually("what the install command began has ended", || {
        (machine.run(&["pgrep", "--exact", "sleep"]).code == 1).then_some(())
    });
    machine.run(&["gateway", "backend", "signal", "CONT", "api"]).ok().says(&["2"]);
    served(&machine, "/");

    // Old releases go, though all that was installed in them is that other user's alone.
    for _ in 0..7 {
        machine.run(&["gateway", "backend", "deploy", "api", "/srv/second"]).ok();
    }
    assert_eq!(releases().lines().count(), 5 + 1, "{}", releases());
    assert_eq!(uid(), own.trim());
    assert_eq!(
        machine.run(&["stat", "--format", "%U", "/srv/api/current/node_modules/a"]).stdout,
        "gateway-app\n"
    );
}
