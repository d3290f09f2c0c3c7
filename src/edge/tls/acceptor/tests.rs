//! Tickets under keys that rotate.

use std::{
    io::Cursor,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    crypto::GetRandomFailed,
    pki_types::{PrivateKeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
    ticketer::TicketRotator,
};

use super::*;

const HOST: &str = "api.acme.example";
/// Seconds for which a key is used, so that a test can see three of them.
const LIFETIME_SECONDS: u32 = 1;

/// Keys made so far. A rotator makes two at first, and one with each rotation.
static KEYS: AtomicUsize = AtomicUsize::new(0);

/// What rotates every six hours serves as a key that lasts as long as the test.
#[derive(Debug)]
struct Key(Arc<dyn ProducesTickets>);

impl ProducesTickets for Key {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

fn key() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    KEYS.fetch_add(1, SeqCst);
    Ok(Box::new(Key(tickets().map_err(|_| GetRandomFailed)?)))
}

/// A client's tickets: each is shown once, and what comes after the first handshakes is not kept.
#[derive(Debug, Default)]
struct Purse {
    tls12: Mutex<Vec<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
    closed: AtomicBool,
    shows: AtomicBool,
}

impl ClientSessionStore for Purse {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        if !self.closed.load(SeqCst) {
            self.tls12.lock().unwrap().push(value);
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.shows.load(SeqCst).then(|| self.tls12.lock().unwrap().pop()).flatten()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        if !self.closed.load(SeqCst) {
            self.tls13.lock().unwrap().push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.shows.load(SeqCst).then(|| self.tls13.lock().unwrap().pop()).flatten()
    }
}

/// The server as most meet it, and a client of one version.
struct Pair {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    purse: Arc<Purse>,
}

impl Pair {
    fn new(tickets: &Arc<dyn ProducesTickets>, version: &'static rustls::SupportedProtocolVersion) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        let der = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let signer = aws_lc_rs::sign::any_supported_type(&der).unwrap();
        let certified = CertifiedKey::new(vec![made.cert.der().clone()], signer);
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
        let way = Way { tls13_alone: false, post_quantum: false, order: Order::Ours };
        let server = server_config(way, &resolver, tickets).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let purse = Arc::new(Purse::default());
        client.resumption = Resumption::store(purse.clone());
        Self { server, client: Arc::new(client), purse }
    }

    /// One connection, as far as the client's first tickets.
    fn connect(&self) -> HandshakeKind {
        let name = ServerName::try_from(HOST).unwrap();
        let mut client = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut wire = Cursor::new(wire);
            while server.read_tls(&mut wire).unwrap() > 0 {
                server.process_new_packets().unwrap();
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = Cursor::new(wire);
            while client.read_tls(&mut wire).unwrap() > 0 {
                client.process_new_packets().unwrap();
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        server.handshake_kind().unwrap()
    }

    /// Get tickets.
    fn fill(&self) {
        self.purse.shows.store(false, SeqCst);
        self.purse.closed.store(false, SeqCst);
        self.purse.tls12.lock().unwrap().clear();
        self.purse.tls13.lock().unwrap().clear();
        for _ in 0..4 {
            assert_ne!(self.connect(), HandshakeKind::Resumed);
        }
        self.purse.closed.store(true, SeqCst);
        self.purse.shows.store(true, SeqCst);
    }

    fn tickets_left(&self) -> usize {
        self.purse.tls12.lock().unwrap().len() + self.purse.tls13.lock().unwrap().len()
    }
}

/// Shows tickets while their key is in use, after one rotation and after more. What a slow machine makes of it cannot be
/// told from the clock, but from how many keys there are before a handshake and after it.
fn check(tickets: &Arc<dyn ProducesTickets>, version: &'static rustls::SupportedProtocolVersion) {
    let pair = Pair::new(tickets, version);
    let rotate = || {
        // Time passes for whoever asks for a ticket.
        assert!(tickets.encrypt(b"x").is_some());
        KEYS.load(SeqCst)
    };
    let mut seen = [false; 3];
    for _round in 0..20 {
        let made = rotate();
        pair.fill();
        if rotate() != made {
            continue;
        }
        for age in 0..=2 {
            while rotate() - made < age {
                std::thread::sleep(Duration::from_millis(20));
            }
            let before = KEYS.load(SeqCst) - made;
            assert!(pair.tickets_left() > 0, "nothing to show");
            let kind = pair.connect();
            let after = KEYS.load(SeqCst) - made;
            if before == after {
                let (age, resumed) = (after.min(2), kind == HandshakeKind::Resumed);
                assert_eq!(resumed, age < 2, "{version:?}: after {after} rotations: {kind:?}");
                seen[age] = true;
            }
        }
        if seen == [true; 3] {
            return;
        }
    }
    panic!("the keys rotate too fast for this machine: {seen:?}");
}

#[test]
fn a_ticket_is_good_over_one_rotation_of_the_keys_and_no_further() {
    let rotator = TicketRotator::new(LIFETIME_SECONDS, key).unwrap();
    let tickets: Arc<dyn ProducesTickets> = Arc::new(rotator);
    check(&tickets, &TLS13);
    check(&tickets, &TLS12);
}

#[test]
fn the_gateways_tickets_are_good_for_twelve_hours_at_the_most() {
    assert_eq!(tickets().unwrap().lifetime(), 12 * 60 * 60);
}
