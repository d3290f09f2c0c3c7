//! A server with what others have brought: ufw or firewalld that rule it, packages to install, settings to raise. Real ones,
//! told what they need to be told, and told again when everything is taken back.

use crate::{booted, bootstrap::Server, eventually, machine::Disk};

const ORDER: &str =
    "/root/gateway bootstrap --app /srv/app --domain api.example --command 'node app.mjs' --tls local --yes";

const CLOCK_OF_ITS_OWN: &str =
    "[Unit]\nConditionVirtualization=\n[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n";

/// A package of the operator's own.
const MINE: &str = "Package: mine\\nVersion: 1\\nArchitecture: all\\nMaintainer: me <me@example.com>\\n\
     Depends: python3-apt\\nDescription: mine\\n";

fn served(server: &Server) {
    assert_eq!(booted::served(&server.machine, "/"), "hello");
}

#[test]
fn ufw_rules_and_is_told_to_open_the_edge() {
    let server = Server::on(Disk::debian_with_others(), "22", "");
    // How SSH is guarded stays as it is.
    let rule = "ufw limit 22/tcp comment 'nobody guesses for long' && ufw deny 80/tcp comment 'not yet'";
    server.machine.shell(&format!("{rule} && ufw --force enable")).ok().says(&["active"]);
    let before = server.machine.shell("ufw status numbered; nft list tables").ok().stdout;
    assert!(server.reached("22")[0] && !server.reached("443")[0]);

    // One that says yes and does nothing is not believed.
    let liar = "#!/bin/sh\n[ \"$1\" = allow ] || exec /usr/sbin/ufw.real \"$@\"\n";
    server.machine.shell("mv /usr/sbin/ufw /usr/sbin/ufw.real").ok();
    server.machine.write("/usr/sbin/ufw", liar);
    server.machine.shell("chmod 755 /usr/sbin/ufw").ok();
    server.ssh(ORDER).fails(1).says(&["ufw was told to open 80, 443, and does not list it as open"]);
    server.machine.shell("mv /usr/sbin/ufw.real /usr/sbin/ufw").ok();

    server.ssh(ORDER).ok().says(&["ufw opens 80, 443 too"]);
    served(&server);
    let shown = server.machine.run(&["ufw", "status"]).ok();
    shown.says(&["80/tcp", "443/tcp"]);
    assert!(
        !server.machine.run(&["nft", "list", "tables"]).stdout.contains("inet gateway"),
        "no table of ours"
    );
    server.ssh(&ORDER.replace("/root/gateway", "gateway")).ok().says(&["nothing to do"]);
    server.machine.run(&["gateway", "doctor"]).says(&["ufw"]);
    a_cut_over_goes_where_ufw_lets_it(&server);
    // Ports and ranges are opened and closed by its own rules.
    let order = |words: &str| server.machine.shell(&format!("gateway firewall {words}"));
    order("allow 9000-9010/udp").ok().says(&["ufw has opened 9000-9010/udp"]);
    server.machine.run(&["ufw", "status"]).ok().says(&["9000:9010/udp"]);
    order("allow 9000-9010/udp").fails(1).says(&["open in ufw already", "`ufw status`"]);
    order("close 9000-9010/udp").ok().says(&["ufw has closed 9000-9010/udp"]);
    order("close 20-30").fails(1).says(&["SSH is reached by 20-30/tcp", "lock yourself out"]);
    order("close 443").fails(1).says(&["for the edge", "--undo"]);

    // What is gone since is opened again, and is of record once.
    server.machine.run(&["ufw", "delete", "allow", "443/tcp"]).ok();
    assert!(!server.reached("443")[0]);
    server
        .machine
        .shell("gateway bootstrap --yes")
        .ok()
        .says(&["ufw opens 443 too", "8080, 8443 stays open for an earlier set-up"]);
    served(&server);
    server.machine.run(&["ufw", "delete", "allow", "8443/tcp"]).ok();
    let undone = server.machine.shell("gateway bootstrap --undo --yes").ok();
    undone.says(&[
        "taken back: ufw deny 80/tcp comment 'not yet'",
        "taken back: ufw: 80, 443\n",
        "taken back: ufw: 8080, 8443\n",
    ]);
    assert_eq!(server.machine.shell("ufw status numbered; nft list tables").ok().stdout, before);
}

