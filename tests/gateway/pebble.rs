//! A real certificate authority for tests: pebble, and the name server that it asks (pebble-challtestsrv), each test
//! with its own on ports of its own. Every name leads to 127.0.0.1 until a test says otherwise.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::{TestGateway, Wire, builder::Builder, client::trusting, eventually};

/// Where a test's ports come from: below those that the system gives out by itself.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A certificate authority that runs, and where it looks for a gateway.
#[derive(Debug)]
pub(crate) struct Pebble {
    directory: tempfile::TempDir,
    ports: Ports,
    settings: Settings,
    names: Child,
    authority: Option<Child>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    directory: u16,
    management: u16,
    dns: u16,
    dns_management: u16,
    /// Where the gateway listens.
    http: u16,
    https: u16,
}

/// What differs between tests.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Percent of nonces refused.
    pub(crate) nonces_refused: u8,
    /// Seconds that a certificate lives.
    pub(crate) validity_s: u64,
    /// At most so many seconds before each look at a host.
    pub(crate) slow_s: Option<u32>,
    /// Where it looks for TLS-ALPN-01, if not where the gateway listens.
    pub(crate) https: Option<u16>,
    /// It wants accounts bound to the one with this id and key (base64url).
    pub(crate) external: Option<(&'static str, &'static str)>,
    /// Names that it signs for nobody.
    pub(crate) blocked: &'static [&'static str],
}

impl Default for Settings {
    fn default() -> Self {
        // Five of a hundred, as pebble's makers have it: clients must be used to it.
        Self {
            nonces_refused: 5,
            validity_s: 90 * 24 * 3600,
            slow_s: None,
            https: None,
            external: None,
            blocked: &[],
        }
    }
}

impl Pebble {
    /// Start one.
    pub(crate) fn start(settings: Settings) -> Self {
        let directory = tempfile::Builder::new().prefix("pebble").tempdir_in("/tmp").unwrap();
        let ports = Ports {
            directory: free_port(),
            management: free_port(),
            dns: free_port(),
            dns_management: free_port(),
            http: free_port(),
            https: free_port(),
        };
        certify(directory.path(), "127.0.0.1");
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-dns01", &at(ports.dns), "-management", &at(ports.dns_management)]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        let names = spawn(names, &directory.path().join("names.log"));
        let mut pebble = Self { directory, ports, settings, names, authority: None };
        pebble.listens(ports.dns_management, "the name server");
        pebble.up();
        pebble
    }

