//! Certificates from disk, served by the names that stand in them, read anew when the files change. A pair that
//! does not fit together is refused, never half used, and holds up no other.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::{EdgeError, config::CertificateFiles},
    pair::{Half, Pair},
};

/// All pairs of files, by name.
pub(super) struct Files {
    watched: Vec<Watched>,
    by_name: HashMap<String, Arc<FilePair>>,
}

/// A pair that was loaded.
pub(super) struct FilePair {
    pub(super) pair: Pair,
    /// The chain's file.
    pub(super) path: PathBuf,
}

/// One entry of the configuration and what was last seen of it.
#[derive(Clone)]
struct Watched {
    files: CertificateFiles,
    loaded: Arc<FilePair>,
    /// The files as they were when they were loaded.
    stamp: Stamp,
    /// The files at the last look.
    seen: Stamp,
    /// Has the log been told that what was seen cannot be used?
    told: bool,
}

/// Which two files there are, behind all links, and when they changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([Option<[u64; 2]>; 2], [Option<[i64; 5]>; 2]);

impl Files {
    /// Load every pair.
    pub(super) fn load(pairs: &[CertificateFiles]) -> Result<Self, EdgeError> {
        let watched = pairs.iter().map(Watched::load).collect::<Result<_, _>>()?;
        Ok(Self::of(watched))
    }

    fn of(watched: Vec<Watched>) -> Self {
        let mut by_name = HashMap::new();
        for one in &watched {
            for name in &one.loaded.pair.leaf.names {
                by_name.entry(name.clone()).or_insert_with(|| one.loaded.clone());
            }
        }
        Self { watched, by_name }
    }

    /// Look at the files: what has changed, and then not again until the next look, is loaded. Whoever writes has
    /// that long to write both files.
    pub(super) fn look(&self) -> Option<Self> {
        let looked: Vec<_> = self.watched.iter().map(Watched::look).collect();
        let changed = looked.iter().any(Option::is_some);
        let kept = self.watched.iter().zip(looked).map(|(old, new)| new.unwrap_or_else(|| old.clone()));
        changed.then(|| Self::of(kept.collect()))
    }

    /// The certificate for a name: exact, then wildcard; the first one for clients that name none.
    pub(super) fn certificate(&self, name: Option<&str>) -> Option<Arc<FilePair>> {
        let Some(name) = name else { return self.watched.first().map(|first| first.loaded.clone()) };
        let wildcard = || name.split_once('.').and_then(|(_, base)| self.by_name.get(&format!("*.{base}")));
        self.by_name.get(name).or_else(wildcard).cloned()
    }

    /// Everything loaded.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<FilePair>> {
        self.watched.iter().map(|one| &one.loaded)
    }
}

impl Watched {
    fn load(files: &CertificateFiles) -> Result<Self, EdgeError> {
        // Before reading: a change in between is then seen at the next look.
        let stamp = Stamp::of(files);
        let loaded = Arc::new(load(files)?);
        Ok(Self { files: files.clone(), loaded, stamp, seen: stamp, told: false })
    }

    /// What is different now, if anything.
    fn look(&self) -> Option<Self> {
        let now = Stamp::of(&self.files);
        if now != self.seen {
            return Some(Self { seen: now, told: false, ..self.clone() });
        }
        if now == self.stamp {
            return None;
        }
        let path = self.files.cert.display();
        match Self::load(&self.files) {
            Ok(fresh) if fresh.stamp == now => {
                let leaf = &fresh.loaded.pair.leaf;
                tracing::info!(names = ?leaf.names, until = %leaf.not_after, "{path} has changed and is served now");
                Some(fresh)
            }
            // It changed while it was read: the next look sees it.
            Ok(_) => None,
            // Told once; tried at every look, since the reason may lie outside the files.
            Err(_) if self.told => None,
            Err(error) => {
                tracing::error!(
                    "{path} or its key has changed but cannot be used; the old one stays: {error}"
                );
                Some(Self { told: true, ..self.clone() })
            }
        }
    }
}

impl Stamp {
    fn of(files: &CertificateFiles) -> Self {
        // Through symbolic links, such as certbot's: what they lead to counts.
        let about = [&files.cert, &files.key].map(|path| fs::metadata(path).ok());
        let file = about.each_ref().map(|about| about.as_ref().map(|about| [about.dev(), about.ino()]));
        let times = |about: &fs::Metadata| {
            let length = i64::try_from(about.len()).unwrap_or(i64::MAX);
            [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec(), length]
        };
        Self(file, about.each_ref().map(|about| about.as_ref().map(times)))
    }
}

fn load(files: &CertificateFiles) -> Result<FilePair, EdgeError> {
    let read =
        |path: &Path| fs::read(path).map_err(|source| EdgeError::File { path: path.to_owned(), source });
    let pair = Pair::read(&read(&files.cert)?, &read(&files.key)?).map_err(|unfit| {
        let path = if unfit.half == Half::Key { &files.key } else { &files.cert };
        EdgeError::Certificate { path: path.clone(), reason: unfit.reason }
    })?;
    Ok(FilePair { pair, path: files.cert.clone() })
}
