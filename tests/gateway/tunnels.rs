//! Tunnels that end on a booted Debian go on behind its firewall, though they arrive in no port that anybody names: VXLAN as the
//! kernel does it, and packets of protocols of their own, of which this kernel may have no module: these are sent by hand.

use crate::{
    bootstrap::{FORGOTTEN, ORDER, Server},
    eventually,
    machine::INSIDE,
    outside::OUTSIDE,
};

/// Somebody else on the same network.
const OTHER: &str = "10.77.0.9";

/// What `ip` would say of a 6in4 tunnel, before what it says.
const IP: &str = r#"#!/bin/sh
[ "$*" = '-j -d address' ] || exec /usr/sbin/ip "$@"
/usr/sbin/ip "$@" | sed '1s/^\[/[{"ifname":"he-ipv6","flags":["UP"],"linkinfo":{"info_kind":"sit","info_data":{"proto":"ip6ip","remote":"10.77.0.1"}},"addr_info":[]},/'
"#;

/// Writes down which packets reach this machine, and from where.
const HEARS: &str = "for my $p (41, 47) { fork and next; socket(S, PF_INET, SOCK_RAW, $p) or die; open(F, '>>', '/run/heard'); \
    select(F); $| = 1; while (my $from = recv(S, my $packet, 100, 0)) { my (undef, $ip) = sockaddr_in($from); \
    print $p, ' from ', inet_ntoa($ip), '.' } } wait; wait";

/// Packets of these protocols from those addresses, in this order.
fn send(server: &Server, packets: &[(u8, &str)]) {
    for (protocol, from) in packets {
        let script = format!(
            "socket(S, PF_INET, SOCK_RAW, {protocol}) or die; bind(S, sockaddr_in(0, inet_aton('{from}'))) or die; \
             send(S, 'x', 0, sockaddr_in(0, inet_aton('{}'))) or die",
            INSIDE[0]
        );
        server.machine.outside().run(&["perl", "-MSocket", "-e", &script]).ok();
    }
}

/// What was heard, once `last` was: what was sent before it and has not come never will.
fn heard(server: &Server, last: &str) -> String {
    eventually(&format!("{last} is heard"), || {
        server.machine.shell("cat /run/heard").stdout.contains(last).then_some(())
    });
    server.machine.shell("cat /run/heard; truncate --size=0 /run/heard").stdout
}

/// Our end of the VXLAN, or theirs.
fn vxlan(remote: &str, own: &str) -> [Vec<String>; 3] {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    [
        words(format!("ip link add vx0 type vxlan id 7 remote {remote} dstport 4789")),
        words(format!("ip address add {own}/24 dev vx0")),
        words("ip link set vx0 up".to_owned()),
    ]
}

#[test]
fn tunnels_that_arrive_in_no_port_go_on_behind_the_firewall() {
    let server = Server::rented("22", "");
    let (machine, outside) = (&server.machine, server.machine.outside());
    outside.run(&["ip", "address", "add", &format!("{OTHER}/24"), "dev", "cable"]).ok();
    for step in vxlan(OUTSIDE, "10.99.0.2") {
        machine.run(&step.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    }
    for step in vxlan(INSIDE[0], "10.99.0.1") {
        outside.run(&step.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    }
    machine.write("/usr/local/sbin/ip", IP);
    machine.run(&["chmod", "755", "/usr/local/sbin/ip"]).ok();
    machine.run(&["systemd-run", "--quiet", "--unit=hears", "--", "perl", "-MSocket", "-e", HEARS]).ok();
    eventually("both protocols are heard, as long as there is no firewall", || {
        send(&server, &[(41, OTHER), (47, OTHER)]);
        let heard = machine.shell("cat /run/heard").stdout;
        (heard.contains("41 from") && heard.contains("47 from")).then_some(())
    });
    machine.run(&["truncate", "--size=0", "/run/heard"]).ok();
    let through = |port: &str| {
        let script = format!("exec 3<>/dev/tcp/10.99.0.2/{port}");
        outside.run(&["timeout", "2", "bash", "-c", &script]).code == 0
    };
    eventually("the tunnel carries", || through(FORGOTTEN).then_some(()));

    let planned = server.ssh(&format!("{ORDER} --confirm-within 5m")).ok();
    planned.says(&[
        "ipv6@10.77.0.1, 4789/udp@10.77.0.1 (SSH: 22)",
        "the tunnel `he-ipv6` ends here: ipv6@10.77.0.1 stays let in",
        "the tunnel `vx0` ends here: 4789/udp@10.77.0.1 stays let in",
        "will not be: 9999/tcp (node)\n",
    ]);
    server.ssh("gateway bootstrap confirm").ok();
    assert_eq!(server.reached(FORGOTTEN), [false; 2]);
    assert!(through("22"), "the tunnel goes on");
    assert!(!through(FORGOTTEN), "what is inside of it meets the same rules");
    send(&server, &[(41, OTHER), (47, OTHER), (47, OUTSIDE), (41, OUTSIDE)]);
    assert_eq!(heard(&server, "41 from 10.77.0.1."), "41 from 10.77.0.1.");

    // One that nothing shows, as PPTP's, is let in by order, and shut out again.
    let gre = format!("gre@{OUTSIDE}");
    machine.run(&["gateway", "firewall", "allow", &gre]).ok().says(&[&gre]);
    send(&server, &[(47, OTHER), (47, OUTSIDE)]);
    assert_eq!(heard(&server, "47 from 10.77.0.1."), "47 from 10.77.0.1.");
    machine.run(&["gateway", "firewall", "close", &gre]).ok();
    send(&server, &[(47, OUTSIDE), (41, OUTSIDE)]);
    assert_eq!(heard(&server, "41 from 10.77.0.1."), "41 from 10.77.0.1.");
    machine
        .run(&["gateway", "firewall", "allow", "gre@nowhere"])
        .fails(2)
        .says(&["no tunnel", "gre@192.0.2.1"]);
}
