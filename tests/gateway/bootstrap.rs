//! `gateway bootstrap` on a booted Debian: over real SSH from another machine, up to a request over HTTPS from there; who
//! cannot come in any more gets the old rules back.

use std::{fs, path::Path, process::Command};

use crate::{
    HOST, Output, booted,
    certificates::TestCa,
    eventually, homes,
    machine::{self, Disk, INSIDE, Machine},
    node_mirror::{self, NodeMirror},
    outside::OUTSIDE,
};

/// A port that somebody forgot: open before, closed by the firewall.
pub(crate) const FORGOTTEN: &str = "9999";

/// It outlives callers that go away without a word, as those of [`Server::reached`] do.
const LISTENER: &str =
    "require('net').createServer(s => s.on('error', () => {}).end('hello\\n')).listen(9999, '::')";

/// What is asked for in every test.
pub(crate) const ORDER: &str =
    "/root/gateway bootstrap --app /srv/app --domain api.example --command 'node app.mjs' --tls local --yes";

/// A server as it is rented: SSH for root on that port, an application, our program, and a forgotten listener.
pub(crate) struct Server {
    pub(crate) machine: Machine,
    key: tempfile::TempDir,
    port: &'static str,
}

impl Server {
    pub(crate) fn rented(port: &'static str, sshd: &str) -> Self {
        let server = Self::on(Disk::debian(), port, sshd);
        server.forget_a_listener();
        server
    }

    /// The same on another disk, and nobody has forgotten anything.
    pub(crate) fn on(disk: Disk, port: &'static str, sshd: &str) -> Self {
        let key = tempfile::tempdir().unwrap();
        let file = key.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).output();
        Output::of(&made.unwrap()).ok();
        let public = fs::read_to_string(file.with_extension("pub")).unwrap();
        let app = format!("{}/tests/data/booted/app.mjs", env!("CARGO_MANIFEST_DIR"));
        let machine = disk
            .file("/root/.ssh/authorized_keys", public)
            .file("/etc/ssh/sshd_config.d/test.conf", sshd)
            .file("/srv/app/app.mjs", fs::read(app).unwrap())
            .program("/root/gateway", machine::program())
            .boot();
        Self { machine, key, port }
    }

    fn forget_a_listener(&self) {
        let unit = ["systemd-run", "--quiet", "--unit=forgotten", "--", "/usr/bin/node", "-e", LISTENER];
        let script = unit.map(|word| format!("\"{word}\"")).join(" ");
        self.machine.shell(&script).ok();
        eventually("the forgotten port listens", || {
            let sockets = self.machine.run(&["cat", "/proc/net/tcp6"]).stdout;
            sockets.contains(":270F ").then_some(())
        });
    }

    /// A session of its own from outside.
    pub(crate) fn ssh(&self, order: &str) -> Output {
        self.machine.outside().run(&["sh", "-c", &format!("exec {}", self.caller(order))])
    }

    /// The same, and something is typed into it, without a terminal there.
    pub(crate) fn ssh_typing(&self, typed: &str, order: &str) -> Output {
        self.machine.outside().run(&["sh", "-c", &format!("echo '{typed}' | {}", self.caller(order))])
    }

    fn caller(&self, order: &str) -> String {
        let key = self.key.path().join("key");
        let options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
        ];
        let options = options.map(|option| format!("-o {option}")).join(" ");
        let order = order.replace('\'', r"'\''");
        format!("ssh -i {} -p {} {options} root@{} '{order}'", key.display(), self.port, INSIDE[0])
    }

    /// Can a stranger open a connection to that port, over both families?
    pub(crate) fn reached(&self, port: &str) -> [bool; 2] {
        INSIDE.map(|address| {
            let script = format!("exec 3<>/dev/tcp/{address}/{port}");
            self.machine.outside().run(&["timeout", "2", "bash", "-c", &script]).code == 0
        })
    }

    /// Everything that a set-up touches, as text.
    pub(crate) fn picture(&self) -> String {
        let script = "find /etc /usr/local /var/lib /root /srv -xdev ! -path '/var/lib/systemd/*' ! -path '/var/lib/dbus/*' \
             ! -name '*-' ! -name .updated -printf '%p %m %u %g %l\\n' | sort; \
             find /etc -xdev -type f ! -name '*-' ! -name .updated -exec sha256sum {} + | sort -k2; \
             getent passwd; getent group; nft list ruleset | grep -v expires; sysctl net.core.somaxconn net.ipv4.tcp_syncookies; \
             systemctl list-unit-files --no-legend --state=enabled; ls -A /var/log /run | grep gateway || true";
        self.machine.shell(script).ok().stdout
    }
}

