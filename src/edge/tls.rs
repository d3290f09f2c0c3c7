//! Certificates by SNI and the TLS they are used in. A name without a certificate gets none: no answer is better
//! than another host's. Everything here can be replaced while running, except whether there is TLS at all.

mod files;
mod local;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use self::{files::Files, local::LocalCa};
use super::{
    CertificateStatus, EdgeError,
    config::{TlsConfig, TlsMode},
    thread::Shared,
};

/// Where certificates come from now.
pub(crate) struct Certificates {
    source: ArcSwap<Source>,
    state_dir: PathBuf,
}

enum Source {
    Off,
    Local(LocalCa),
    Files(Files),
}

impl Certificates {
    /// Load or make what the configuration asks for.
    pub(crate) fn new(config: &TlsConfig, state_dir: PathBuf) -> Result<Arc<Self>, EdgeError> {
        let source = ArcSwap::from_pointee(Source::open(config, &state_dir)?);
        Ok(Arc::new(Self { source, state_dir }))
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
            Source::Off => Vec::new(),
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
        match &**self.certificates.source.load() {
            Source::Off => None,
            Source::Files(files) => files.certificate(name.as_deref()),
            Source::Local(ca) => {
                // Without a name it is a client that was given an address.
                let known = name.as_deref().is_none_or(|name| self.serves(name));
                known.then(|| ca.certificate(name.as_deref())).flatten()
            }
        }
    }
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
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Tickets under keys that rotate and that all cores share: any core resumes what another began.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// A leaf's names, issuer and end.
fn describe(leaf: &[u8], source: String) -> Result<CertificateStatus, String> {
    let (_, certificate) =
        x509_parser::certificate::X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|v4| std::net::IpAddr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    let names = alternative.map(|list| list.value.general_names.iter().filter_map(name).collect());
    let not_after = jiff::Timestamp::from_second(certificate.validity().not_after.timestamp());
    Ok(CertificateStatus {
        names: names.unwrap_or_default(),
        issuer: certificate.issuer().to_string(),
        not_after: not_after.map(|end| end.to_string()).unwrap_or_default(),
        source,
    })
}

#[cfg(test)]
mod tests;
