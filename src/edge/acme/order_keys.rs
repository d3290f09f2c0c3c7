//! The keys of orders under way: each on the disk before the order goes on, since the certificate that comes is good for
//! no other. A key whose order is over is removed; one that got its certificate lies with that.

use std::path::{Path, PathBuf};

use super::disk;

const EXTENSION: &str = "key";

/// `orders/` of one authority.
#[derive(Debug, Clone)]
pub(crate) struct OrderKeys {
    directory: PathBuf,
}

impl OrderKeys {
    /// Those below this directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, String> {
        let keys = Self { directory: directory.join("orders") };
        let told = |error| format!("cannot make {}: {error}", keys.directory.display());
        disk::make_directory(&keys.directory).map_err(told)?;
        Ok(keys)
    }

    /// Keep an order's key.
    pub(crate) fn write(&self, id: &str, pem: &str) -> Result<(), String> {
        let path = self.path(id);
        disk::write(&path, pem.as_bytes()).map_err(|error| format!("cannot use {}: {error}", path.display()))
    }

    /// An order's key, if it is there and whole.
    pub(crate) fn read(&self, id: &str) -> Option<String> {
        let bytes = disk::read(&self.path(id)).ok().flatten()?;
        String::from_utf8(bytes).ok()
    }

    /// Remove what belongs to no order any more.
    pub(crate) fn sweep(&self, is_pending: impl Fn(&str) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_key = path.extension().is_some_and(|extension| extension == EXTENSION);
            let kept = path.file_stem().and_then(|id| id.to_str()).is_some_and(&is_pending);
            if (is_key && kept) || path.is_dir() {
                continue;
            }
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), "the key of an order that is over stays: {error}");
            }
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(id).with_extension(EXTENSION)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_stays_as_long_as_its_order_and_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let keys = OrderKeys::open(directory.path()).unwrap();
        for id in ["1", "2"] {
            keys.write(id, &format!("key {id}")).unwrap();
        }
        std::fs::write(directory.path().join("orders/3.new"), "half").unwrap();
        keys.sweep(|id| id == "2");
        assert_eq!((keys.read("1"), keys.read("2").as_deref()), (None, Some("key 2")));
        let place = directory.path().join("orders");
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join("2.key"))), (0o700, 0o600));
    }
}
