//! Certificates from disk, served by the names that stand in them, read anew when the files change. A pair that
//! does not fit together is refused, never half used.

use std::{collections::HashMap, fs, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    super::{CertificateStatus, EdgeError, config::CertificateFiles},
    describe,
};

/// All pairs of files, by name.
pub(super) struct Files {
    pairs: Vec<CertificateFiles>,
    stamps: Vec<Stamp>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    status: Vec<CertificateStatus>,
}

/// When the two files changed last, as the disk says.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Files {
    /// Load every pair.
    pub(super) fn load(pairs: &[CertificateFiles]) -> Result<Self, EdgeError> {
        // Before reading: a change in between is then seen at the next look.
        let stamps = pairs.iter().map(stamp).collect();
        let mut files =
            Self { pairs: pairs.to_vec(), stamps, by_name: HashMap::new(), first: None, status: Vec::new() };
        for pair in pairs {
            let (certified, status) = load(pair)?;
            for name in &status.names {
                files.by_name.entry(name.clone()).or_insert_with(|| certified.clone());
            }
            files.first.get_or_insert(certified);
            files.status.push(status);
        }
        Ok(files)
    }

    /// The same files, loaded anew, if one of them has changed.
    pub(super) fn changed(&self) -> Result<Option<Self>, EdgeError> {
        let changed = self.pairs.iter().map(stamp).ne(self.stamps.iter().copied());
        if changed { Self::load(&self.pairs).map(Some) } else { Ok(None) }
    }

    /// The certificate for a name: exact, then wildcard; the first one for clients that name none.
    pub(super) fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name else { return self.first.clone() };
        let wildcard = || name.split_once('.').and_then(|(_, base)| self.by_name.get(&format!("*.{base}")));
        self.by_name.get(name).or_else(wildcard).cloned()
    }

    /// What is served.
    pub(super) fn status(&self) -> Vec<CertificateStatus> {
        self.status.clone()
    }
}

fn stamp(pair: &CertificateFiles) -> Stamp {
    [&pair.cert, &pair.key].map(|path| {
        let about = fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    })
}

fn load(pair: &CertificateFiles) -> Result<(Arc<CertifiedKey>, CertificateStatus), EdgeError> {
    let wrong = |path: &Path, reason: String| EdgeError::Certificate { path: path.to_owned(), reason };
    let read =
        |path: &Path| fs::read(path).map_err(|source| EdgeError::File { path: path.to_owned(), source });
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(&pair.cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&pair.cert, error.to_string()))?;
    let Some(leaf) = chain.first() else {
        return Err(wrong(&pair.cert, "there is no certificate in it".into()));
    };
    let status =
        describe(leaf, pair.cert.display().to_string()).map_err(|reason| wrong(&pair.cert, reason))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?)
        .map_err(|error| wrong(&pair.key, error.to_string()))?;
    let key = any_supported_type(&key).map_err(|error| wrong(&pair.key, error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Unknown is said of key types that cannot be compared.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok((Arc::new(certified), status))
        }
        Err(_) => Err(wrong(&pair.key, format!("it is not the key of {}", pair.cert.display()))),
    }
}
