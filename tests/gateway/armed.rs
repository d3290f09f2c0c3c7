//! While a firewall waits to be confirmed, and after: no order of the operator's is lost to what goes back by itself, and who has
//! nothing to confirm is told why.

use crate::{
    booted,
    bootstrap::{FORGOTTEN, ORDER, Server},
    eventually,
};

const TIMER: &str = "gateway-firewall-rollback.timer";

/// Arm another firewall than the one that lasts.
fn arm(server: &Server, port: u16, within: &str) {
    let order = format!("gateway bootstrap --ssh-port {port} --yes --confirm-within {within}");
    server.ssh(&order).ok().says(&["SECOND SSH session"]);
}

fn late(server: &Server, said: &[&str]) {
    server.ssh("gateway bootstrap confirm").fails(1).says(said);
}

#[test]
fn who_confirms_too_late_or_nothing_at_all_is_told_why() {
    let mut server = Server::rented("22", "");
    server.ssh("/root/gateway bootstrap confirm").fails(1).says(&["none has been armed here", "builds one"]);
    server.ssh(&format!("{ORDER} --confirm-within 5s")).ok();
    assert_eq!(booted::served(&server.machine, "/"), "hello");
    eventually("the old rules are back", || (server.reached(FORGOTTEN) == [true; 2]).then_some(()));
    late(
        &server,
        &["nobody has confirmed the firewall by ", "came back by themselves", "--confirm-within 10m"],
    );

    server.ssh(&format!("{ORDER} --confirm-within 10m")).ok();
    server.machine.run(&["systemctl", "stop", TIMER]).ok();
    late(&server, &["waits for nothing any more: its timer was stopped", "arms it anew"]);
    server.ssh(&format!("{ORDER} --confirm-within 10m")).ok().says(&["SECOND SSH session"]);
    server.machine.reboot();
    late(&server, &["a new start of the machine", "second SSH session"]);

    server.ssh(&format!("{ORDER} --confirm-within 10m")).ok();
    server.ssh("gateway bootstrap confirm").ok();
    late(&server, &["the one that lasts was confirmed already"]);
}

#[test]
fn no_order_is_lost_to_rules_that_go_back_by_themselves() {
    let server = Server::rented("22", "");
    server.machine.shell(ORDER).ok();
    let status = || server.machine.run(&["gateway", "firewall", "status"]);
    status().ok().says(&["in force as confirmed"]);

    arm(&server, 2345, "10m");
    for order in ["allow 9001", "deny 192.0.2.0/24", "close 22", "reload"] {
        let refused = server.machine.shell(&format!("gateway firewall {order}")).fails(1);
        refused.says(&["a firewall waits to be confirmed", "sudo gateway bootstrap confirm` first"]);
    }
    // What is not legible is not taken for nothing either.
    server.machine.write("/run/gateway-bootstrap/armed.json", "{");
    for order in ["firewall status", "firewall allow 9001", "bootstrap confirm", "cutover back"] {
        let unclear = server.machine.shell(&format!("gateway {order}")).fails(1);
        unclear.says(&["armed.json`, cannot be read", "the old rules come back by themselves"]);
    }
    server.machine.run(&["systemctl", "start", "gateway-firewall-rollback.service"]).ok();
    server.machine.run(&["systemctl", "stop", TIMER]).ok();
    status().ok().says(&["in force as confirmed"]);

    // Given again and again while the old rules come back: as soon as it is taken, it is in force and stays.
    for port in [9001, 9002, 9003] {
        arm(&server, 2345, "5s");
        let until_taken = format!(
            "until gateway firewall allow {port} 2> /run/said; do grep -q 'waits to be confirmed' /run/said || exit 3; done"
        );
        server.machine.shell(&until_taken).ok();
        let kept = status().ok();
        let kept = kept.says(&["in force as confirmed", &format!("{port}/tcp")]);
        assert!(!kept.all().contains("2345"), "{}", kept.all());
    }
}

/// An nft that takes its time with new rules: until those from before are back.
const SLOW: &str = r#"#!/bin/sh
[ "$*" = '-f -' ] && until [ "$(systemctl is-active gateway-firewall-rollback.timer)" = inactive ]; do sleep 0.1; done
exec /root/nft.real "$@"
"#;

#[test]
fn what_lasts_stays_in_force_whatever_comes_late_and_comes_back_at_the_next_boot() {
    let mut server = Server::rented("22", "");
    server.machine.shell(ORDER).ok();
    server.machine.write("/root/nft", SLOW);
    server.machine.shell("chmod 755 /root/nft; cp /usr/sbin/nft /root/nft.real").ok();
    let order = "mount --bind /root/nft /usr/sbin/nft && \
                 gateway bootstrap --ssh-port 2345 --yes --confirm-within 5s";
    let late = server.ssh(&format!("unshare --mount sh -c '{order}'")).fails(1);
    late.says(&["longer to load than the 5 s", "the old ones are back", "--confirm-within 10m"]);
    let kept = server.machine.run(&["gateway", "firewall", "status"]).ok().says(&["in force as confirmed"]);
    assert!(!kept.all().contains("2345"), "{}", kept.all());

    for lose in ["systemctl disable gateway-firewall", "rm /etc/gateway/firewall.nft"] {
        server.machine.shell(lose).ok();
        server.machine.run(&["gateway", "doctor"]).says(&["would not come back at the next boot"]);
        server.ssh("gateway bootstrap --yes").ok().says(&["loaded at every boot"]);
        server.ssh("gateway bootstrap --yes").ok().says(&["nothing to do"]);
    }
    server.machine.reboot();
    eventually("the firewall is back", || (server.reached("22")[0]).then_some(()));
    server.machine.run(&["gateway", "firewall", "status"]).ok().says(&["in force as confirmed"]);
}