    /// Start the authority (again): it has forgotten everything.
    pub(crate) fn up(&mut self) {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let config = json!({ "pebble": {
            "listenAddress": at(self.ports.directory),
            "managementListenAddress": at(self.ports.management),
            "certificate": self.file("pebble.pem"),
            "privateKey": self.file("pebble.key"),
            "httpPort": self.ports.http,
            "tlsPort": self.settings.https.unwrap_or(self.ports.https),
            "certificateValidityPeriod": self.settings.validity_s,
            "domainBlocklist": self.settings.blocked,
            "externalAccountBindingRequired": self.settings.external.is_some(),
            "externalAccountMACKeys": self.settings.external.iter().copied().collect::<BTreeMap<_, _>>(),
        }});
        std::fs::write(self.file("pebble.json"), config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(self.file("pebble.json")).args(["-dnsserver", &at(self.ports.dns)]);
        command.env("PEBBLE_WFE_NONCEREJECT", self.settings.nonces_refused.to_string());
        match self.settings.slow_s {
            Some(seconds) => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
            None => command.env("PEBBLE_VA_NOSLEEP", "1"),
        };
        self.authority = Some(spawn(command, &self.file("pebble.log")));
        self.listens(self.ports.directory, "pebble");
        // It is opened beside, and may come later.
        self.listens(self.ports.management, "pebble's management");
    }

    /// Stop the authority.
    pub(crate) fn down(&mut self) {
        end(&mut self.authority.take().unwrap());
    }

    /// Stop (SIGSTOP) or wake (SIGCONT) it: connections are taken and nobody answers.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.authority.as_ref().unwrap().id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Let a name lead somewhere else.
    pub(crate) fn lead(&self, host: &str, address: &str) {
        // Adding alone would add to what was there.
        self.tell("clear-a", &json!({ "host": host }));
        self.tell("add-a", &json!({ "host": host, "addresses": [address] }));
    }

    /// Let it lead there as well, over IPv6.
    pub(crate) fn lead_also(&self, host: &str, address: &str) {
        self.tell("add-aaaa", &json!({ "host": host, "addresses": [address] }));
    }

    fn tell(&self, order: &str, body: &serde_json::Value) {
        let names = (Ipv4Addr::LOCALHOST, self.ports.dns_management).into();
        let (mut wire, body) = (Wire::tcp(names), body.to_string());
        let length = body.len();
        wire.send(format!(
            "POST /{order} HTTP/1.1\r\nhost: names\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        wire.answer().is(200);
    }

    /// Ready for a gateway that orders from it: listeners where it looks, pauses short enough for a test.
    pub(crate) fn builder(&self) -> Builder {
        TestGateway::builder().config(&format!(
            r#"
            [edge]
            http = ["127.0.0.1:{}"]
            https = ["127.0.0.1:{}"]
            [tls]
            mode = "acme"
            [tls.acme]
            directory = "https://localhost:{}/dir"
            contact = ["admin@example.com"]
            ca_file = {:?}
            resolvers = ["127.0.0.1:{}"]
            request_timeout = "2s"
            order_timeout = "20s"
            retry_first = "1s"
            gather = "200ms"
            "#,
            self.ports.http,
            self.ports.https,
            self.ports.directory,
            self.file("ca.pem"),
            self.ports.dns,
        ))
    }

    /// The root of what it signs: another one at each of its starts.
    pub(crate) fn root(&self) -> Vec<u8> {
        let ca = std::fs::read(self.file("ca.pem")).unwrap();
        let address = (Ipv4Addr::LOCALHOST, self.ports.management).into();
        let mut wire = Wire::tls(address, "localhost", trusting(&ca, &["http/1.1"]));
        wire.send("GET /roots/0 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        wire.answer().is(200).body
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("pebble.log")).unwrap_or_default()
    }

    /// A port on which nobody listens.
    pub(crate) fn nowhere() -> u16 {
        free_port()
    }

    /// Where its directory is asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.directory).into()
    }

    /// Where it looks for HTTP-01 and for TLS-ALPN-01.
    pub(crate) fn looks_at(&self) -> (u16, u16) {
        (self.ports.http, self.ports.https)
    }

    /// A file of its own: `ca.pem` of who signed its own certificate, `pebble.pem` and `pebble.key`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn listens(&self, port: u16, what: &str) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually(&format!("{what} listens"), || std::net::TcpStream::connect(address).ok());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("---- pebble\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        self.authority.iter_mut().for_each(end);
        end(&mut self.names);
    }
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; the Debian package is `pebble`"))
}

fn end(child: &mut Child) {
    let _gone = child.kill();
    let _gone = child.wait();
}

/// A port that is free for TCP and UDP, and that no other test of this process was given.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs of the tests on one machine begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(PORTS.end - PORTS.start)).unwrap();
    for _ in 0..1000 {
        let step = NEXT.fetch_add(1, Relaxed);
        let port = PORTS.start + (begin + step % 10_000) % (PORTS.end - PORTS.start);
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// A CA and a certificate for pebble's own TLS.
pub(crate) fn certify(directory: &Path, address: &str) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost", address, "ca.example"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    for (name, text) in
        [("ca.pem", ca.pem()), ("pebble.pem", leaf.pem()), ("pebble.key", key.serialize_pem())]
    {
        std::fs::write(directory.join(name), text).unwrap();
    }
}