/// The gateway has two ports more, on which it listens by itself until bootstrap hands them to systemd.
fn a_cut_over_goes_where_ufw_lets_it(server: &Server) {
    let more = "[edge]\nhttps = [\"[::]:8443\", \"[::]:443\"]\nhttp = [\"[::]:8080\", \"[::]:80\"]\n";
    server.machine.write("/etc/gateway/conf.d/more.toml", more);
    server.machine.run(&["systemctl", "restart", "gateway"]).ok();
    let closed = server.machine.run(&["gateway", "cutover"]).fails(1);
    closed.says(&["ufw or firewalld lets nobody reach port 8080", "`gateway bootstrap` do it"]);
    server.machine.shell("gateway bootstrap --yes").ok().says(&["ufw opens 8080, 8443 too", "50-ports.conf"]);
    served(server);
    server
        .machine
        .run(&["gateway", "cutover", "--confirm-within", "5m"])
        .ok()
        .says(&["port 443 go to port 8443"]);
    served(server);
    assert_eq!(server.reached("8443"), [true; 2]);
    server.machine.run(&["gateway", "cutover", "back"]).ok();
    server.machine.shell("rm /etc/gateway/conf.d/more.toml; gateway bootstrap --yes").ok();
    served(server);
}

#[test]
fn firewalld_rules_and_is_told_to_open_the_edge() {
    let server = Server::on(Disk::debian_with_others(), "22", "");
    server.machine.run(&["systemctl", "start", "firewalld"]).ok();
    eventually("firewalld runs", || {
        (server.machine.run(&["firewall-cmd", "--state"]).code == 0).then_some(())
    });
    let ports =
        || server.machine.shell("firewall-cmd --list-all; firewall-cmd --permanent --list-all").ok().stdout;
    let before = ports();
    assert!(server.reached("22")[0] && !server.reached("443")[0]);

    server.ssh(ORDER).ok().says(&["firewalld opens 80, 443 too"]);
    served(&server);
    assert!(ports().contains("ports: 80/tcp 443/tcp"), "{}", ports());
    server.ssh(&ORDER.replace("/root/gateway", "gateway")).ok().says(&["nothing to do"]);

    let order = |words: &str| server.machine.shell(&format!("gateway firewall {words}"));
    order("allow 9000-9010").ok().says(&["firewalld has opened 9000-9010/tcp"]);
    assert_eq!(ports().matches("9000-9010/tcp").count(), 2, "now and for good: {}", ports());
    order("close 9000-9010").ok().says(&["firewalld has closed 9000-9010/tcp"]);
    assert!(!ports().contains("9000"), "{}", ports());

    // What is gone from what is in force is opened there again.
    server.machine.run(&["firewall-cmd", "--remove-port=443/tcp"]).ok();
    assert!(!server.reached("443")[0]);
    server.machine.shell("gateway bootstrap --yes").ok().says(&["firewalld opens 443 too"]);
    served(&server);
    // One that does not run any more keeps nobody from taking it all back.
    server.machine.run(&["systemctl", "stop", "firewalld"]).ok();
    server
        .machine
        .shell("gateway bootstrap --undo --yes")
        .ok()
        .says(&["taken back: firewalld, zone public: 80, 443"]);
    server.machine.run(&["systemctl", "start", "firewalld"]).ok();
    eventually("firewalld runs", || {
        (server.machine.run(&["firewall-cmd", "--state"]).code == 0).then_some(())
    });
    assert_eq!(ports(), before);
}

/// dpkg's lock, as apt takes it, until somebody has waited for it; `struct flock` has the kind and the origin first.
const LOCKS: &str = r#"#!/usr/bin/perl
use Fcntl;
open(my $file, ">>", "/var/lib/dpkg/lock-frontend") or die;
my $lock = pack("s s x4 q q l", F_WRLCK, 0, 0, 0, 0);
fcntl($file, F_SETLK, $lock) or die;
system("touch /var/tmp/locked");
system("until pgrep --full '[q]q --no-install'; do sleep 0.1; done; sleep 2");
"#;

