//! Who moves SSH to another port comes in there, wherever that port is written down and however little of it is noticed.

use crate::{
    bootstrap::{ORDER, Server},
    eventually,
};

fn comes_in(server: &Server, port: &str) {
    eventually(&format!("SSH on {port} is reached"), || server.reached(port)[0].then_some(()));
}

#[test]
fn the_firewall_follows_sshd_and_its_socket_unit_to_every_port() {
    let server = Server::rented("22", "");
    let shell = |script: &str| server.machine.shell(script).ok();
    server.ssh(ORDER).ok();
    server.ssh("gateway bootstrap confirm").ok();
    let ports = || server.machine.run(&["gateway", "firewall", "status"]).ok().stdout;

    // As after a change that came while the one before it was followed: nobody has noticed it.
    shell("systemctl stop gateway-firewall-follow.path");
    server.machine.write("/etc/ssh/sshd_config.d/more.conf", "Port 22\nPort 2022\n");
    shell("systemctl reload ssh");
    comes_in(&server, "2022");
    server.machine.write("/etc/ssh/sshd_config.d/more.conf", "Port 22\nPort 2023\n");
    shell("systemctl restart ssh");
    comes_in(&server, "2023");
    shell("systemctl start gateway-firewall-follow.path");

    // As on Ubuntu: systemd listens.
    shell("systemctl disable --now ssh.service && systemctl enable --now ssh.socket");
    server.ssh("true").ok();
    let moved = "[Socket]\nListenStream=\nListenStream=2222\n";
    server.machine.write("/etc/systemd/system/ssh.socket.d/listen.conf", moved);
    // On the disk, and systemd has not read it yet.
    eventually("the new port is open before anybody listens", || ports().contains("2222").then_some(()));
    let anew = "systemctl daemon-reload && systemctl stop ssh.service && systemctl restart ssh.socket";
    shell(anew);
    assert!(server.reached("2222")[0]);
    // Where nobody looks.
    shell("mkdir -p /run/systemd/system/ssh.socket.d");
    shell("printf '[Socket]\\nListenStream=2345\\n' > /run/systemd/system/ssh.socket.d/z.conf");
    shell(anew);
    comes_in(&server, "2345");
    assert!(!server.reached("22")[0]);
}
