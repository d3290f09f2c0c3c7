//! Certificates from disk, served by the names that stand in them, read anew when the files change. A pair that
//! does not fit together is refused, never half used.

use std::{collections::HashMap, fs, path::Path, sync::Arc, time::SystemTime};

use super::{
    super::{CertificateStatus, EdgeError, config::CertificateFiles},
    pair::{Half, Pair},
};

/// All pairs of files, by name.
pub(super) struct Files {
    pairs: Vec<CertificateFiles>,
    stamps: Vec<Stamp>,
    by_name: HashMap<String, Arc<Pair>>,
    /// All of them, in the configuration's order.
    loaded: Vec<Arc<Pair>>,
}

/// When the two files changed last, as the disk says.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Files {
    /// Load every pair.
    pub(super) fn load(pairs: &[CertificateFiles]) -> Result<Self, EdgeError> {
        // Before reading: a change in between is then seen at the next look.
        let stamps = pairs.iter().map(stamp).collect();
        let mut files = Self { pairs: pairs.to_vec(), stamps, by_name: HashMap::new(), loaded: Vec::new() };
        for pair in pairs {
            let pair = Arc::new(load(pair)?);
            for name in &pair.leaf.names {
                files.by_name.entry(name.clone()).or_insert_with(|| pair.clone());
            }
            files.loaded.push(pair);
        }
        Ok(files)
    }

    /// The same files, loaded anew, if one of them has changed.
    pub(super) fn changed(&self) -> Result<Option<Self>, EdgeError> {
        let changed = self.pairs.iter().map(stamp).ne(self.stamps.iter().copied());
        if changed { Self::load(&self.pairs).map(Some) } else { Ok(None) }
    }

    /// The certificate for a name: exact, then wildcard; the first one for clients that name none.
    pub(super) fn certificate(&self, name: Option<&str>) -> Option<&Arc<Pair>> {
        let Some(name) = name else { return self.loaded.first() };
        let wildcard = || name.split_once('.').and_then(|(_, base)| self.by_name.get(&format!("*.{base}")));
        self.by_name.get(name).or_else(wildcard)
    }

    /// What is served.
    pub(super) fn status(&self) -> Vec<CertificateStatus> {
        let source = |files: &CertificateFiles| files.cert.display().to_string();
        self.loaded.iter().zip(&self.pairs).map(|(pair, files)| pair.leaf.status(source(files))).collect()
    }
}

fn stamp(pair: &CertificateFiles) -> Stamp {
    [&pair.cert, &pair.key].map(|path| {
        let about = fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    })
}

fn load(pair: &CertificateFiles) -> Result<Pair, EdgeError> {
    let read =
        |path: &Path| fs::read(path).map_err(|source| EdgeError::File { path: path.to_owned(), source });
    Pair::read(&read(&pair.cert)?, &read(&pair.key)?).map_err(|unfit| {
        let path = if unfit.half == Half::Key { &pair.key } else { &pair.cert };
        EdgeError::Certificate { path: path.clone(), reason: unfit.reason }
    })
}
