//! Nobody locks themselves out, on a booted Debian: sessions are found that no parent shows, orders are asked about where
//! there is no terminal, and the kernel does what the rules say: it closes what was forgotten, finds its neighbours, and slows
//! down who knocks too often and nobody else.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpSocket, task::JoinSet, time::timeout};

use crate::{
    booted,
    bootstrap::{FORGOTTEN, ORDER, Server},
    eventually,
    machine::INSIDE,
};

const PORT: &str = "2222";

/// The edge on other ports too, which are those that a cut-over leads to.
const BESIDE: &str = "[edge]\nhttps = [\"[::]:8443\", \"[::]:443\"]\nhttp = [\"[::]:8080\", \"[::]:80\"]\n";

/// Writes down what it hears: on a port that nobody opens, on one that somebody does, and as a client of DHCPv6.
const HEARS: &str = "for (const port of [9998, 9997, 546]) require('dgram').createSocket('udp6').on('message', (_, from) => \
    require('fs').appendFileSync('/run/heard', port + ' from ' + from.port + '.')).bind(port, '::')";

/// Connections at once, of which a minute allows half.
const KNOCKS: usize = 60;
/// What a minute allows.
const ALLOWED: usize = 30;

/// Ask what would be done, by way of something that SSH does not show through.
fn plan() -> String {
    format!("{} --dry-run", ORDER.replace('\'', "\""))
}

fn sessions_are_found(server: &Server) {
    let here = ["you are here over SSH, port 2222", "unless confirmed"];
    server.ssh(&format!("su - root -c '{}'", plan())).ok().says(&here);
    // As run0 and at do it: systemd starts it, and it is nobody's child.
    let aside = format!("systemd-run --quiet --wait --pipe --collect -- sh -c '{}'", plan());
    server.ssh(&aside).ok().says(&here);
    // As tmux does it: whoever started it is gone, and nothing of SSH is in its environment.
    let detached = format!(
        "env -i setsid --fork sh -c '{} > /root/draft 2>&1; mv /root/draft /root/told'; \
         until [ -e /root/told ]; do sleep 0.1; done; cat /root/told",
        plan()
    );
    server.ssh(&detached).ok().says(&here);
    server.machine.shell(&plan()).ok().says(&["you are here at the machine itself"]);
}

/// What sshd does not say because of a broken line, its files say; it does not run either.
fn ports_are_found_where_sshd_says_nothing(server: &Server) {
    let broken = "/etc/ssh/sshd_config.d/broken.conf";
    server.machine.write(broken, "Nonsense yes\n");
    server.machine.shell("systemctl stop ssh; ! sshd -T").ok();
    let plan = server.machine.shell(&plan()).ok();
    plan.says(&["SSH on 2222;", "(SSH: 2222)"]);
    server.machine.shell(&format!("rm {broken}; systemctl start ssh")).ok();
}

fn a_configuration_that_is_no_text_stays_as_it_is(server: &Server) {
    let config = "/etc/gateway/gateway.toml";
    server.machine.write(config, b"# \xff\n");
    for listen in ["", " --listen [::]:443"] {
        let stopped = server.machine.shell(&format!("{ORDER}{listen}"));
        assert_ne!(stopped.code, 0, "{stopped:?}");
        stopped.says(&[config, "UTF-8"]);
    }
    assert_eq!(server.machine.run(&["wc", "-c", config]).ok().stdout, format!("4 {config}\n"));
    server.machine.run(&["rm", "-r", "/etc/gateway"]).ok();
}

fn a_plan_waits_for_a_yes_without_a_terminal(server: &Server) {
    let order = ORDER.replace(" --yes", " --confirm-within 5m");
    let before = server.picture();
    let nobody = server.ssh(&order);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    let nobody = nobody.says(&["will not be: 9997/udp (node), 9998/udp (node), 9999/tcp (node)"]);
    nobody.says(&[
        "goes back after 300 s",
        "Go ahead? [y/N]",
        "there is nobody to ask: nothing",
        "ssh -t HOST",
    ]);
    let no = server.ssh_typing("n", &order);
    assert_eq!(no.code, 1, "{no:?}");
    no.says(&["nothing has been touched"]);
    assert_eq!(server.picture(), before);
    server.ssh_typing("y", &order).ok().says(&["Go ahead? [y/N]", "[1/", "SECOND SSH session"]);
}

