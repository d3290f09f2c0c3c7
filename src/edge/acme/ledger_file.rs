//! The ledger on the disk: read once at the start, written whole after every change, so that a kill at any moment
//! leaves the last state before or after it.

use std::path::{Path, PathBuf};

use super::{disk, history::Ledger};

/// `ledger.json` of one authority.
#[derive(Debug, Clone)]
pub(crate) struct LedgerFile {
    path: PathBuf,
}

impl LedgerFile {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join("ledger.json") }
    }

    /// What was kept. A file that cannot be read as one is set aside: without it orders go on, in today's limits.
    pub(crate) fn read(&self) -> Result<Ledger, String> {
        let told = |error: std::io::Error| format!("cannot use {}: {error}", self.path.display());
        let Some(bytes) = disk::read(&self.path).map_err(told)? else { return Ok(Ledger::default()) };
        match serde_json::from_slice(&bytes) {
            Ok(ledger) => Ok(ledger),
            Err(error) => {
                let aside = self.path.with_extension("unreadable");
                std::fs::rename(&self.path, &aside).map_err(told)?;
                tracing::error!(kept = %aside.display(), %error, "the history of orders cannot be read and begins anew");
                Ok(Ledger::default())
            }
        }
    }

    /// Keep this.
    pub(crate) fn write(&self, ledger: &Ledger) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(ledger).map_err(|error| error.to_string())?;
        disk::write(&self.path, &text).map_err(|error| format!("cannot use {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_set_aside_and_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let file = LedgerFile::new(directory.path());
        assert_eq!(file.read(), Ok(Ledger::default()));
        let mut ledger = Ledger::default();
        ledger.begin(&["a.example".to_owned()], jiff::Timestamp::UNIX_EPOCH);
        file.write(&ledger).unwrap();
        assert_eq!(file.read(), Ok(ledger));
        std::fs::write(directory.path().join("ledger.json"), "{").unwrap();
        assert_eq!(file.read(), Ok(Ledger::default()));
        assert_eq!(std::fs::read(directory.path().join("ledger.unreadable")).unwrap(), b"{");
    }
}