/// Two pictures are the same; only what differs is shown.
#[track_caller]
pub(crate) fn same(one: &str, other: &str) {
    let only = |of: &str, not: &str| -> Vec<String> {
        of.lines().filter(|line| !not.lines().any(|known| known == *line)).map(str::to_owned).collect()
    };
    assert_eq!((only(one, other), only(other, one)), (Vec::new(), Vec::new()));
}

fn served(machine: &Machine) {
    assert_eq!(booted::served(machine, "/"), "hello");
    assert_eq!(booted::ask(machine, INSIDE[1], "/").ok().stdout, "hello", "over IPv6");
}

#[test]
fn a_rented_server_serves_https_behind_a_firewall_that_was_confirmed_and_stays() {
    let mut server = Server::rented("2222", "Port 2222\n");
    eventually("there is no firewall yet", || (server.reached(FORGOTTEN) == [true; 2]).then_some(()));

    let plan = server.ssh(&format!("{} --dry-run", ORDER.replace("--yes", "")));
    plan.ok().says(&["SSH on 2222", "over SSH, port 2222", "/etc/gateway/gateway.toml", "unless confirmed"]);
    assert!(!Path::new(&server.machine.path("/usr/local/bin/gateway")).exists(), "a plan changes nothing");

    // The session that builds it cannot confirm it: it was there before.
    let both = server.ssh(&format!("{ORDER} --confirm-within 5m && gateway bootstrap confirm"));
    assert_ne!(both.code, 0, "{both:?}");
    both.says(&["SECOND SSH session", "began before the firewall"]);
    served(&server.machine);
    assert_eq!(server.reached(FORGOTTEN), [false; 2]);
    assert!(server.reached("2222")[0]);
    let own = server.machine.run(&["gateway", "bootstrap", "confirm"]);
    own.says(&["no SSH session"]);

    server.ssh("gateway bootstrap confirm").ok().says(&["it stays"]);
    let set_up = server.picture();
    server.ssh(&ORDER.replace("/root/gateway", "gateway")).ok().says(&["nothing to do"]);
    same(&set_up, &server.picture());
    server.machine.run(&["systemctl", "start", "nftables.service"]).ok();
    assert_eq!(server.reached(FORGOTTEN), [false; 2], "after others have flushed all tables");
    server.machine.run(&["systemctl", "reload", "nftables.service"]).ok();
    assert_eq!(server.reached(FORGOTTEN), [false; 2], "and once more");

    server.ssh("gateway firewall allow 9999").ok();
    assert_eq!(server.reached(FORGOTTEN), [true; 2]);
    server.ssh("gateway firewall allow 9990-9999").ok().says(&[
        "9990-9999/tcp",
        "ports in common",
        ": 9999/tcp",
    ]);
    server.ssh("gateway firewall status").ok().says(&["in force as confirmed", "9990-9999/tcp"]);
    server.ssh("gateway firewall close 9999").ok().says(&["open besides", ": 9990-9999/tcp"]);
    assert_eq!(server.reached(FORGOTTEN), [true; 2], "the range is open");
    server.ssh("gateway firewall close 9990-9999").ok();
    // A listener more in the configuration is reached after a restart, one less is not after a reload.
    server.machine.write("/etc/gateway/conf.d/more.toml", "[edge]\nhttps = [\"[::]:443\", \"[::]:9999\"]\n");
    server.machine.run(&["systemctl", "stop", "forgotten"]);
    server.machine.run(&["systemctl", "restart", "gateway"]).ok();
    eventually("the firewall follows", || (server.reached(FORGOTTEN) == [true; 2]).then_some(()));
    server.machine.run(&["rm", "/etc/gateway/conf.d/more.toml"]).ok();
    server.machine.run(&["systemctl", "reload", "gateway"]).ok();
    eventually("and follows again", || (server.reached(FORGOTTEN) == [false; 2]).then_some(()));
    server.machine.run(&["systemctl", "restart", "gateway"]).ok();
    served(&server.machine);
    server.forget_a_listener();
    doctor_without_root_gives_no_false_verdicts(&server.machine);
    let refused = server.ssh("gateway firewall deny 10.77.0.0/24");
    refused.says(&["lock yourself out"]);

    server.machine.reboot();
    served(&server.machine);
    server.forget_a_listener();
    assert_eq!(server.reached(FORGOTTEN), [false; 2], "after a boot");
    server.machine.power_cut();
    served(&server.machine);
    server.forget_a_listener();
    assert_eq!(server.reached(FORGOTTEN), [false; 2], "after a power cut");
    server.ssh("gateway firewall status").ok().says(&["in force as confirmed"]);
    let other = "nft 'add table inet other; add chain inet other input { type filter hook input priority 10; policy drop; }; \
        add rule inet other input iif lo accept; add rule inet other input ct state established,related accept'";
    server.machine.shell(other).ok();
    server.machine.run(&["gateway", "doctor"]).says(&["the table `inet other`", "closes 80, 443, 2222"]);
    server.machine.run(&["nft", "delete", "table", "inet", "other"]).ok();
    server.machine.run(&["nft", "delete", "table", "inet", "gateway"]).ok();
    let doctor = server.ssh("gateway doctor");
    assert_eq!(doctor.code, 1, "{doctor:?}");
    doctor.says(&["gone from the kernel"]);
    server.ssh("gateway firewall reload").ok();
    assert_eq!(server.reached(FORGOTTEN), [false; 2], "after the repair");
}