/// Where the firewall's files cannot be written, as on a disk that is full or failing.
fn unwritable(order: &str) -> String {
    let shut = "mount --bind /etc/gateway /etc/gateway && mount -o remount,bind,ro /etc/gateway";
    format!("unshare --mount sh -c '{shut} && {order}'")
}

/// A systemctl whose timer fires just before the order to keep the rules, and is unknown to systemd by the order to stop it.
const FIRES: &str = r#"#!/bin/sh
if [ "$*" = 'enable --now gateway-firewall.service' ]; then
    /usr/bin/systemctl start gateway-firewall-rollback.service
    until [ ! -e /run/gateway-bootstrap/armed.json ]; do sleep 0.1; done
    /usr/bin/systemctl stop gateway-firewall-rollback.timer
fi
exec /usr/bin/systemctl "$@"
"#;

/// What was loaded after the old rules came back goes with them.
fn a_timer_that_fires_meanwhile_takes_everything_along(server: &Server) {
    server.machine.write("/usr/local/sbin/systemctl", FIRES);
    server.machine.run(&["chmod", "755", "/usr/local/sbin/systemctl"]).ok();
    let late = server.ssh("gateway bootstrap confirm");
    server.machine.run(&["rm", "/usr/local/sbin/systemctl"]).ok();
    assert_eq!(late.code, 1, "{late:?}");
    late.says(&["it was too late: the old rules are back"]);
    assert_eq!(server.reached(FORGOTTEN), [true; 2], "and they are");
    assert!(!server.machine.path("/etc/gateway/firewall.json").exists());
    assert!(!server.machine.path("/etc/gateway/firewall.nft").exists(), "nothing comes at the next boot");
    server.ssh(&format!("{ORDER} --confirm-within 5m")).ok().says(&["SECOND SSH session"]);
}

/// Is it proven, what waits? Not if it is something else by then.
fn what_others_have_changed_is_not_confirmed(server: &Server) {
    let waits = || server.machine.run(&["systemctl", "is-active", "gateway-firewall-rollback.timer"]).stdout;
    server
        .machine
        .run(&["nft", "add", "rule", "inet", "gateway", "input", "tcp", "dport", FORGOTTEN, "accept"])
        .ok();
    let changed = server.ssh("gateway bootstrap confirm");
    assert_eq!(changed.code, 1, "{changed:?}");
    changed.says(&[
        "somebody else has changed them (`tcp dport 9999 accept` is new)",
        "come back by themselves",
    ]);
    assert_eq!(waits(), "active\n", "and they do");
    server.machine.run(&["systemctl", "start", "gateway-firewall-rollback.service"]).ok();
    assert_eq!(server.reached(FORGOTTEN), [true; 2], "the old rules are back");
    server.machine.run(&["systemctl", "stop", "gateway-firewall-rollback.timer"]);

    server.ssh(&format!("{ORDER} --confirm-within 5m")).ok().says(&["SECOND SSH session"]);
    // What cannot be written is not confirmed, and still goes back by itself.
    let kept = server.ssh(&unwritable("gateway bootstrap confirm"));
    assert_eq!(kept.code, 1, "{kept:?}");
    kept.says(&[
        "the rules cannot be kept",
        "/etc/gateway/",
        "the old ones come back",
        "confirm again before",
    ]);
    assert_eq!(waits(), "active\n", "the timer was not touched");
    assert!(!server.machine.path("/etc/gateway/firewall.json").exists());
    server.ssh("gateway bootstrap confirm").ok().says(&["it stays"]);
    let not_kept = server.ssh(&unwritable("gateway firewall allow 9001"));
    assert_eq!(not_kept.code, 1, "{not_kept:?}");
    not_kept.says(&["cannot be made to last, so the rules are as they were"]);
    let status = server.ssh("gateway firewall status").ok().says(&["in force as confirmed"]);
    assert!(!status.all().contains("9001"), "{}", status.all());

    // Rules that nothing could go back to are not armed.
    let nft = "#!/bin/sh\n[ \"$*\" = '-c -f /run/gateway-bootstrap/previous.nft' ] && exit 1\nexec /root/nft.real \"$@\"\n";
    server.machine.write("/root/nft", nft);
    server.machine.shell("chmod 755 /root/nft; cp /usr/sbin/nft /root/nft.real").ok();
    let within = "mount --bind /root/nft /usr/sbin/nft && gateway bootstrap --ssh-port 2345 --yes";
    let unsafe_ = server.ssh(&format!("unshare --mount sh -c '{within}'"));
    assert_eq!(unsafe_.code, 1, "{unsafe_:?}");
    unsafe_.says(&["could not be loaded again, so nothing could go back to them"]);
    assert_eq!(waits(), "inactive\n");
    server.ssh("gateway firewall status").ok().says(&["in force as confirmed"]);
}

