//! The certificates that the gateway keeps itself: those ordered by ACME and those imported. One directory each in
//! the state directory, written whole or not at all, readable by the gateway's user alone. A damaged one is left
//! out with a reason in the log; it never stops the start, and never takes another's place.

mod disk;
mod index;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};

use self::index::Index;
use super::{
    super::EdgeError,
    pair::{Half, Pair},
};

/// All kept certificates, found by name without a lock.
pub(crate) struct Vault {
    directory: PathBuf,
    /// What is on disk, and the lock of everyone who writes there.
    kept: Mutex<BTreeMap<(Kept, String), Arc<KeptCertificate>>>,
    index: ArcSwap<Index>,
    /// How long before its end a certificate is said to near it, in seconds.
    expiry_warning_s: AtomicI64,
}

/// How a certificate got here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kept {
    /// Ordered from a CA by ourselves.
    Acme,
    /// Brought by the operator.
    Imported,
}

impl Kept {
    /// Its word in paths, status and metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Imported => "imported",
        }
    }
}

/// One kept certificate.
#[derive(Clone)]
pub(crate) struct KeptCertificate {
    /// Its name in the vault.
    pub(crate) id: String,
    /// How it got here.
    pub(crate) kept: Kept,
    /// The names it is good for.
    pub(crate) names: Vec<String>,
    /// Who signed it.
    pub(crate) issuer: String,
    /// From when it is good.
    pub(crate) not_before: Timestamp,
    /// Until when.
    pub(crate) not_after: Timestamp,
    /// What rustls serves.
    pub(crate) certified: Arc<CertifiedKey>,
    /// The certificate itself, without its chain.
    pub(crate) leaf_der: CertificateDer<'static>,
}

/// Is the end near, given how long before it a warning is wanted? A certificate that lives for days is not near it
/// all its life: the last quarter counts then.
pub(super) fn nears_end(from: Timestamp, until: Timestamp, now: Timestamp, warning_s: i64) -> bool {
    let lifetime_s = until.as_second() - from.as_second();
    until.as_second() - now.as_second() <= warning_s.min(lifetime_s / 4)
}

impl Vault {
    /// The vault in that state directory, made if there is none.
    pub(crate) fn open(state_dir: &Path) -> Result<Arc<Self>, EdgeError> {
        let directory = state_dir.join("certificates");
        let mut kept = BTreeMap::new();
        for kind in [Kept::Acme, Kept::Imported] {
            let place = directory.join(kind.word());
            disk::prepare(&place)?;
            for id in disk::entries(&place)? {
                match disk::read(&place.join(&id)).and_then(|texts| certificate(&place, kind, &id, &texts)) {
                    Ok(certificate) => drop(kept.insert((kind, id), Arc::new(certificate))),
                    Err(error) => tracing::error!(
                        certificate = id,
                        source = kind.word(),
                        "a kept certificate is damaged and is not served: {error}"
                    ),
                }
            }
        }
        let index = ArcSwap::from_pointee(Index::new(kept.values().cloned()));
        let expiry_warning_s = AtomicI64::new(i64::MAX);
        Ok(Arc::new(Self { directory, kept: Mutex::new(kept), index, expiry_warning_s }))
    }

    /// How long before its end an imported certificate loses its precedence.
    pub(crate) fn warn_before(&self, warning: Duration) {
        let seconds = i64::try_from(warning.as_secs()).unwrap_or(i64::MAX);
        self.expiry_warning_s.store(seconds, Ordering::Relaxed);
    }

    /// Keep a certificate, instead of the one that had this id. It is on disk, whole, when this returns, and served
    /// from then on; on error nothing has changed. It blocks on the disk.
    pub(crate) fn store(
        &self,
        kept: Kept,
        id: &str,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<Arc<KeptCertificate>, EdgeError> {
        let place = self.directory.join(kept.word());
        disk::check_id(&place, id)?;
        let texts = disk::Texts { chain: chain_pem.into(), key: key_pem.to_owned().into() };
        let certificate = Arc::new(certificate(&place, kept, id, &texts)?);
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        disk::write(&place, id, &texts)?;
        all.insert((kept, id.to_owned()), certificate.clone());
        self.index.store(Arc::new(Index::new(all.values().cloned())));
        Ok(certificate)
    }

    /// Forget a certificate and its key; one that is not there is no error.
    pub(crate) fn remove(&self, kept: Kept, id: &str) -> Result<(), EdgeError> {
        let place = self.directory.join(kept.word());
        disk::check_id(&place, id)?;
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        disk::remove(&place, id)?;
        all.remove(&(kept, id.to_owned()));
        self.index.store(Arc::new(Index::new(all.values().cloned())));
        Ok(())
    }

    /// Everything kept, by kind and id.
    pub(crate) fn all(&self) -> Vec<Arc<KeptCertificate>> {
        self.index.load().all().to_vec()
    }

    /// The certificate for a lower-case name: an imported one until it nears its end, then the newest that
    /// was ordered, unless the imported one lives longer. One that has ended is still better than none: the client's message says then what is wrong.
    pub(crate) fn best(&self, name: &str, now: Timestamp) -> Option<Arc<KeptCertificate>> {
        let warning_s = self.expiry_warning_s.load(Ordering::Relaxed);
        self.index.load().best(name, now, warning_s).cloned()
    }

    /// The imported one for a name, whatever ACME has.
    pub(crate) fn imported(&self, name: &str) -> Option<Arc<KeptCertificate>> {
        self.index.load().imported(name).cloned()
    }

    /// Does an imported certificate that is not near its end serve this name? Then nothing need be ordered.
    pub(crate) fn imported_covers(&self, name: &str, now: Timestamp) -> bool {
        self.imported(name).is_some_and(|one| !self.yields(&one, now))
    }

    /// Is this imported one so near its end that another may be served instead?
    pub(crate) fn yields(&self, one: &KeptCertificate, now: Timestamp) -> bool {
        nears_end(one.not_before, one.not_after, now, self.expiry_warning_s.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl fmt::Debug for KeptCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("KeptCertificate");
        f.field("id", &self.id).field("kept", &self.kept).field("names", &self.names).finish_non_exhaustive()
    }
}

fn certificate(
    place: &Path,
    kept: Kept,
    id: &str,
    texts: &disk::Texts,
) -> Result<KeptCertificate, EdgeError> {
    let pair = Pair::read(texts.chain.as_bytes(), texts.key.as_bytes()).map_err(|unfit| {
        let file = if unfit.half == Half::Key { disk::KEY } else { disk::CHAIN };
        EdgeError::Certificate { path: place.join(id).join(file), reason: unfit.reason }
    })?;
    let leaf_der = pair.certified.cert.first().cloned().unwrap_or_else(|| Vec::new().into());
    Ok(KeptCertificate {
        id: id.to_owned(),
        kept,
        names: pair.leaf.names,
        issuer: pair.leaf.issuer,
        not_before: pair.leaf.not_before,
        not_after: pair.leaf.not_after,
        certified: pair.certified,
        leaf_der,
    })
}

#[cfg(test)]
mod tests;