/// Nobody sees the kernel's rules, the configuration and the gateway's socket; one who may read and order sees all but the rules.
fn doctor_without_root_gives_no_false_verdicts(machine: &Machine) {
    let doctor = |user: &[&str]| machine.run(&[&["setpriv"], user, &["--", "gateway", "doctor"]].concat());
    let nobody = doctor(&["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).ok();
    for name in ["configuration", "firewall", "gateway"] {
        let line = nobody.stdout.lines().find(|line| line.starts_with(&format!("- {name} ")));
        assert!(
            line.is_some_and(|line| line.contains("not checked: needs root")),
            "{name}: {}",
            nobody.stdout
        );
    }
    assert!(!nobody.stdout.contains('✗'), "{}", nobody.stdout);
    let firewall = machine.shell("runuser -u nobody -- gateway firewall status");
    assert_ne!(firewall.code, 0);
    firewall.says(&["this needs root"]);
    // A member may not read the configuration, and gives orders all the same; nobody else does.
    machine.shell("useradd --groups gateway-admin ada").ok();
    machine.shell("runuser -u ada -- gateway backend list").ok().says(&["api"]);
    assert_ne!(machine.shell("runuser -u ada -- cat /etc/gateway/gateway.toml").code, 0);
    let stranger = machine.shell("runuser -u nobody -- gateway status");
    assert_eq!(stranger.code, 4, "{stranger:?}");
    stranger.says(&["you may not give orders to the gateway at `/run/gateway/admin.sock`"]);
    machine.shell("userdel ada").ok();
    // Root can read what the service cannot.
    machine.shell("chmod 600 /etc/gateway/gateway.toml").ok();
    let closed = machine.run(&["gateway", "doctor"]);
    assert_eq!(closed.code, 1, "{closed:?}");
    closed
        .says(&["`gateway`, whom the service runs as, cannot read `/etc/gateway/gateway.toml`", "chmod 640"]);
    machine.shell("chmod 640 /etc/gateway/gateway.toml").ok();
    let member = doctor(&["--reuid=gateway", "--regid=gateway", "--init-groups"]);
    member.says(&[
        "configuration  /etc/gateway/gateway.toml:5: tls.mode",
        "- firewall       not checked: needs root",
        "✓ backend api",
    ]);
}

#[test]
fn a_firewall_that_nobody_confirms_goes_back_by_itself_and_by_a_power_cut() {
    let mut server = Server::rented("22", "Match User nobody\n    X11Forwarding no\n");
    server.ssh(&format!("{ORDER} --confirm-within 5s")).ok().says(&["SECOND SSH session"]);
    eventually("the old rules are back", || (server.reached(FORGOTTEN) == [true; 2]).then_some(()));
    server.ssh("gateway bootstrap confirm").fails(1).says(&["nobody has confirmed the firewall by"]);

    server.ssh(&format!("{ORDER} --confirm-within 10m")).ok();
    assert_eq!(server.reached(FORGOTTEN), [false; 2]);
    server.ssh("true").ok();
    server.machine.power_cut();
    served(&server.machine);
    server.forget_a_listener();
    eventually("nothing unconfirmed was on the disk", || {
        (server.reached(FORGOTTEN) == [true; 2]).then_some(())
    });

    server.ssh(&format!("{ORDER} --confirm-within 10m")).ok();
    assert_eq!(server.reached(FORGOTTEN), [false; 2]);
    server.machine.reboot();
    served(&server.machine);
    server.forget_a_listener();
    eventually("nor is it after an ordinary boot", || (server.reached(FORGOTTEN) == [true; 2]).then_some(()));
}

/// What was written for later boots is what the kernel has now, and what the unit grants is what the process has.
fn kernel_and_descriptors_are_as_planned(machine: &Machine) {
    let written = machine.run(&["cat", "/etc/sysctl.d/60-gateway.conf"]).ok().stdout;
    let settings: Vec<_> = written.lines().filter_map(|line| line.split_once(" = ")).collect();
    assert_eq!(settings, [("net.core.somaxconn", "4096"), ("net.ipv4.tcp_syncookies", "1")]);
    for (name, value) in settings {
        assert_eq!(machine.run(&["sysctl", "-n", name]).ok().stdout.trim(), value, "{name}");
    }
    let gateway = machine.main_pid("gateway").unwrap();
    let files = |pid: i32| -> [u64; 2] {
        let limits = machine.run(&["cat", &format!("/proc/{pid}/limits")]).ok().stdout;
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut numbers = files.split_whitespace().map(|number| number.parse().unwrap());
        [numbers.next().unwrap(), numbers.next().unwrap()]
    };
    let granted = machine.run(&["systemctl", "show", "--property=LimitNOFILE", "--value", "gateway"]).ok();
    let unit = include_str!("../../systemd/gateway.service");
    let planned = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap();
    assert_eq!(granted.stdout.trim(), planned);
    // No process can be given more than the first one may have, which in a container its host says.
    let most: u64 = planned.parse::<u64>().unwrap().min(files(1)[1]);
    assert_eq!(files(gateway), [most; 2]);
    // The queue of the listening socket itself: what the kernel cut it to.
    let queue = machine.shell("ss --listening --tcp --numeric --no-header 'sport = :443'").ok().stdout;
    let queues: Vec<_> = queue.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert!(!queues.is_empty() && queues.iter().all(|queue| *queue == "4096"), "{queue}");
}

#[test]
fn taken_back_the_machine_is_as_it_was() {
    let server = Server::rented("22", "");
    // As an old kernel has it, and somebody who read too many blogs.
    let kernel = ["net.core.somaxconn=128", "net.ipv4.tcp_syncookies=0"];
    kernel.iter().for_each(|setting| drop(server.machine.run(&["sysctl", "-w", setting]).ok()));
    // Somebody has tried it by hand once.
    let program =
        "printf '#!/bin/sh\\necho by hand\\n' > /usr/local/bin/gateway; chmod 755 /usr/local/bin/gateway";
    server.machine.shell(program).ok();
    let before = server.picture();
    // Nobody is in over SSH, as under cloud-init: there is nobody to cut off, and the rules last at once.
    let told = server.machine.shell(&format!("{ORDER} --json")).ok();
    served(&server.machine);
    doctor_is_told(&serde_json::from_str(&told.stdout).unwrap());
    server.machine.run(&["gateway", "firewall", "status"]).ok().says(&["in force as confirmed"]);
    kernel_and_descriptors_are_as_planned(&server.machine);
    server.machine.shell(ORDER).ok().says(&["nothing to do"]);
    // The one before stands beside it, until the next comes.
    server.machine.run(&["gateway", "upgrade", "/root/gateway"]).ok().says(&["gateway.old"]);
    others_data_stays(&server);
    server.machine.shell("/root/gateway bootstrap --undo --yes").ok().says(&["taken back: firewall"]);
    same(&before, &server.picture());
    assert_eq!(server.machine.run(&["gateway"]).ok().stdout, "by hand\n");
}

/// One document for scripts: plan, how far it came, and the last look at it all.
fn doctor_is_told(told: &serde_json::Value) {
    assert_eq!(told["done"], told["plan"]["steps"].as_array().unwrap().len());
    assert_eq!(told["facts"]["init"], "systemd");
    let findings = told["doctor"]["findings"].as_array().unwrap();
    for name in ["service", "firewall", "ports", "backend api"] {
        let finding = findings.iter().find(|finding| finding["name"] == name);
        assert_eq!(finding.unwrap()["verdict"], "good", "{name}: {told}");
    }
    // Nobody has made a record for it.
    assert_eq!(told["doctor"]["worst"], "bad", "{told}");
}

/// A tenant whose database lies elsewhere, and a file of the application: undo leaves them and what they need, which fits
/// again after another set-up.
fn others_data_stays(server: &Server) {
    let machine = &server.machine;
    machine
        .shell(
            "install -d -o gateway /srv/data && install -o gateway-app /dev/null /var/lib/gateway-app/kept",
        )
        .ok();
    let add = "gateway tenant add shop --origin https://shop.example --database sqlite:///srv/data/shop.db";
    machine.shell(add).ok();
    let named = "the registry `/var/lib/gateway/registry.db` names a tenant (`gateway tenant remove` first)";
    let forecast = machine.shell("gateway bootstrap --undo --dry-run").ok();
    forecast.says(&["will stay: directories", named, "tenants are removed by the gateway that runs"]);
    served(machine);
    // One whose configuration cannot be read shows no registry at all.
    machine
        .shell(
            "cp -a /etc/gateway/gateway.toml /root/good.toml && echo nonsense >> /etc/gateway/gateway.toml",
        )
        .ok();
    let unknown = "nothing shows where the registry lies";
    machine.shell("/root/gateway bootstrap --undo --yes").ok().says(&[unknown]);
    assert!(machine.path("/var/lib/gateway/registry.db").exists());
    machine.shell("cp -a /root/good.toml /etc/gateway/gateway.toml && rm /root/good.toml").ok();
    machine.shell(ORDER).ok();
    served(machine);
    // Nobody answers, or not with a yes: nothing goes.
    for (answer, says) in [("true", "there is nobody to ask"), ("echo", "nothing has been touched")] {
        let kept = machine.shell(&format!("{answer} | /root/gateway bootstrap --undo")).fails(1);
        kept.says(&[named, "No gateway will be left that removes tenants", "all the same? [y/N]", says]);
    }
    served(machine);
    machine.shell("/root/gateway bootstrap --undo --yes").ok().says(&[
        "the registry stays, and with it its tenants",
        "sets the gateway up with them again; then `gateway tenant remove`",
        &format!("/var/lib/gateway: {named}"),
        "/var/lib/gateway-app holds what the application keeps",
        "they own the databases or files that stay",
        "taken back: gateway.service",
        "taken back: /usr/local/bin/gateway",
    ]);
    for path in ["/var/lib/gateway/registry.db", "/var/lib/gateway-app/kept", "/srv/data"] {
        assert!(machine.path(path).exists(), "{path}");
    }
    // Where no gateway runs any more, another way is named.
    let later = machine.shell("/root/gateway bootstrap --undo --dry-run").ok();
    later.says(&["names a tenant (delete /var/lib/gateway, if nobody needs it)", "they own the databases"]);
    machine.shell(ORDER).ok();
    served(machine);
    machine.run(&["gateway", "tenant", "show", "shop"]).ok().says(&["/srv/data/shop.db"]);
    machine.shell("gateway tenant remove shop && rm -r /srv/data /var/lib/gateway-app/kept").ok();
}

#[test]
fn on_a_machine_without_node_the_one_that_the_application_asks_for_is_installed() {
    let (mirror, (program, version)) = (NodeMirror::start(), node_mirror::other());
    mirror.add(&version, &program);
    let disk = Disk::debian_without_node()
        .file("/srv/app/.nvmrc", "22\n")
        .directory("/srv/node-dist", mirror.dist());
    let server = Server::on(disk, "22", "");
    let machine = &server.machine;
    assert_ne!(machine.shell("command -v node").code, 0, "there is a Node already");
    let before = server.picture();

    let lost = machine.shell(&format!("{ORDER} --node-mirror https://127.0.0.1:1/dist"));
    assert_ne!(lost.code, 0);
    lost.says(&["cannot reach the mirror", "--node-mirror file:///DIR", "nothing has been touched"]);
    let other = machine.shell(&format!("{ORDER} --node 99 --node-mirror file:///srv/node-dist"));
    assert_ne!(other.code, 0);
    other.says(&["no version at file:///srv/node-dist", "fits 99", "nothing has been touched"]);
    same(&before, &server.picture());

    let order = format!("{ORDER} --node-mirror file:///srv/node-dist");
    let plan = machine.shell(&format!("{order} --dry-run")).ok();
    plan.says(&["none is here", &format!("{version} (.nvmrc asks for 22) from file:///srv/node-dist")]);
    same(&before, &server.picture());
    machine.shell(&order).ok().says(&["the checksum is right", "files unpacked"]);
    served(machine);
    let place = format!("/var/lib/gateway/node/{version}");
    machine.run(&["stat", "--format", "%U %G %a", &place]).ok().says(&["gateway gateway 755"]);
    let worker = booted::worker(machine);
    let worker = machine.run(&["readlink", &format!("/proc/{worker}/exe")]).ok();
    assert_eq!(worker.stdout.trim(), format!("{place}/bin/node"));
    machine
        .run(&["cat", "/etc/gateway/gateway.toml"])
        .says(&["version = \"auto\"", "mirror = \"file:///srv"]);
    let set_up = server.picture();
    machine.shell(&order).ok().says(&["nothing to do"]);
    same(&set_up, &server.picture());
    machine.shell("gateway bootstrap --undo --yes").ok().says(&[&format!("taken back: {place}")]);
    same(&before, &server.picture());
}

#[test]
fn a_node_of_somebodys_nvm_is_taken_and_one_of_a_mirror_over_https_where_it_does_not_fit() {
    let (ca, (program, version)) = (TestCa::new(), node_mirror::other());
    let config = "[tls]\nmode = \"local\"\n[node]\nca_file = \"/etc/gateway/mirror.pem\"\n[backend.api]\n\
         command = [\"node\", \"app.mjs\"]\ndirectory = \"/srv/app\"\nhosts = [\"api.example\"]\nuser = \"gateway-app\"\n\
         health.path = \"/healthz\"\n";
    let nvm = format!("/home/dev/.nvm/versions/node/{version}/bin/node");
    let disk = Disk::debian_without_node()
        .file("/etc/gateway/gateway.toml", format!("{config}node.version = \"auto\"\n"))
        .file("/etc/gateway/mirror.pem", ca.pem())
        .file("/srv/app/.nvmrc", "22\n")
        .program(&nvm, &program);
    let server = Server::on(disk, "22", "");
    let machine = &server.machine;
    // The configuration that is there, as after a restore, names an account that bootstrap is yet to make.
    assert_ne!(machine.run(&["id", "gateway-app"]).code, 0);
    machine
        .shell("useradd --home-dir /home/dev dev && chown -R dev /srv/app /home/dev && chmod 700 /home/dev")
        .ok();
    let mirror = NodeMirror::outside(machine.outside(), &ca);
    mirror.add(&version, &program);
    machine.shell(&format!("echo '{OUTSIDE} mirror.example' >> /etc/hosts")).ok();
    let before = server.picture();
    let order = format!("{ORDER} --node-mirror {}", mirror.url());
    let runs = || {
        let worker = machine.run(&["readlink", &format!("/proc/{}/exe", booted::worker(machine))]).ok();
        worker.stdout.trim().to_owned()
    };

    // Nobody else may enter that home: what lies in it will not do, and the mirror has one.
    let plan = machine.shell(&format!("{order} --dry-run")).ok();
    plan.says(&[&format!("{version} (.nvmrc asks for 22) from {}", mirror.url())]);
    machine.shell(&order).ok().says(&["the checksum is right"]);
    served(machine);
    assert_eq!(runs(), format!("/var/lib/gateway/node/{version}/bin/node"));
    machine.shell("gateway bootstrap --undo --yes").ok().says(&["taken back: /var/lib/gateway/node/"]);
    same(&before, &server.picture());

    // The configuration that is there does not name it, and the service would not look there.
    machine.shell("chmod 711 /home/dev").ok();
    machine
        .shell(&format!("{order} --dry-run"))
        .ok()
        .says(&[&format!("{version} (.nvmrc asks for 22) from ")]);
    // A new one does.
    machine.shell("rm /etc/gateway/gateway.toml").ok();
    let (before, asked) = (server.picture(), mirror.asked(".tar.gz"));
    machine.shell(ORDER).ok();
    served(machine);
    homes::is_little_exposed(machine);
    assert_eq!(runs(), nvm);
    assert!(!machine.path("/var/lib/gateway/node").exists(), "nothing is installed");
    assert_eq!(mirror.asked(".tar.gz"), asked);
    machine.shell(ORDER).ok().says(&["nothing to do"]);
    machine.shell("gateway bootstrap --undo --yes").ok();
    same(&before, &server.picture());
}

#[test]
fn without_systemd_or_nft_or_with_an_unreadable_application_it_says_so_and_touches_nothing() {
    let server = Server::rented("22", "");
    let before = server.picture();
    let other = server.machine.shell(&format!("unshare --pid --fork --mount-proc {ORDER}"));
    assert_ne!(other.code, 0);
    other.says(&["not run by systemd", "nothing has been touched"]);
    let no_nft = server
        .machine
        .shell(&format!("unshare --mount sh -c \"mount --bind /dev/null /usr/sbin/nft && {ORDER}\""));
    assert_ne!(no_nft.code, 0);
    no_nft.says(&["nft is missing", "nothing has been touched"]);
    assert_eq!(server.picture(), before);

    let wrong_file = ORDER.replace("app.mjs", "no.mjs");
    let nonsense = ["--data /nope", "--env-file /nope", "--domain http://api.example"]
        .map(|answer| format!("{ORDER} {answer}"));
    for order in nonsense.iter().chain([&wrong_file]) {
        let refused = server.machine.shell(order);
        assert_eq!(refused.code, 2, "{refused:?}");
    }
    assert_eq!(server.picture(), before);

    a_key_that_cannot_be_opened_is_not_kept(&server.machine);
    server.machine.shell("chmod 700 /srv").ok();
    let shut = server.machine.shell(ORDER);
    assert_ne!(shut.code, 0);
    shut.says(&["`gateway-app` cannot read `/srv/app`", "may not enter `/srv`", "done before:", "--undo"]);
    // What was made so far can be taken back whole, though no registry was ever made and the configuration is gone.
    server.machine.shell("rm /etc/gateway/gateway.toml").ok();
    let forecast = server.machine.shell("/root/gateway bootstrap --undo --dry-run").ok();
    let forecast =
        forecast.says(&["to take back: /etc/gateway/gateway.toml", "to take back: /usr/local/bin/gateway"]);
    assert!(!forecast.stdout.contains("will stay"), "{forecast:?}");
    assert!(server.machine.path("/usr/local/bin/gateway").exists(), "a forecast takes nothing");
    server.machine.shell("/root/gateway bootstrap --undo --yes && chmod 755 /srv").ok();
    same(&before, &server.picture());
    server.machine.shell("umask 077; echo A=1 > /etc/api.env").ok();
    // Environment files are read by the gateway, not by its workers.
    let order = format!("{ORDER} --env-file /etc/api.env");
    server.machine.shell("chown nobody /etc/api.env").ok();
    let hidden = server.machine.shell(&order);
    assert_ne!(hidden.code, 0);
    hidden.says(&["`gateway` cannot read `/etc/api.env`", "`chgrp gateway /etc/api.env` and `chmod 640"]);
    // What is root's alone it may open itself, and says so.
    server.machine.shell("chown root /etc/api.env").ok();
    let opened = server.machine.shell(&order).ok();
    opened.says(&["/etc/api.env", "root's alone (600)", "read by the group gateway too (640)"]);
    let rights = || server.machine.shell("stat -c '%a %U:%G' /etc/api.env").ok().stdout;
    assert_eq!(rights().trim(), "640 root:gateway");
    served(&server.machine);
    what_a_failed_run_did_not_come_to_is_done_by_the_next(&server.machine, &order);
    assert_eq!(HOST, "api.example");
    server.machine.shell("/root/gateway bootstrap --undo --yes").ok().says(&["rights of /etc/api.env"]);
    assert_eq!(rights().trim(), "600 root:root");
}

/// The next run would take it for good.
fn a_key_that_cannot_be_opened_is_not_kept(machine: &Machine) {
    // In front of the real one.
    let broken = "#!/bin/sh\n[ \"$1\" = decrypt ] && exit 1\nexec /usr/bin/systemd-creds \"$@\"\n";
    machine.write("/usr/local/sbin/systemd-creds", broken);
    machine.run(&["chmod", "755", "/usr/local/sbin/systemd-creds"]).ok();
    let failed = machine.shell(ORDER).fails(1);
    failed.says(&["step `/etc/credstore.encrypted/gateway.seal.key` failed", "done before:"]);
    assert!(!machine.path("/etc/credstore.encrypted/gateway.seal.key").exists());
    machine.run(&["rm", "/usr/local/sbin/systemd-creds"]).ok();
}

/// The sandbox of the service that runs is one of before, until it begins anew; and what could be reached once is looked at
/// every time.
fn what_a_failed_run_did_not_come_to_is_done_by_the_next(machine: &Machine, order: &str) {
    // What a unit file would take apart.
    let data = "/srv/my data:50%n";
    let order = format!("{order} --data '{data}'");
    let writes = || {
        let main = machine.main_pid("gateway").unwrap();
        machine.shell(&format!("nsenter --mount --target {main} touch '{data}/x'")).code == 0
    };
    machine.shell(&format!("mkdir --mode 700 '{data}'")).ok();
    let shut = machine.shell(&order);
    assert_eq!(shut.code, 1, "{shut:?}");
    shut.says(&[&format!("`gateway-app` cannot write to `{data}`")]);
    assert!(!writes(), "the service has not begun anew");
    machine.shell(&format!("chown gateway-app '{data}'")).ok();
    // The configuration is its owner's, who has to write the rest.
    let made = machine.shell(&order);
    assert_eq!(made.code, 2, "{made:?}");
    let left = format!("add \"{data}\" to `allow_write` of `[backend.api]`");
    made.says(&["restart: runs as planned", &left]);
    assert!(writes());
    let again = machine.shell(&order);
    again.says(&["nothing to do"]);
    // What a deploy has moved away, or nobody has mounted, keeps nobody from being served.
    machine.shell(&format!("mv '{data}' /srv/away && systemctl restart gateway")).ok();
    served(machine);
    machine.shell(&format!("mv /srv/away '{data}' && systemctl restart gateway")).ok();
    assert!(writes());
    machine.shell(&format!("chown root '{data}'")).ok();
    let shut = machine.shell(&order);
    assert_eq!(shut.code, 1, "{shut:?}");
    let other =
        machine.shell(&format!("{} --domain other.example", ORDER.replace("/root/gateway", "gateway")));
    assert_eq!(other.code, 2, "{other:?}");
    other.says(&["does not serve `other.example`", "add \"other.example\" to `hosts` of `[backend.api]`"]);
}
