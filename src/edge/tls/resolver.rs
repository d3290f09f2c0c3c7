//! Answers a ClientHello: the certificates, and who knows which names are ours. It must never answer with a
//! certificate of another name.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    super::{acme::ACME_TLS, thread::Shared},
    Certificates,
    files::FilePair,
    local::LocalLeaf,
    vault::{Kept, KeptCertificate},
};

/// Asked for each handshake.
pub(super) struct Resolver {
    pub(super) certificates: Arc<Certificates>,
    pub(super) shared: Arc<Shared>,
}

/// What was chosen for a name.
pub(super) enum Chosen {
    /// Of the vault.
    Kept(Arc<KeptCertificate>),
    /// From `[[tls.certificate]]`.
    File(Arc<FilePair>),
    /// Signed by the local CA.
    Local(LocalLeaf),
}

impl Chosen {
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        match self {
            Self::Kept(kept) => &kept.certified,
            Self::File(file) => &file.pair.certified,
            Self::Local(leaf) => &leaf.certified,
        }
    }

    /// From when until when it is good.
    pub(super) fn life(&self) -> (Timestamp, Timestamp) {
        match self {
            Self::Kept(kept) => (kept.not_before, kept.not_after),
            Self::File(file) => (file.pair.leaf.not_before, file.pair.leaf.not_after),
            Self::Local(leaf) => leaf.life,
        }
    }

    /// The word for where it comes from.
    pub(super) fn source(&self) -> &'static str {
        match self {
            Self::Kept(kept) if kept.kept == Kept::Imported => "imported",
            Self::Kept(_) => "acme",
            Self::File(_) => "file",
            Self::Local(_) => "local",
        }
    }
}

impl Resolver {
    fn serves(&self, name: &str) -> bool {
        self.shared.settings.load().serves(&self.shared.registry.snapshot(), name)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands the name over as the client wrote it.
        let name = hello.server_name().map(str::to_ascii_lowercase);
        if is_challenge(&hello) {
            return self.shared.challenges.certificate(name.as_deref()?);
        }
        // Without a name it is a client that was given an address.
        let known = || name.as_deref().is_none_or(|name| self.serves(name));
        let chosen = self.certificates.choose(name.as_deref(), known, Timestamp::now())?;
        Some(chosen.certified().clone())
    }
}

/// Is it a certificate authority that comes to look (RFC 8737)? It offers that protocol and no other.
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(..)")
    }
}
