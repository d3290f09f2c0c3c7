//! `gateway upgrade` in a booted Debian, under load from outside: a good program takes over, a broken one gives way to
//! the old one by itself, and nobody is refused meanwhile.

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use crate::{
    PATIENCE,
    booted::{ask, installed, served},
    eventually,
    machine::{INSIDE, Machine},
};

/// The application and the ports of the socket unit, with a plain port that serves: load without the cost of TLS.
const CONFIG: &str = r#"
[edge]
http_mode = "serve"
[edge.admit]
client_requests_per_second = 1000000
tenant_requests_per_second = 1000000
[tls]
mode = "local"
[backend.api]
command = ["node", "/srv/app/app.mjs"]
hosts = ["api.example"]
[backend.api.health]
path = "/healthz"
"#;

/// Takes the configuration as a gateway does, and does this instead of running.
fn broken(instead: &str) -> String {
    format!("#!/bin/sh\ncase \" $* \" in *' run '*) {instead};; *) exec /usr/local/bin/good \"$@\";; esac\n")
}

/// Strangers who `ask` all the time while `ordeal` goes on. Every one must be let in and answered.
pub(crate) fn under_load(machine: &Machine, ask: impl Fn() + Sync, ordeal: impl FnOnce()) {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    /// Ends the load also when the ordeal fails.
    struct Ending<'a>(&'a AtomicBool);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    thread::scope(|scope| {
        let strangers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    machine.outside().enter();
                    while !stop.load(Relaxed) {
                        ask();
                        answered.fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        let ending = Ending(&stop);
        let more = |than: usize| {
            eventually("strangers are answered", || {
                let gone = strangers.iter().any(thread::ScopedJoinHandle::is_finished);
                assert!(!gone, "a stranger was refused");
                (answered.load(Relaxed) > than).then_some(())
            });
        };
        more(20);
        ordeal();
        more(answered.load(Relaxed) + 20);
        drop(ending);
    });
}

/// A gateway's socket without a gateway.
const MUTE: &str = r#"
const path = "/run/gateway/admin.sock";
require("fs").rmSync(path, { force: true });
require("net").createServer(() => {}).listen(path);
"#;

/// What a later version may do to the registry before it fails.
const MIGRATES: &str = r#"
const db = new (require("/opt/node_modules/libsql"))("/var/lib/gateway/registry.db");
db.exec("CREATE TABLE invoice (id TEXT); ALTER TABLE tenant ADD COLUMN note TEXT");
db.exec("INSERT INTO _sqlx_migrations SELECT 9999, 'later', installed_on, 1, checksum, 0 FROM _sqlx_migrations");
db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
"#;

const DIED: &str = "it died at its start";

/// What makes a gateway's workers never get ready, from its start on.
const SICK: &str = "[backend.api]\ncommand = [\"sleep\", \"1000\"]\n";

fn one_request() {
    use std::io::{Read, Write};
    let address: SocketAddr = (INSIDE[0].parse::<std::net::IpAddr>().unwrap(), 80).into();
    let mut stream = TcpStream::connect(address).expect("nobody is refused");
    stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("everybody is answered");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer:?}");
}

fn machine(programs: &[(&str, String)]) -> Machine {
    let mut disk =
        installed(CONFIG).shows("/opt/node_modules", crate::node::directory().join("node_modules"));
    for good in ["/usr/local/bin/good", "/root/gateway"] {
        disk = disk.program(good, env!("CARGO_BIN_EXE_gateway"));
    }
    for (path, script) in programs {
        disk = disk.script(path, script);
    }
    let machine = disk.boot();
    served(&machine, "/");
    machine
}

