//! How the edge speaks TLS: one handshake, from the ClientHello to a stream. A client that asks for a name without
//! a certificate is told so in TLS's own word, and learns nothing else.

use std::{fmt, io, sync::Arc};

use rustls::{
    CipherSuite, NamedGroup, ServerConfig,
    crypto::aws_lc_rs,
    server::{Acceptor, ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use super::{
    super::{EdgeError, acme::ACME_TLS, thread::Shared},
    Certificates,
    hello::{self, Overheard},
    resolver::Resolver,
};

/// Fatal alerts as records of TLS 1.2, which every client reads before the keys are agreed on (RFC 8446 5.1).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const MISSING_EXTENSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 109];

/// The key exchange that a recording of today cannot be opened for with the computers of tomorrow.
const POST_QUANTUM: NamedGroup = NamedGroup::X25519MLKEM768;

/// TLS 1.3's cipher suites are its own: who offers one of them speaks it.
const OF_TLS13: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// For clients without AES in hardware.
const CHACHA20: [CipherSuite; 3] = [
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Ours first.
const AES_128: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// With 256 bits, whose tickets' keys are made with SHA-384.
const AES_256: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// Accepts TLS on connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TlsAcceptor(Arc<Ways>);

/// The same server in all its ways. rustls takes the client's first group that it knows itself, so that one which
/// may not be chosen must not be there; and it goes by one side's order of ciphers alone.
struct Ways {
    certificates: Arc<Certificates>,
    resolver: Arc<Resolver>,
    configs: [Arc<ServerConfig>; Way::COUNT],
}

/// Whose order of ciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ours,
    Clients,
    /// For a client that is asked for another key share and brings a ticket of SHA-384, as nginx gives them: under a cipher
    /// of another hash it could not show the ticket again, whoever's it is. rustls and OpenSSL then leave it out, and
    /// rustls refuses that. So the cipher fits the ticket, and the handshake is a full one.
    Tickets,
}

/// What a client is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    /// No TLS 1.2.
    tls13_alone: bool,
    /// For clients that can: post-quantum, though they would rather not.
    post_quantum: bool,
    order: Order,
}

impl Way {
    const ORDERS: [Order; 3] = [Order::Ours, Order::Clients, Order::Tickets];
    const COUNT: usize = 4 * Self::ORDERS.len();

    fn index(self) -> usize {
        (self.order as usize) << 2 | usize::from(self.tls13_alone) << 1 | usize::from(self.post_quantum)
    }

    fn at(index: usize) -> Self {
        let bit = |at: usize| index >> at & 1 == 1;
        Self { tls13_alone: bit(1), post_quantum: bit(0), order: Self::ORDERS[index >> 2] }
    }

    fn of(hello: &ClientHello<'_>, records: &[u8], tls13_alone: bool) -> Self {
        let suites = hello.cipher_suites();
        let post_quantum = hello.named_groups().is_some_and(|groups| groups.contains(&POST_QUANTUM))
            && suites.iter().any(|suite| OF_TLS13.contains(suite));
        // Who puts ChaCha20 first has no AES in hardware: ours would cost it battery.
        let first = suites.iter().find(|suite| suite.as_str().is_some_and(|name| !name.contains("GREASE")));
        let order = if post_quantum && hello::brings_sha384_ticket_without(POST_QUANTUM, records) {
            Order::Tickets
        } else if first.is_some_and(|suite| CHACHA20.contains(suite)) {
            Order::Clients
        } else {
            Order::Ours
        };
        Self { tls13_alone, post_quantum, order }
    }
}

impl TlsAcceptor {
    /// TLS with these certificates.
    pub(crate) fn new(certificates: &Arc<Certificates>, shared: &Arc<Shared>) -> Result<Self, EdgeError> {
        let resolver = Arc::new(Resolver { certificates: certificates.clone(), shared: shared.clone() });
        let (resolves, tickets): (Arc<dyn ResolvesServerCert>, _) = (resolver.clone(), tickets()?);
        let config = |index| server_config(Way::at(index), &resolves, &tickets);
        let configs: Vec<_> = (0..Way::COUNT).map(config).collect::<Result<_, EdgeError>>()?;
        // As many as were counted.
        let configs = configs.try_into().map_err(|_| rustls::Error::General("ways".to_owned()))?;
        Ok(Self(Arc::new(Ways { certificates: certificates.clone(), resolver, configs })))
    }

    /// One handshake. Not cancel safe: the stream goes with it.
    pub(crate) async fn accept<IO>(&self, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let heard = LazyConfigAcceptor::new(Acceptor::default(), Overheard::new(io)).await?;
        let Overheard { io, bytes } = heard.io;
        let mut start = StartHandshake::from_parts(heard.accepted, io);
        let named = start.client_hello().server_name().is_some();
        if self.0.resolver.resolve(start.client_hello()).is_none() {
            // rustls would say "access denied", which browsers show as anything but the reason.
            let alert = if named { UNRECOGNIZED_NAME } else { MISSING_EXTENSION };
            start.io.write_all(&alert).await?;
            start.io.shutdown().await?;
            return Err(io::Error::new(io::ErrorKind::NotFound, "no certificate for the name asked for"));
        }
        let way = Way::of(&start.client_hello(), &bytes, self.0.certificates.speaks_tls13_alone());
        start.into_stream(self.0.configs[way.index()].clone()).await
    }
}

/// Under keys that rotate every six hours, are good for twelve, and that all cores and ways share: any core resumes what
/// another began. They are in memory alone, so that a restart ends them.
fn tickets() -> Result<Arc<dyn ProducesTickets>, EdgeError> {
    Ok(aws_lc_rs::Ticketer::new()?)
}

fn server_config(
    way: Way,
    resolver: &Arc<dyn ResolvesServerCert>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, EdgeError> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| !way.post_quantum || group.name() == POST_QUANTUM);
    // As browsers would have it: with 256 bits comes SHA-384, for which processors have no instructions as they have
    // for SHA-256. The order among the others stays.
    let first = if way.order == Order::Tickets { AES_256 } else { AES_128 };
    provider.cipher_suites.sort_by_key(|suite| !first.contains(&suite.suite()));
    let versions = if way.tls13_alone { &[&TLS13][..] } else { &[&TLS13, &TLS12] };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver.clone());
    config.ignore_client_order = way.order != Order::Clients;
    // The last one is spoken by certificate authorities alone, and only as far as the handshake.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), ACME_TLS.to_vec()];
    config.ticketer = tickets.clone();
    // Tickets are enough; sessions kept here would be a table that all cores lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsAcceptor(..)")
    }
}

#[cfg(test)]
mod tests;
