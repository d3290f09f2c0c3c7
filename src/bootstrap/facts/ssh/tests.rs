//! Sessions and ports of SSH, told from pictures of processes.

use super::*;
use crate::bootstrap::facts::processes::Process;

const EFFECTIVE: &str = include_str!("../../../../tests/data/bootstrap/sshd-2222");

fn process(
    (pid, parent): (u32, u32),
    name: &str,
    began: u64,
    environment: &[&str],
    sockets: &[u64],
) -> Process {
    let environment = environment.iter().map(|line| (*line).to_owned()).collect();
    let sockets = sockets.iter().copied().collect();
    Process { pid, parent, name: name.to_owned(), uid: 0, began, environment, sockets }
}

fn socket(local: &str, peer: &str, inode: u64) -> Socket {
    let peer: SocketAddr = peer.parse().unwrap();
    Socket { local: local.parse().unwrap(), peer, listening: peer.port() == 0, inode }
}

/// init, a listening sshd, its session's two halves, a shell, sudo, and this order, which sudo has robbed of everything.
fn over_ssh(shell: &[&str], session_sockets: &[u64]) -> Processes {
    Processes(vec![
        process((1, 0), "systemd", 1, &[], &[]),
        process((10, 1), "sshd", 50, &[], &[1]),
        process((20, 10), "sshd", 900, &[], session_sockets),
        process((21, 20), "sshd", 901, &[], session_sockets),
        process((22, 21), "bash", 902, shell, &[]),
        process((23, 22), "sudo", 903, shell, &[]),
        process((24, 23), "gateway", 904, &[], &[]),
    ])
}

fn sockets() -> Vec<Socket> {
    vec![
        socket("0.0.0.0:2222", "0.0.0.0:0", 1),
        socket("203.0.113.9:2022", "198.51.100.7:50000", 2),
        // A tunnel that the session opened to somewhere else, and a forwarded port.
        socket("203.0.113.9:41000", "192.0.2.5:22", 3),
        socket("127.0.0.1:9000", "0.0.0.0:0", 4),
    ]
}

fn told(processes: &Processes, sockets: &[Socket], effective: &str) -> Ssh {
    ssh(&Sources { configured: effective_ports(effective), socket_units: "", sockets }, processes, 24)
}

#[test]
fn the_servers_own_words_name_every_port() {
    assert_eq!(effective_ports(EFFECTIVE), BTreeSet::from([22, 2022, 2222]));
    assert_eq!(effective_ports("Port 2200\n"), BTreeSet::from([2200]));
    assert_eq!(effective_ports("sshd: no hostkeys available"), BTreeSet::new());
    assert_eq!(unit_ports("Listen=0.0.0.0:22 (Stream) [::]:2200 (Stream)\n"), BTreeSet::from([22, 2200]));
}

#[test]
fn a_session_is_found_behind_sudo_by_its_parents_environment() {
    let processes = over_ssh(&["SSH_CONNECTION=198.51.100.7 50000 203.0.113.9 2022"], &[]);
    let ssh = told(&processes, &sockets(), "");
    let Session::Ssh { peer, port, began, pid, .. } = ssh.session else { panic!("{ssh:?}") };
    assert_eq!((peer, port), (Some("198.51.100.7".parse().unwrap()), Some(2022)));
    assert_eq!(
        (pid, began),
        (Some(20), Some(900)),
        "when the connection came in, not when its halves parted"
    );
    assert_eq!(ssh.ports, BTreeSet::from([2022, 2222]), "where it listens and where the session came in");
}

#[test]
fn a_session_is_found_by_its_servers_socket_where_no_environment_shows_it() {
    let ssh = told(&over_ssh(&[], &[2, 3, 4]), &sockets(), "port 22");
    let Session::Ssh { peer, port, .. } = ssh.session else { panic!("{ssh:?}") };
    assert_eq!((peer, port), (Some("198.51.100.7".parse().unwrap()), Some(2022)));
    assert_eq!(ssh.ports, BTreeSet::from([22, 2022, 2222]), "neither tunnels nor forwarded ports are SSH's");
}

/// What `-R`, X11 and `-L` to high ports leave beside the session's own connection.
fn with_forwards() -> Vec<Socket> {
    let mut sockets = vec![
        socket("127.0.0.1:8080", "127.0.0.1:40000", 5),
        socket("127.0.0.1:6010", "127.0.0.1:40001", 6),
        socket("203.0.113.9:33000", "192.0.2.5:50051", 7),
        socket("203.0.113.9:8081", "192.0.2.6:40002", 8),
    ];
    sockets.extend(self::sockets());
    sockets
}

#[test]
fn what_a_session_forwards_is_not_taken_for_it() {
    for (shell, effective) in
        [(&["SSH_CONNECTION=198.51.100.7 50000 203.0.113.9 2022"][..], ""), (&[], "port 2022"), (&[], "")]
    {
        let ssh = told(&over_ssh(shell, &[5, 6, 7, 8, 2, 3, 4]), &with_forwards(), effective);
        let Session::Ssh { peer, port, began, .. } = ssh.session else { panic!("{ssh:?}") };
        assert_eq!((peer, port), (Some("198.51.100.7".parse().unwrap()), Some(2022)), "{shell:?}");
        assert_eq!(began, Some(900), "a forwarded port that listens makes no listener of it");
    }
}

