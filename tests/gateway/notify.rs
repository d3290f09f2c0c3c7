//! Under systemd: what it is told, and the sockets that it hands over. A datagram socket of the test's stands for it.

use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sendfd::RecvWithFd;

use crate::{HOST, NAVAJA, PATIENCE, Site, TestGateway, Wire};

/// What systemd hears.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path, _directory: directory }
    }

    /// The next message and the descriptors with it.
    fn hear(&self) -> (String, Vec<OwnedFd>) {
        let (mut text, mut fds) = ([0; 4096], [0 as RawFd; 8]);
        let (bytes, count) =
            self.socket.recv_with_fd(&mut text, &mut fds).expect("systemd is told something");
        let fds = fds[..count].iter().map(|fd| adopt(*fd)).collect();
        (String::from_utf8_lossy(&text[..bytes]).into_owned(), fds)
    }

    /// Messages up to the one with this line, which is the last.
    fn until(&self, line: &str) -> Vec<(String, Vec<OwnedFd>)> {
        let (mut heard, begun) = (Vec::new(), Instant::now());
        loop {
            heard.push(self.hear());
            if heard.last().unwrap().0.lines().any(|told| told == line) {
                return heard;
            }
            assert!(begun.elapsed() < PATIENCE, "no {line} in {heard:?}");
        }
    }

    /// `gateway run` as a unit's main process; `sockets` (one at most) as its socket unit hands them over.
    fn start(&self, site: Site, socket: Option<(&str, OwnedFd)>, more: &[(&str, &str)]) -> TestGateway {
        // The shell's process becomes the gateway: only it knows the pid that LISTEN_PID must hold.
        let script = "if [ -n \"$LISTEN_FDNAMES\" ]; then exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; fi; \
                      exec \"$@\"";
        let mut command: Command = site.command_through(&["sh", "-c", script, "sh"], &["run"]);
        command.env("NOTIFY_SOCKET", &self.path).envs(more.iter().copied());
        if let Some((name, socket)) = socket {
            command.env("LISTEN_FDNAMES", name).stdin(socket);
        }
        TestGateway::start_command(site, command)
    }
}

#[expect(unsafe_code, reason = "the kernel has just made this descriptor for us")]
fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: it came with a message, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One plain listener and nothing else, so that there is one socket to hand over.
fn plain() -> Site {
    TestGateway::builder()
        .shops()
        .worker("echo.mjs")
        .config("edge.threads = 1\nedge.https = []\nedge.http = [\"127.0.0.1:0\"]")
        .site()
}

fn free_listener() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), listener)
}

#[test]
fn systemd_is_told_of_every_turn_of_the_gateways_life() {
    let site = plain();
    let systemd = Systemd::new();
    let gateway = systemd.start(site, None, &[]);
    let begun = systemd.until("READY=1");
    assert!(
        begun
            .iter()
            .any(|(told, fds)| told.starts_with("FDSTORE=1\nFDNAME=http@127.0.0.1_") && fds.len() == 1)
    );
    gateway.signal(Signal::SIGHUP);
    let (reloading, _) = systemd.until("RELOADING=1").pop().unwrap();
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    systemd.until("READY=1");
    // A swap is a reload to systemd: the same process, for a moment not to be disturbed.
    let pid = gateway.pid();
    gateway.cli(&["swap"]).ok();
    let (swapping, _) = systemd.until("RELOADING=1").pop().unwrap();
    assert!(swapping.contains("\nSTATUS=swapping"), "{swapping}");
    // The watchdog waits for the drain of the old program, and for the workers of the new one.
    let told = systemd.until("READY=1");
    let extended = told.iter().filter(|(told, _)| told.contains("EXTEND_TIMEOUT_USEC=30000000")).count();
    assert!(extended >= 2, "{told:?}");
    assert_eq!(gateway.status()["pid"], pid);
    // What is listed no longer need not be kept.
    gateway.site().configure("edge.http = []\nedge.https = [\"127.0.0.1:0\"]");
    gateway.cli(&["reload"]).ok();
    let heard = systemd.until("FDSTOREREMOVE=1").pop().unwrap().0;
    assert!(heard.contains("\nFDNAME=http@127.0.0.1_"), "{heard}");
    let heard = systemd.until("READY=1");
    assert!(heard.iter().any(|(told, _)| told.contains("FDNAME=https@127.0.0.1_")));
    gateway.signal(Signal::SIGTERM);
    systemd.until("STOPPING=1");
    gateway.stop();
}

#[test]
fn the_watchdog_is_fed_while_the_edge_lives() {
    let site = plain();
    let systemd = Systemd::new();
    let gateway = systemd.start(site, None, &[("WATCHDOG_USEC", "600000")]);
    systemd.until("READY=1");
    for _ in 0..3 {
        systemd.until("WATCHDOG=1");
    }
    // And by the next program as well.
    gateway.cli(&["swap"]).ok();
    systemd.until("READY=1");
    for _ in 0..3 {
        systemd.until("WATCHDOG=1");
    }
    gateway.stop();
}

#[test]
fn a_socket_unit_takes_connections_before_the_gateway_is_there() {
    let site = plain();
    let (address, listener) = free_listener();
    site.configure(&format!("edge.http = [\"{address}\"]"));
    let systemd = Systemd::new();
    let mut early = Wire::tcp(address);
    let request = format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n");
    early.send(&request);
    let gateway = systemd.start(site, Some(("gateway.socket", listener.into())), &[]);
    early.answer().is(200);
    let begun = systemd.until("READY=1");
    assert!(
        !begun.iter().any(|(told, _)| told.contains("FDSTORE")),
        "systemd keeps its own sockets: {begun:?}"
    );
    assert_eq!(gateway.status()["listeners"][0]["address"], address.to_string());
    // Through a swap it stays systemd's.
    gateway.cli(&["swap"]).ok();
    let mut late = Wire::tcp(address);
    late.send(&request);
    late.answer().is(200);
    let begun = systemd.until("READY=1");
    assert!(!begun.iter().any(|(told, _)| told.contains("FDSTORE")), "{begun:?}");
}

#[test]
fn a_restart_gets_the_kept_sockets_back_with_those_who_came_meanwhile() {
    let site = plain();
    let systemd = Systemd::new();
    let gateway = systemd.start(site, None, &[]);
    let begun = systemd.until("READY=1");
    let (told, mut fds) = begun.into_iter().find(|(told, _)| told.contains("FDSTORE")).unwrap();
    let name = told.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap().to_owned();
    let address = gateway.http();
    let site = gateway.stop();
    // Nobody serves, and nobody is refused.
    let mut meanwhile = Wire::tcp(address);
    meanwhile.send(format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n"));
    assert!(!meanwhile.comes_within(Duration::from_millis(50)));
    let gateway = systemd.start(site, Some((&name, fds.remove(0))), &[]);
    meanwhile.answer().is(200);
    assert_eq!(gateway.http(), address);
}

#[test]
fn a_socket_unit_that_does_not_fit_the_configuration_is_told() {
    let site = plain();
    let (_, listener) = free_listener();
    let mut command = site.command_through(
        &["sh", "-c", "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"],
        &["run"],
    );
    command.env("LISTEN_FDNAMES", "gateway.socket").stdin(OwnedFd::from(listener));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for word in ["`gateway.socket` listens on 127.0.0.1:", "edge.http", "hint: "] {
        assert!(said.contains(word), "{said}");
    }
}