/// Datagrams from outside, in this order, from those ports to those addresses and ports.
fn send(server: &Server, datagrams: &[(u16, &str, u16)]) {
    for (from, to, port) in datagrams {
        let script = format!(
            "const s = require('dgram').createSocket('udp6'); \
             s.bind({from}, '::', () => s.send('x', {port}, '{to}', (error) => {{ if (error) throw error; s.close() }}))"
        );
        server.machine.outside().run(&["node", "-e", &script]).ok();
    }
}

/// What was heard since the last time; `last` was sent last, so what has not come before it never will.
fn heard(server: &Server, last: &str) -> String {
    eventually(&format!("{last} is heard"), || {
        let heard = server.machine.shell("cat /run/heard").stdout;
        heard.contains(last).then_some(())
    });
    server.machine.shell("cat /run/heard; rm /run/heard").stdout
}

fn datagrams_are_let_in_only_where_they_must(server: &Server) {
    let link = server.machine.shell("ip -6 -o address show dev host0 scope link").ok().stdout;
    let link =
        link.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap().to_owned() + "%cable";
    let mapped = format!("::ffff:{}", INSIDE[0]);
    server.ssh("gateway firewall allow 9997/udp").ok();
    send(server, &[(7001, INSIDE[1], 9998), (7002, &mapped, 9998), (7003, INSIDE[1], 9997)]);
    assert_eq!(heard(server, "9997 from 7003."), "9997 from 7003.");
    // Answers of DHCPv6 come from beside it alone.
    send(server, &[(7004, &link, 546), (547, INSIDE[1], 546), (547, &link, 546)]);
    assert_eq!(heard(server, "546 from 547."), "546 from 547.");
}

/// Of so many connections at once, from there to SSH, how many are let in.
fn let_in(server: &Server, from: &str, count: usize) -> usize {
    let (from, to): (IpAddr, IpAddr) =
        (from.parse().unwrap(), INSIDE[usize::from(from.contains(':'))].parse().unwrap());
    let outside = server.machine.outside();
    let knock = || {
        outside.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut knocks = JoinSet::new();
            for _ in 0..count {
                let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
                socket.bind((from, 0).into()).unwrap();
                // Who is dropped would try again after a second.
                let connected = timeout(Duration::from_millis(900), socket.connect((to, 2222).into()));
                knocks.spawn(async move { connected.await.is_ok_and(|connected| connected.is_ok()) });
            }
            knocks.join_all().await.into_iter().filter(|in_| *in_).count()
        })
    };
    thread::scope(|scope| scope.spawn(knock).join().unwrap())
}