#[test]
fn a_good_program_takes_over_under_load_and_nobody_is_refused() {
    let machine = machine(&[]);
    let pid = machine.main_pid("gateway").unwrap();
    machine.run(&["chmod", "700", "/root/gateway"]).ok();
    under_load(&machine, one_request, || {
        let told = machine.run(&["gateway", "upgrade", "/root/gateway"]).ok();
        let told = told.says(&["upgraded to gateway 0.", "gateway.old"]);
        assert!(!told.all().contains("units"), "they are this version's: {}", told.all());
    });
    // As an older version has brought it.
    let unit = "/etc/systemd/system/gateway.service";
    machine.shell(&format!("sed -i '/^ExecStartPre=/d' {unit} && systemctl daemon-reload")).ok();
    let told = machine.run(&["gateway", "upgrade", "/root/gateway"]).ok();
    told.says(&[&format!("units of another version ({unit}): `gateway bootstrap` shows")]);
    machine
        .run(&["gateway", "doctor"])
        .says(&[&format!("! units          other than this version's: {unit}")]);
    assert_eq!(machine.main_pid("gateway"), Some(pid), "it is the same process");
    let same = |one: &str, other: &str| machine.run(&["cmp", one, other]).code == 0;
    assert!(
        same("/usr/local/bin/gateway", "/root/gateway")
            && same("/usr/local/bin/gateway.old", "/usr/local/bin/good")
    );
    // Also the next boot starts it.
    machine.run(&["systemctl", "restart", "gateway"]).ok();
    assert_eq!(ask(&machine, INSIDE[0], "/").ok().stdout, "hello");
}

#[test]
fn a_broken_program_gives_way_to_the_old_one_under_load_and_nobody_is_refused() {
    let machine = machine(&[
        ("/root/dies", broken("exit 7")),
        // It lets everybody connect who would give an order, and answers nobody.
        ("/root/hangs", broken(&format!("exec node -e '{MUTE}'"))),
        // One more migration than the old one knows, and then the end.
        ("/root/migrates", broken("node /opt/migrates.js; exit 7")),
        ("/opt/migrates.js", MIGRATES.to_owned()),
        ("/root/slow", "#!/bin/sh\nexec sleep 1000\n".to_owned()),
        ("/root/other", "#!/bin/sh\necho hello\n".to_owned()),
        ("/root/picky", "#!/bin/sh\necho '{\"good\": false, \"problems\": [{\"key\": \"edge.https\", \"message\": \"no\"}]}'\n".to_owned()),
    ]);
    let upgrade = |file: &str| machine.run(&["gateway", "upgrade", file, "--within", "8s"]);
    let untouched =
        |inode: &str| assert_eq!(machine.run(&["stat", "-c", "%i", "/usr/local/bin/gateway"]).stdout, inode);
    let inode = machine.run(&["stat", "-c", "%i", "/usr/local/bin/gateway"]).stdout;
    machine.run(&["gateway", "tenant", "add", "early", "--origin", "https://early.example"]).ok();
    under_load(&machine, one_request, || {
        upgrade("/root/nowhere").fails(2).says(&["cannot be read", "nothing has changed"]);
        upgrade("/root/other").fails(2).says(&["is no gateway", "nothing has changed"]);
        machine.run(&["install", "-m", "644", "/root/other", "/root/closed"]).ok();
        upgrade("/root/closed").fails(2).says(&["`chmod +x /root/closed`", "nothing has changed"]);
        machine
            .run(&["gateway", "upgrade", "/root/slow", "--within", "1s"])
            .fails(2)
            .says(&["`/root/slow check --json` did not end within 1s", "nothing has changed"]);
        upgrade("/root/picky").fails(2).says(&["does not take the configuration: edge.https: no"]);
        untouched(&inode);
        for (file, why) in
            [("/root/dies", DIED), ("/root/migrates", DIED), ("/root/hangs", "it does not answer after 8s")]
        {
            let before = machine.main_pid("gateway");
            upgrade(file).fails(1).says(&[
                "the new program did not take over",
                why,
                "the old program serves again",
            ]);
            untouched(&inode);
            assert_ne!(machine.main_pid("gateway"), before, "{file}");
        }
    });
    machine.run(&["systemctl", "is-active", "gateway.service", "gateway.socket"]).ok();
    // The old one works with what the other has migrated, and has lost nothing.
    let registry = machine.run(&["cat", "/var/lib/gateway/registry.db"]).ok().stdout;
    assert!(registry.contains("CREATE TABLE invoice"), "it was migrated");
    machine.run(&["gateway", "tenant", "add", "late", "--origin", "https://late.example"]).ok();
    machine.run(&["gateway", "tenant", "list"]).ok().says(&["early", "late"]);
}