#[test]
fn what_is_only_called_sshd_opens_no_port() {
    let mut processes = over_ssh(&[], &[2]);
    let sockets = [sockets(), vec![socket("0.0.0.0:9999", "0.0.0.0:0", 9)], with_forwards()].concat();
    processes.0.push(Process { uid: 1000, ..process((30, 1), "sshd", 950, &[], &[9, 8]) });
    let ssh = told(&processes, &sockets, "port 22");
    assert_eq!(ssh.ports, BTreeSet::from([22, 2022, 2222]));
    assert_eq!(ssh.peers, BTreeSet::from(["198.51.100.7".parse().unwrap()]));
}

#[test]
fn a_session_that_shows_no_port_is_one_all_the_same() {
    let hidden = told(&over_ssh(&[], &[]), &sockets(), "port 22");
    assert!(matches!(hidden.session, Session::Ssh { port: None, .. }), "{hidden:?}");
    let mut roaming = over_ssh(&["SSH_CONNECTION=198.51.100.7 50000 203.0.113.9 2022"], &[]);
    for process in roaming.0.iter_mut().filter(|process| process.name == "sshd" && process.pid != 10) {
        process.name = "mosh-server".to_owned();
    }
    let roaming = told(&roaming, &sockets(), "port 22");
    assert!(matches!(roaming.session, Session::Ssh { port: None, .. }), "{roaming:?}");
}

#[test]
fn at_the_machine_itself_there_is_no_session() {
    let processes = Processes(vec![
        process((1, 0), "systemd", 1, &[], &[]),
        process((10, 1), "sshd", 50, &[], &[1]),
        process((24, 1), "gateway", 904, &[], &[]),
    ]);
    assert_eq!(told(&processes, &sockets(), "port 22").session, Session::Local);
}

/// Somebody is in over SSH, and this order was not started below them: by systemd, by at, in a tmux.
fn elsewhere(begun_by: &str, begun_with: &[&str], open: &[u64]) -> Processes {
    Processes(vec![
        process((1, 0), "systemd", 1, &[], &[]),
        process((10, 1), "sshd", 50, &[], &[1]),
        process((20, 10), "sshd-session", 900, &[], open),
        process((22, 20), "run0", 902, &[], &[]),
        process((23, 1), begun_by, 903, begun_with, &[]),
        process((24, 23), "gateway", 904, &[], &[]),
    ])
}

#[test]
fn who_cannot_be_traced_while_somebody_is_in_over_ssh_is_them() {
    for by in ["sh", "atd", "tmux: server", "screen"] {
        let ssh = told(&elsewhere(by, &[], &[2]), &sockets(), "port 22");
        let Session::Ssh { peer, port, began, .. } = ssh.session else { panic!("{by}: {ssh:?}") };
        assert_eq!((peer, port), (Some("198.51.100.7".parse().unwrap()), Some(2022)), "{by}");
        assert_eq!(began, None, "{by}: a guess proves nothing");
        assert_eq!(ssh.peers, ["198.51.100.7".parse().unwrap()].into());
    }
    // At the console, or by the machine's start, it is nobody else, whoever else is in.
    for by in ["login", "cloud-init"] {
        assert_eq!(told(&elsewhere(by, &[], &[2]), &sockets(), "").session, Session::Local, "{by}");
    }
    assert_eq!(told(&elsewhere("atd", &[], &[]), &sockets(), "").session, Session::Local, "nobody is in");
}

#[test]
fn of_several_sessions_only_what_they_share_is_known() {
    let mut sockets = sockets();
    sockets.push(socket("203.0.113.9:2022", "192.0.2.77:50001", 5));
    let Session::Ssh { peer, port, .. } = told(&elsewhere("atd", &[], &[2, 5]), &sockets, "").session else {
        panic!()
    };
    assert_eq!((peer, port), (None, Some(2022)));
    sockets.push(socket("203.0.113.9:22", "192.0.2.77:50002", 6));
    let ssh = told(&elsewhere("atd", &[], &[2, 5, 6]), &sockets, "port 22");
    assert!(matches!(ssh.session, Session::Ssh { port: None, .. }), "{ssh:?}");
    assert_eq!(ssh.ports, BTreeSet::from([22, 2022, 2222]), "and all of them are SSH's");
}

#[test]
fn a_tmux_remembers_sessions_that_have_ended() {
    let ended = "SSH_CONNECTION=192.0.2.200 40000 203.0.113.9 22";
    let ssh = told(&elsewhere("tmux: server", &[ended], &[2]), &sockets(), "");
    let Session::Ssh { peer, .. } = ssh.session else { panic!("{ssh:?}") };
    assert_eq!(peer, Some("198.51.100.7".parse().unwrap()), "who is in now");
}

#[test]
fn a_connection_that_is_no_connection_is_none() {
    assert_eq!(connection("1.2.3.4 5"), None);
    assert!(connection("fe80::1%eth0 50000 fe80::2%eth0 22").is_some());
}