fn who_knocks_too_often_is_slowed_down_and_nobody_else(server: &Server) {
    let outside = server.machine.outside();
    for address in ["10.77.0.3/24", "10.77.0.4/24", "fd77::3/64", "fd77::4/64", "fd78::3/64"] {
        let no_dad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        outside.run(&[&["ip", "address", "add", address, "dev", "cable"], no_dad].concat()).ok();
    }
    server.machine.run(&["ip", "-6", "route", "add", "fd78::/64", "dev", "host0"]).ok();
    for (many, same, other) in [("10.77.0.3", "10.77.0.3", "10.77.0.4"), ("fd77::3", "fd77::4", "fd78::3")] {
        let first = let_in(server, many, KNOCKS);
        assert!((ALLOWED..KNOCKS).contains(&first), "{first} of {KNOCKS} from {many}");
        let again = let_in(server, same, KNOCKS);
        assert!(again < ALLOWED, "{again} more from {same}, who is the same caller");
        assert_eq!(let_in(server, other, ALLOWED), ALLOWED, "{other} has done nothing");
    }
    // An admin's address is never slowed down.
    server.machine.run(&["gateway", "firewall", "allow", "10.77.0.3"]).ok();
    assert_eq!(let_in(server, "10.77.0.3", KNOCKS), KNOCKS);
}

/// Is an echo answered, over IPv4 and over IPv6?
fn echoed(server: &Server) -> [bool; 2] {
    let outside = server.machine.outside();
    let ask = || {
        outside.enter();
        INSIDE.map(|address| echo(address.parse().unwrap()))
    };
    thread::scope(|scope| scope.spawn(ask).join().unwrap())
}

/// What `ping` does, which the machine lacks.
fn echo(to: IpAddr) -> bool {
    const ID: [u8; 2] = [0x47, 0x57];
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.connect(&SocketAddr::from((to, 0)).into()).unwrap();
    // Of ICMPv6 the kernel makes the sum itself.
    let sum = !((u16::from(request) << 8) + u16::from_be_bytes(ID) + 1);
    let [high, low] = sum.to_be_bytes();
    socket.send(&[request, 0, high, low, ID[0], ID[1], 0, 1]).unwrap();
    let mut packet = [0; 256];
    while let Ok(bytes) = socket.read(&mut packet) {
        // IPv4 brings its own head along.
        let head = if to.is_ipv4() { usize::from(packet[0] & 15) * 4 } else { 0 };
        if bytes >= head + 8 && packet[head] == reply && packet[head + 4..head + 6] == ID {
            return true;
        }
    }
    false
}

fn changes_are_not_lost_and_ports_of_ssh_are_followed(server: &Server) {
    let at_once = "for port in 9001 9002 9003 9004 9005 9006; do gateway firewall allow $port & done; wait";
    server.machine.shell(at_once).ok();
    let status = server.machine.run(&["gateway", "firewall", "status"]).ok();
    status.says(&["9001/tcp, 9002/tcp, 9003/tcp, 9004/tcp, 9005/tcp, 9006/tcp"]);
    // Named, and open before sshd has heard of it.
    server.machine.write("/etc/ssh/sshd_config.d/more.conf", "Port 2022\n");
    eventually("the new port of SSH is open", || {
        let status = server.machine.run(&["gateway", "firewall", "status"]).stdout;
        status.contains("2022, 2222").then_some(())
    });
}

/// What is ordered while somebody else has the plan before them is not taken back by its being carried out.
fn changes_while_a_plan_is_shown_are_not_lost(server: &Server) {
    let script = "cd /root && mkfifo answer && { gateway bootstrap --ssh-port 2345 --confirm-within 5m < answer > told 2>&1 & } && \
        exec 3> answer && until grep -q 'Go ahead' told; do sleep 0.1; done && \
        gateway firewall allow 9007 && gateway firewall deny 192.0.2.0/24 && echo y >&3 && exec 3>&- && wait && cat told && rm answer told";
    server.machine.shell(script).ok().says(&["SECOND SSH session"]);
    server.ssh("gateway bootstrap confirm").ok();
    let status = server.machine.run(&["gateway", "firewall", "status"]).ok();
    status.says(&["in force as confirmed", "2345", "9007/tcp", "192.0.2.0/24"]);
}