/// Whoever knocks is let in; what a sick program says to them is another matter.
fn let_in() {
    use std::io::{Read, Write};
    let address: SocketAddr = (INSIDE[0].parse::<std::net::IpAddr>().unwrap(), 80).into();
    let mut stream = TcpStream::connect(address).expect("nobody is refused");
    stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
    let _cut = stream.write_all(b"GET / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n");
    let _cut = stream.read_to_end(&mut Vec::new());
}

/// Order an upgrade to a program that never gets healthy, as a session of its own, and wait until it runs.
fn half_way(machine: &Machine, order: &str) {
    // It alone reads this: the old one has read its configuration, and will find it as it was.
    machine.write("/etc/gateway/conf.d/sick.toml", SICK);
    let unit = format!("--unit={order}");
    let start = ["systemd-run", "--quiet", "--collect", &unit, "--"];
    let upgrade = ["gateway", "upgrade", "/root/sick", "--within", "8s"];
    machine.run(&[&start[..], &upgrade].concat()).ok();
    eventually("the new program runs its worker", || {
        let pid = machine.main_pid("gateway")?;
        let runs = machine.run(&["cmp", &format!("/proc/{pid}/exe"), "/root/sick"]).code == 0;
        (runs && machine.run(&["pgrep", "--exact", "sleep"]).code == 0).then_some(())
    });
    machine.run(&["rm", "/etc/gateway/conf.d/sick.toml"]).ok();
}

/// The old program stands in its place, runs, and nothing is left of the other.
fn is_back(machine: &Machine) {
    eventually("the old program is in its place", || {
        let same = machine.run(&["cmp", "/usr/local/bin/gateway", "/usr/local/bin/good"]).code == 0;
        (same && !machine.path("/usr/local/bin/gateway.before").exists()).then_some(())
    });
    eventually("the old program runs", || {
        let pid = machine.main_pid("gateway")?;
        (machine.run(&["cmp", &format!("/proc/{pid}/exe"), "/usr/local/bin/good"]).code == 0).then_some(())
    });
    served(machine, "/");
    one_request_inside(machine);
}

/// Over the plain port, where it serves.
fn one_request_inside(machine: &Machine) {
    let ask = ["curl", "--silent", "--max-time", "20", "--header", "host: api.example", "http://127.0.0.1/"];
    assert_eq!(machine.run(&ask).ok().stdout, "hello");
}

#[test]
fn an_order_that_is_cut_off_half_way_brings_the_old_program_back_and_nobody_is_refused() {
    let mut machine = machine(&[]);
    machine.shell("cp /usr/local/bin/good /root/sick && echo >> /root/sick").ok();
    let send = |machine: &Machine, signal: &str, order: &str| {
        machine.run(&["systemctl", "kill", &format!("--signal={signal}"), order]).ok();
    };
    under_load(&machine, let_in, || {
        // The session is lost: it goes on to its verdict.
        half_way(&machine, "lost");
        send(&machine, "HUP", "lost");
        is_back(&machine);
        // Ctrl-C, as from another terminal: the verdict comes at once.
        half_way(&machine, "stopped");
        send(&machine, "TERM", "stopped");
        is_back(&machine);
        // Nobody is left to judge: systemd's timer does.
        half_way(&machine, "killed");
        send(&machine, "KILL", "killed");
        machine
            .run(&["gateway", "upgrade", "/root/gateway"])
            .fails(1)
            .says(&["an upgrade is under way, or was cut off", "systemctl restart gateway"]);
        is_back(&machine);
    });
    // After all that a good one takes over, and one timer is not left from before.
    machine.run(&["gateway", "upgrade", "/root/gateway"]).ok().says(&["upgraded to gateway 0."]);
    let timers = machine.run(&["systemctl", "list-timers", "--all", "--no-legend"]).stdout;
    assert!(!timers.contains("gateway"), "{timers}");

    half_way(&machine, "dark");
    machine.power_cut();
    is_back(&machine);
}
