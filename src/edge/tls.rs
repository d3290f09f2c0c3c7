//! Certificates by SNI and the TLS they are used in. A name without a certificate gets none: no answer is better
//! than another host's. Everything here can be replaced while running, except whether there is TLS at all.

mod files;
mod local;
mod pair;
#[cfg_attr(not(test), expect(dead_code, reason = "`cert import` keeps its certificates here, too"))]
mod vault;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

pub(super) use self::vault::Vault;
pub(super) use self::vault::{Kept, KeptCertificate};
use self::{files::Files, local::LocalCa};
use super::{
    CertificateStatus, EdgeError,
    acme::ACME_TLS,
    config::{TlsConfig, TlsMode},
    thread::Shared,
};

/// Where certificates come from now.
pub(crate) struct Certificates {
    source: ArcSwap<Source>,
    /// What is imported, and what ACME ordered.
    pub(super) vault: Arc<Vault>,
    state_dir: PathBuf,
}

enum Source {
    Off,
    Local(LocalCa),
    Files(Files),
    /// The vault, and nothing else.
    Acme,
}

impl Certificates {
    /// Load or make what the configuration asks for.
    pub(crate) fn new(config: &TlsConfig, state_dir: PathBuf) -> Result<Arc<Self>, EdgeError> {
        let source = ArcSwap::from_pointee(Source::open(config, &state_dir)?);
        let vault = Vault::open(&state_dir)?;
        Ok(Arc::new(Self { source, vault, state_dir }))
    }

    /// The source of a new configuration, ready to be put in force.
    pub(crate) fn prepare(&self, config: &TlsConfig) -> Result<impl FnOnce(&Self) + use<>, EdgeError> {
        let source = Source::open(config, &self.state_dir)?;
        Ok(move |this: &Self| this.source.store(Arc::new(source)))
    }

    /// Read certificate files anew if they have changed; what does not load leaves the old ones serving.
    pub(crate) fn refresh(&self) {
        let source = self.source.load();
        let Source::Files(files) = &**source else { return };
        match files.changed() {
            Ok(None) => {}
            Ok(Some(fresh)) => {
                tracing::info!("certificate files changed and are served now");
                self.source.store(Arc::new(Source::Files(fresh)));
            }
            Err(error) => tracing::error!("certificate files changed but the old ones stay: {error}"),
        }
    }

    /// What is served now.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        match &**self.source.load() {
            Source::Off | Source::Acme => Vec::new(),
            Source::Local(ca) => ca.status(),
            Source::Files(files) => files.status(),
        }
    }

    /// The local CA's certificate file.
    pub(crate) fn local_ca(&self) -> Option<PathBuf> {
        match &**self.source.load() {
            Source::Local(ca) => Some(ca.certificate_path().to_owned()),
            _ => None,
        }
    }
}

impl Source {
    fn open(config: &TlsConfig, state_dir: &Path) -> Result<Self, EdgeError> {
        Ok(match config.mode {
            TlsMode::Off => Self::Off,
            TlsMode::Local => Self::Local(LocalCa::open(&state_dir.join("local-ca"))?),
            TlsMode::Files => Self::Files(Files::load(&config.certificate)?),
            TlsMode::Acme => Self::Acme,
        })
    }
}

/// Answers a ClientHello: the certificates, and who knows which names are ours.
struct Resolver {
    certificates: Arc<Certificates>,
    shared: Arc<Shared>,
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
        let certificates = &self.certificates;
        let imported = name.as_deref().and_then(|name| certificates.vault.imported(name));
        match &**certificates.source.load() {
            Source::Off => None,
            Source::Acme => certificates.vault.certificate(name.as_deref()?, Timestamp::now()),
            Source::Files(files) => {
                let ours = files.certificate(name.as_deref());
                let longer = ours.filter(|ours| {
                    imported.as_ref().is_none_or(|one| {
                        certificates.vault.yields(one, Timestamp::now())
                            && one.not_after < ours.leaf.not_after
                    })
                });
                longer.map(|pair| pair.certified.clone()).or(imported.map(|one| one.certified.clone()))
            }
            Source::Local(ca) => {
                // Without a name it is a client that was given an address.
                let known = name.as_deref().is_none_or(|name| self.serves(name));
                let ours = || known.then(|| ca.certificate(name.as_deref())).flatten();
                imported.map(|one| one.certified.clone()).or_else(ours)
            }
        }
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

/// How the edge speaks TLS.
pub(crate) fn server_config(
    certificates: &Arc<Certificates>,
    shared: &Arc<Shared>,
) -> Result<Arc<ServerConfig>, EdgeError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let resolver = Resolver { certificates: certificates.clone(), shared: shared.clone() };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    // The last one is spoken by certificate authorities alone, and only as far as the handshake.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), ACME_TLS.to_vec()];
    // Tickets under keys that rotate and that all cores share: any core resumes what another began.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
