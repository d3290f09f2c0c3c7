//! TLS itself: versions, ciphers, key exchange, resumption, HSTS. What testssl.sh says of all of it is in `audit`.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore,
    SupportedProtocolVersion,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::{HOST, NAVAJA, TestGateway, Wire, certificates::TestCa};

/// A browser of the test: what it trusts and what it can.
struct Browser {
    config: ClientConfig,
}

impl Browser {
    fn new(
        ca_pem: &[u8],
        versions: &[&'static SupportedProtocolVersion],
        change: impl FnOnce(&mut CryptoProvider),
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut provider = aws_lc_rs::default_provider();
        change(&mut provider);
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
        Self { config: config.unwrap().with_root_certificates(roots).with_no_client_auth() }
    }

    /// One connection with one request on it, so that tickets have come; what was agreed on.
    fn visit(config: &Arc<ClientConfig>, gateway: &TestGateway) -> std::io::Result<Agreed> {
        Self::visit_as(HOST, config, gateway)
    }

    /// The same to a host that is called otherwise.
    fn visit_as(
        host: &'static str,
        config: &Arc<ClientConfig>,
        gateway: &TestGateway,
    ) -> std::io::Result<Agreed> {
        Self::visit_at(gateway.https(), host, config)
    }

    /// The same to whatever server.
    fn visit_at(
        address: std::net::SocketAddr,
        host: &'static str,
        config: &Arc<ClientConfig>,
    ) -> std::io::Result<Agreed> {
        use std::io::{Read, Write};
        let name = ServerName::try_from(host).unwrap();
        let mut connection = ClientConnection::new(config.clone(), name).unwrap();
        let mut tcp = std::net::TcpStream::connect(address)?;
        let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
        let request =
            format!("GET /x HTTP/1.1\r\nhost: {host}\r\norigin: {NAVAJA}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        // Closed with or without goodbye.
        let _end = stream.read_to_end(&mut answer);
        assert!(
            answer.get(..12).is_some_and(|head| head.ends_with(b" 200")),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Ok(Agreed {
            version: connection.protocol_version().unwrap(),
            kind: connection.handshake_kind().unwrap(),
            group: connection.negotiated_key_exchange_group().map(|group| group.name()),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Agreed {
    version: ProtocolVersion,
    kind: HandshakeKind,
    group: Option<NamedGroup>,
}

fn ca(gateway: &TestGateway) -> Vec<u8> {
    std::fs::read(gateway.site().state().join("local-ca/ca.pem")).unwrap()
}

#[test]
fn post_quantum_key_exchange_is_taken_whenever_the_client_can_whatever_it_would_rather() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let ca = ca(&gateway);
    let agreed = |groups: &[NamedGroup], versions: &[&'static SupportedProtocolVersion]| {
        let browser = Browser::new(&ca, versions, |provider| {
            let all = aws_lc_rs::ALL_KX_GROUPS;
            let named = |name: &NamedGroup| *all.iter().find(|group| group.name() == *name).unwrap();
            provider.kx_groups = groups.iter().map(named).collect();
        });
        Browser::visit(&Arc::new(browser.config), &gateway).unwrap()
    };
    use NamedGroup::{X25519, X25519MLKEM768, secp256r1};
    for (groups, want) in [
        (&[X25519MLKEM768, X25519][..], X25519MLKEM768),
        (&[X25519, X25519MLKEM768], X25519MLKEM768),
        (&[secp256r1, X25519, X25519MLKEM768], X25519MLKEM768),
        (&[X25519, secp256r1], X25519),
        (&[secp256r1], secp256r1),
    ] {
        let agreed = agreed(groups, &[&TLS13]);
        assert_eq!((agreed.version, agreed.group), (ProtocolVersion::TLSv1_3, Some(want)), "{groups:?}");
    }
    // It is a matter of TLS 1.3; older clients come in all the same.
    let agreed = agreed(&[X25519MLKEM768, X25519], &[&TLS12]);
    assert_eq!((agreed.version, agreed.group), (ProtocolVersion::TLSv1_2, Some(X25519)));
}

#[test]
fn sessions_are_resumed_on_every_thread_in_both_versions_and_never_under_another_name() {
    const OTHER: &str = "other.example";
    let threads = "edge.threads = 4\nedge.hosts = [\"other.example\"]";
    let gateway = TestGateway::builder().shops().worker("echo.mjs").config(threads).start();
    let ca = ca(&gateway);
    for (version, resumption) in [
        (&TLS13, Resumption::in_memory_sessions(64)),
        (
            &TLS12,
            Resumption::in_memory_sessions(64)
                .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOrTickets),
        ),
    ] {
        let mut browser = Browser::new(&ca, &[version], |_| ());
        browser.config.resumption = resumption;
        let config = Arc::new(browser.config);
        let first = Browser::visit(&config, &gateway).unwrap();
        assert_ne!(first.kind, HandshakeKind::Resumed);
        // Each connection comes to whichever thread; over so many, to all of them.
        for visit in 0..24 {
            let again = Browser::visit(&config, &gateway).unwrap();
            assert_eq!(again.kind, HandshakeKind::Resumed, "{version:?}, visit {visit}");
        }
        // A client that shows its ticket of one name under another one: a certificate for the other must be proven.
        let mut browser = Browser::new(&ca, &[version], |_| ());
        browser.config.resumption = Resumption::store(Arc::new(OneName::default()));
        let config = Arc::new(browser.config);
        for (host, resumed) in
            [(HOST, false), (HOST, true), (OTHER, false), (OTHER, true), (HOST, false), (HOST, true)]
        {
            let visit = Browser::visit_as(host, &config, &gateway).unwrap();
            assert_eq!(visit.kind == HandshakeKind::Resumed, resumed, "{version:?}, {host}: {visit:?}");
        }
    }
}

/// Sessions kept without a look at the name that they were made under: the newest is taken for any.
#[derive(Debug, Default)]
struct OneName {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for OneName {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls12.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.tls12.lock().unwrap() = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.tls13.lock().unwrap().push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().pop()
    }
}

/// Another server of that host, as the one that stood here before: OpenSSL's, which takes the client's first cipher.
struct Predecessor {
    process: std::process::Child,
    address: std::net::SocketAddr,
    _files: tempfile::TempDir,
}

impl Predecessor {
    fn start(ca: &TestCa, cipher: &str) -> Self {
        use std::io::BufRead;
        let files = tempfile::tempdir().unwrap();
        let (chain, key) = ca.certify(HOST);
        let paths = ["chain.pem", "key.pem"].map(|name| files.path().join(name));
        paths.iter().zip([chain, key]).for_each(|(path, text)| std::fs::write(path, text).unwrap());
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-ciphersuites", cipher, "-www"])
            .arg("-cert")
            .arg(&paths[0])
            .arg("-key")
            .arg(&paths[1])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok());
        Self { process, address: address.expect("openssl says where it listens"), _files: files }
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn a_client_that_brings_another_servers_ticket_gets_a_full_handshake() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let other_ca = TestCa::new();
    let trust = [ca(&gateway), other_ca.pem().into_bytes()].concat();
    for cipher in ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"] {
        let predecessor = Predecessor::start(&other_ca, cipher);
        let config = Arc::new(Browser::new(&trust, &[&TLS13], |_| ()).config);
        let visit = |at| Browser::visit_at(at, HOST, &config).unwrap();
        visit(predecessor.address);
        assert_eq!(visit(predecessor.address).kind, HandshakeKind::Resumed, "{cipher}: it keeps tickets");
        let first = visit(gateway.https());
        // It remembers the other one's key exchange as well, and is asked for a better one.
        let want = (HandshakeKind::FullWithHelloRetryRequest, Some(NamedGroup::X25519MLKEM768));
        assert_eq!((first.kind, first.group), want, "{cipher}");
        let kinds: Vec<_> = (0..4).map(|_| visit(gateway.https()).kind).collect();
        assert_eq!(kinds.last(), Some(&HandshakeKind::Resumed), "{cipher}: {kinds:?}");
    }
}

#[test]
fn openssl_with_another_servers_session_gets_a_full_handshake_too() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let other_ca = TestCa::new();
    let predecessor = Predecessor::start(&other_ca, "TLS_AES_256_GCM_SHA384");
    let session = gateway.site().path().join("session.pem");
    let client = |at: std::net::SocketAddr, option: &str| {
        // What is said after the end of input is read all the same: the session comes after the handshake.
        let script = format!(
            "printf 'GET /x HTTP/1.1\\r\\nhost: {HOST}\\r\\norigin: {NAVAJA}\\r\\nconnection: close\\r\\n\\r\\n' | \
             timeout 20 openssl s_client -connect {at} -servername {HOST} -ign_eof {option} {} 2>&1",
            session.display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = client(predecessor.address, "-sess_out");
    assert!(before.contains("Cipher is TLS_AES_256_GCM_SHA384") && session.exists(), "{before}");
    let after = client(gateway.https(), "-sess_in");
    assert!(after.contains("New, TLSv1.3") && after.contains("HTTP/1.1 200"), "{after}");
}

#[test]
fn the_oldest_version_is_configured_and_changed_while_running() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let ca = ca(&gateway);
    let old = Arc::new(Browser::new(&ca, &[&TLS12], |_| ()).config);
    let new = Arc::new(Browser::new(&ca, &[&TLS13], |_| ()).config);
    Browser::visit(&old, &gateway).unwrap();
    gateway.site().configure("tls.min_version = \"1.3\"");
    gateway.cli(&["reload"]).ok();
    assert!(Browser::visit(&old, &gateway).is_err());
    Browser::visit(&new, &gateway).unwrap();
    gateway.site().configure("tls.min_version = \"1.1\"");
    gateway.cli(&["reload"]).fails(2).says(&["tls.min_version"]);
}

#[test]
fn hsts_is_said_over_https_alone_and_never_over_what_the_backend_says() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let hsts = |secure: bool, origin: &str| {
        let request = gateway.get("/x").origin(origin);
        let answer = if secure { request.secure().send() } else { request.send() };
        answer.header("strict-transport-security").map(str::to_owned)
    };
    assert_eq!(hsts(true, NAVAJA), None, "off unless asked for");
    gateway.site().configure("[tls.hsts]\nenabled = true\ninclude_subdomains = true");
    gateway.cli(&["reload"]).ok().says(&["local CA"]);
    let said = "max-age=31536000; includeSubDomains";
    assert_eq!(hsts(true, NAVAJA).as_deref(), Some(said));
    assert_eq!(hsts(true, "https://stranger.example").as_deref(), Some(said), "refusals too");
    assert_eq!(hsts(false, NAVAJA), None, "plain HTTP");
    let answer = gateway.get("/x").host("unknown.example").secure().send();
    assert_eq!((answer.status, answer.header("strict-transport-security")), (421, None));
    let own =
        gateway.get("/headers?set=strict-transport-security:max-age%3D5").origin(NAVAJA).secure().send();
    assert_eq!(own.header("strict-transport-security"), Some("max-age=5"));
    gateway.site().configure("[tls.hsts]\npreload = true\nmax_age = \"30d\"");
    gateway.cli(&["reload"]).fails(2).says(&["tls.hsts.preload", "a year"]);
}

#[test]
fn a_client_without_a_name_gets_the_first_certificate_of_files() {
    let (site, ca) = (
        TestGateway::builder().shops().worker("echo.mjs").config("tls.mode = \"files\"").site(),
        TestCa::new(),
    );
    let (certificate, key) = ca.certify("127.0.0.1");
    let (cert, key) = (site.write("api.crt", certificate), site.write("api.key", key));
    site.configure(&format!("[[tls.certificate]]\ncert = {cert:?}\nkey = {key:?}"));
    let gateway = site.start();
    // A client that is given an address sends no name.
    Wire::tls(gateway.https(), "127.0.0.1", ca.trusted());
}
