//! Certificates by SNI and the TLS they are used in. A name without a certificate gets none: no answer is better
//! than another host's. Everything here can be replaced while running, except whether there is TLS at all.

mod acceptor;
mod config;
mod files;
mod hello;
mod import;
mod inventory;
mod local;
mod pair;
mod resolver;
mod vault;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

pub(super) use self::vault::{Kept, KeptCertificate, Vault};
pub(crate) use self::{
    acceptor::TlsAcceptor,
    config::{Hsts, MinVersion},
    import::{ImportOrder, ImportProblem, Imported, unfit_for},
    inventory::{CertificateView, HostCertificate, HostCertificateState, observe, warnings},
};
use self::{files::Files, local::LocalCa, resolver::Chosen};
use super::{
    EdgeError,
    acme::HostState,
    config::{TlsConfig, TlsMode},
};

/// Where certificates come from now.
pub(crate) struct Certificates {
    source: ArcSwap<Source>,
    /// What is imported, and what ACME ordered.
    pub(super) vault: Arc<Vault>,
    state_dir: PathBuf,
    /// Is TLS 1.2 turned off?
    tls13_alone: AtomicBool,
    /// `tls.expiry_warning`, in seconds.
    expiry_warning_s: AtomicI64,
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
        let vault = Vault::open(&state_dir)?;
        let source = ArcSwap::from_pointee(Source::open(config, &state_dir)?);
        let (tls13_alone, expiry_warning_s) = (AtomicBool::default(), AtomicI64::default());
        let certificates = Self { source, vault, state_dir, tls13_alone, expiry_warning_s };
        certificates.settle(config);
        Ok(Arc::new(certificates))
    }

    /// Those of a gateway at rest: what it keeps itself, and nobody to serve it to.
    pub(crate) fn at_rest(state_dir: PathBuf) -> Result<Arc<Self>, EdgeError> {
        Self::new(&TlsConfig { mode: TlsMode::Off, ..TlsConfig::default() }, state_dir)
    }

    /// The source of a new configuration, ready to be put in force.
    pub(crate) fn prepare(&self, config: &TlsConfig) -> Result<impl FnOnce(&Self) + use<>, EdgeError> {
        let source = Source::open(config, &self.state_dir)?;
        let config = config.clone();
        Ok(move |this: &Self| {
            this.source.store(Arc::new(source));
            this.settle(&config);
        })
    }

    /// What needs no opening.
    fn settle(&self, config: &TlsConfig) {
        self.tls13_alone.store(config.min_version == MinVersion::Tls13, Ordering::Relaxed);
        self.vault.warn_before(config.expiry_warning);
        let seconds = i64::try_from(config.expiry_warning.as_secs()).unwrap_or(i64::MAX);
        self.expiry_warning_s.store(seconds, Ordering::Relaxed);
    }

    /// Read certificate files anew if they have changed; what does not load leaves the old ones serving. It blocks
    /// on the disk.
    pub(crate) fn refresh(&self) {
        let source = self.source.load();
        let Source::Files(files) = &**source else { return };
        if let Some(looked) = files.look() {
            // A reload that came meanwhile has newer ones.
            self.source.compare_and_swap(&source, Arc::new(Source::Files(looked)));
        }
    }

    /// The certificate of every one of these hosts, and those that no host needs.
    pub(crate) fn inventory(
        &self,
        hosts: &BTreeSet<String>,
        orders: Vec<HostState>,
        now: Timestamp,
    ) -> Vec<HostCertificate> {
        inventory::inventory(self, hosts, orders, now)
    }

    /// Keep a certificate that the operator brings; served from now on by the names in it.
    pub(crate) fn import(
        &self,
        host: &str,
        order: &ImportOrder,
        now: Timestamp,
    ) -> Result<Imported, ImportProblem> {
        import::import(&self.vault, host, order, now)
    }

    /// Forget the imported certificate of a host. False: there was none.
    pub(crate) fn remove_imported(&self, host: &str) -> Result<bool, EdgeError> {
        import::remove(&self.vault, host)
    }

    /// The local CA's certificate file.
    pub(crate) fn local_ca(&self) -> Option<PathBuf> {
        match &**self.source.load() {
            Source::Local(ca) => Some(ca.certificate_path().to_owned()),
            _ => None,
        }
    }

    /// What a client that asks for this name is given: an imported certificate until it nears its end, then
    /// whichever lives longer. `known` says whether the local CA may sign for it.
    fn choose(&self, name: Option<&str>, known: impl FnOnce() -> bool, now: Timestamp) -> Option<Chosen> {
        let imported = name.and_then(|name| self.vault.imported(name)).map(Chosen::Kept);
        match &**self.source.load() {
            Source::Off => None,
            Source::Acme => self.vault.best(name?, now).map(Chosen::Kept),
            Source::Files(files) => {
                let ours = files.certificate(name).map(Chosen::File);
                match (imported, ours) {
                    (Some(imported), Some(ours)) if self.gives_way(&imported, &ours, now) => Some(ours),
                    (imported, ours) => imported.or(ours),
                }
            }
            // Nobody but developers trusts the local CA: it takes no other's place, however long it lives.
            Source::Local(ca) => {
                imported.or_else(|| known().then(|| ca.certificate(name)).flatten().map(Chosen::Local))
            }
        }
    }

    fn gives_way(&self, imported: &Chosen, to: &Chosen, now: Timestamp) -> bool {
        let (_, end) = imported.life();
        self.nears_end(imported, now) && end < to.life().1
    }

    fn nears_end(&self, chosen: &Chosen, now: Timestamp) -> bool {
        let (from, until) = chosen.life();
        vault::nears_end(from, until, now, self.expiry_warning_s.load(Ordering::Relaxed))
    }

    fn speaks_tls13_alone(&self) -> bool {
        self.tls13_alone.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests;