#[test]
fn the_edge_is_opened_where_strangers_come_in_and_ssh_stays_for_whom_it_is() {
    let server = Server::on(Disk::debian_with_others(), "22", "");
    server.machine.run(&["systemctl", "start", "firewalld"]).ok();
    eventually("firewalld runs", || {
        (server.machine.run(&["firewall-cmd", "--state"]).code == 0).then_some(())
    });
    // Not the default zone, and one in which SSH is for a few.
    let (zone, rule) = (
        "--zone=external",
        "rule family=\"ipv4\" source address=\"10.77.0.0/24\" service name=\"ssh\" accept",
    );
    let bound = format!(
        "ip route add default via 10.77.0.1; for lasting in --permanent ''; do \
         firewall-cmd $lasting {zone} --remove-service=ssh && firewall-cmd $lasting {zone} --add-rich-rule='{rule}' && \
         firewall-cmd $lasting {zone} --change-interface=host0 && firewall-cmd $lasting --zone=public --remove-service=ssh || exit 1; done"
    );
    server.machine.shell(&bound).ok();
    let ports = || {
        server
            .machine
            .shell("firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones")
            .stdout
    };
    let before = ports();
    assert_eq!((server.reached("22"), server.reached("443")), ([true, false], [false; 2]));

    server.ssh(ORDER).ok().says(&["firewalld opens 80, 443 too"]);
    served(&server);
    assert_eq!(server.reached("22"), [true, false], "as before");
    server.ssh(&ORDER.replace("/root/gateway", "gateway")).ok().says(&["nothing to do"]);
    server.machine.run(&["gateway", "doctor"]).says(&["firewalld lets SSH and the edge in"]);
    server.machine.shell("gateway bootstrap --undo --yes").ok().says(&["firewalld, zone external: 80, 443"]);
    assert_eq!(ports(), before);
}

#[test]
fn updates_clock_journal_and_kernel_are_set_proven_and_set_back() {
    // A clock of its own, as no container has.
    let disk = Disk::debian_with_others()
        // Where it thinks itself in a container, timesyncd does not even start; setting the clock it may not do here.
        .file("/etc/systemd/system/systemd-timesyncd.service.d/test.conf", CLOCK_OF_ITS_OWN)
        .script("/usr/bin/systemd-detect-virt", "#!/bin/sh\necho none\nexit 1\n")
        .script("/usr/local/bin/locks", LOCKS);
    let server = Server::on(disk, "22", "");
    let shell = |script: &str| server.machine.shell(script).stdout;
    // As on kernels before 5.4.
    server.machine.run(&["sysctl", "-w", "net.core.somaxconn=128"]).ok();
    // Two: systemd takes one away.
    let packages = || shell("dpkg-query -W -f '$${Package} $${db:Status-Status}\\n' | grep ' installed'");
    let (before, installed) = (server.picture(), packages());

    // As on a server that is just booted: somebody else's apt is at work.
    server.machine.run(&["systemd-run", "--quiet", "--unit=apt", "/usr/local/bin/locks"]).ok();
    eventually("the lock is held", || server.machine.path("/var/tmp/locked").exists().then_some(()));
    server.machine.shell(&format!("{ORDER} --updates")).ok().says(&["package unattended-upgrades"]);
    served(&server);
    assert_eq!(shell("sysctl -n net.core.somaxconn"), "4096\n");
    assert!(shell("apt-config dump").contains("APT::Periodic::Unattended-Upgrade \"1\";"));
    assert!(shell("unattended-upgrade --dry-run --debug 2>&1").contains("Allowed origins"));
    assert_eq!(shell("systemctl is-active systemd-timesyncd"), "active\n");
    assert!(shell("systemd-analyze cat-config systemd/journald.conf").contains("SystemMaxUse=1G"));
    assert!(
        shell("journalctl -b -u systemd-journald -o cat").contains("max 1.0G"),
        "the journal has taken its limit"
    );
    server.machine.shell(&format!("{ORDER} --updates")).ok().says(&["nothing to do"]);

    // What somebody has come to need since stays with what that needs, until it is needed no longer.
    server
        .machine
        .shell(&format!("mkdir -p /tmp/mine/DEBIAN && printf '{MINE}' > /tmp/mine/DEBIAN/control"))
        .ok();
    server.machine.shell("dpkg-deb --build /tmp/mine && dpkg --install /tmp/mine.deb").ok();
    let undone = server.machine.shell("/root/gateway bootstrap --undo --yes").ok();
    undone.says(&["stays: packages ", "python3-apt (needed by mine)", "python-apt-common (needed by mine)"]);
    assert!(packages().contains("mine installed"));
    server.machine.shell("python3 -c 'import apt_pkg'").ok();
    assert!(!packages().contains("unattended-upgrades") && !packages().contains("systemd-timesyncd"));
    server.machine.shell("dpkg --purge mine").ok();
    server.machine.shell("/root/gateway bootstrap --undo --yes").ok().says(&["taken back: packages "]);
    assert_eq!(packages(), installed);
    assert_eq!(shell("sysctl -n net.core.somaxconn"), "128\n");
    assert!(!shell("journalctl -b -u systemd-journald -o cat | tail -n 1").contains("max 1.0G,"));
    let ours = |picture: String| {
        picture.lines().filter(|line| line.contains("gateway")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ours(server.picture()), ours(before));
}