/// Nobody is led to where nobody answers, or nobody is let in.
fn a_cut_over_into_nothing_is_refused(server: &Server) {
    server.machine.write("/etc/gateway/conf.d/beside.toml", BESIDE);
    let silent = server.ssh("gateway cutover");
    assert_eq!(silent.code, 1, "{silent:?}");
    silent.says(&[
        "nothing listens on port 8080",
        "served by nobody",
        "`gateway bootstrap` moves its sockets there",
    ]);
    let listens = "for (const port of [8443, 8080]) require(\"net\").createServer().listen(port)";
    let unit = ["systemd-run", "--quiet", "--unit=listens", "--", "/usr/bin/node", "-e", listens];
    server.machine.run(&unit).ok();
    eventually("somebody listens", || {
        let closed = server.ssh("gateway cutover");
        assert_eq!(closed.code, 1, "{closed:?}");
        closed.all().contains("the firewall lets nobody reach port 8080").then_some(())
    });
    server.ssh("gateway firewall status").ok().says(&["in force as confirmed"]);
    server.machine.run(&["systemctl", "stop", "listens"]);
    server.machine.run(&["rm", "/etc/gateway/conf.d/beside.toml"]).ok();
}

/// As after `bootstrap --no-firewall` and a cut-over: the table is there, and filters nothing.
fn a_table_that_only_leads_gets_its_filter(server: &Server) {
    server.machine.shell("nft delete table inet gateway; rm /etc/gateway/firewall.*").ok();
    server.machine.write("/etc/gateway/conf.d/beside.toml", BESIDE);
    server.machine.run(&["systemctl", "restart", "gateway"]).ok();
    server.ssh("gateway cutover --confirm-within 5m").ok();
    server.ssh("gateway bootstrap confirm").ok();
    assert_eq!(server.reached(FORGOTTEN), [true; 2]);
    server.ssh("gateway doctor").says(&["it leads connections over and filters nothing"]);
    let open = server.ssh("gateway firewall allow 9001");
    assert_eq!(open.code, 1, "{open:?}");
    open.says(&["nothing is filtered here"]);
    server.ssh("gateway cutover back").ok();
    server
        .ssh("gateway bootstrap --yes --confirm-within 5m")
        .ok()
        .says(&["it leads connections over, and filters"]);
    assert_eq!(server.reached(FORGOTTEN), [false; 2]);
    server.ssh("gateway bootstrap confirm").ok();
    server.ssh("gateway doctor").says(&["in force as confirmed"]);
}

#[test]
fn the_kernel_and_the_orders_keep_what_the_firewall_promises() {
    let server = Server::rented(PORT, "Port 2222\n");
    server.machine.run(&["systemd-run", "--quiet", "--unit=hears", "--", "/usr/bin/node", "-e", HEARS]).ok();
    eventually("datagrams are heard, as long as there is no firewall", || {
        send(&server, &[(7000, INSIDE[1], 9998)]);
        (server.machine.shell("cat /run/heard").stdout.contains("9998 from 7000.")).then_some(())
    });
    server.machine.run(&["rm", "/run/heard"]).ok();

    sessions_are_found(&server);
    ports_are_found_where_sshd_says_nothing(&server);
    a_configuration_that_is_no_text_stays_as_it_is(&server);
    a_plan_waits_for_a_yes_without_a_terminal(&server);
    a_timer_that_fires_meanwhile_takes_everything_along(&server);
    what_others_have_changed_is_not_confirmed(&server);
    assert_eq!(server.reached(FORGOTTEN), [false; 2]);
    assert_eq!(echoed(&server), [true; 2], "whoever looks for a fault finds the machine");

    datagrams_are_let_in_only_where_they_must(&server);
    // Nobody knows where anybody is: IPv6 finds it out by packets that the rules let in.
    server.machine.outside().run(&["ip", "-6", "neighbour", "flush", "dev", "cable"]).ok();
    server.machine.run(&["ip", "-6", "neighbour", "flush", "dev", "host0"]).ok();
    assert_eq!(booted::ask(&server.machine, INSIDE[1], "/").ok().stdout, "hello");
    changes_are_not_lost_and_ports_of_ssh_are_followed(&server);
    changes_while_a_plan_is_shown_are_not_lost(&server);
    a_cut_over_into_nothing_is_refused(&server);
    a_table_that_only_leads_gets_its_filter(&server);
    who_knocks_too_often_is_slowed_down_and_nobody_else(&server);
}
