//! The firewall on disk: what is loaded at boot, and what later orders go by. It must never be half of one firewall and half
//! of another: what cannot be written whole is as it was.

use std::path::{Path, PathBuf};

use super::{
    super::{BootstrapError, machine, places, ruleset},
    Lock, Stored,
};

/// The files as they were, to go back to.
#[derive(Debug)]
pub(in crate::bootstrap) struct OnDisk(Vec<(PathBuf, Option<machine::Was>)>);

impl OnDisk {
    fn now() -> Self {
        let files = [places::FIREWALL_RULES, places::FIREWALL_STATE].map(PathBuf::from);
        Self(files.into_iter().map(|path| (path.clone(), machine::Was::of(&path))).collect())
    }

    /// As it was.
    pub(in crate::bootstrap) fn put_back(&self, _lock: &Lock) -> Result<(), BootstrapError> {
        for (path, was) in &self.0 {
            match was {
                None => machine::remove(path)?,
                Some(was) if machine::Was::of(path).as_ref() == Some(was) => {}
                Some(was) => {
                    machine::write_owned(path, was.content.as_bytes(), was.mode, (was.uid, was.gid))?;
                }
            }
        }
        Ok(())
    }
}

/// Make what is loaded last: on disk, and loaded at boot after whatever flushes all tables. Gives what was there before.
pub(in crate::bootstrap) fn persist(stored: &Stored, lock: &Lock) -> Result<OnDisk, BootstrapError> {
    let before = OnDisk::now();
    let enable = || machine::order(&["systemctl", "enable", "--now", "gateway-firewall.service"]);
    match write(stored, lock).and_then(|()| enable()) {
        Ok(_) => Ok(before),
        Err(error) => {
            // The first error is the one to tell: the same disk may refuse this too.
            let _as_it_was = before.put_back(lock);
            Err(error)
        }
    }
}

/// Does the file for nft say what is of record?
pub(super) fn is_loaded_at_boot(stored: &Stored) -> bool {
    machine::text(places::FIREWALL_RULES) == ruleset::text(&stored.firewall)
}

/// Only onto the disk.
pub(super) fn write(stored: &Stored, _lock: &Lock) -> Result<(), BootstrapError> {
    machine::make_directories(Path::new("/etc/gateway"), 0o755)?;
    let json = serde_json::to_string_pretty(stored).unwrap_or_default();
    machine::write(Path::new(places::FIREWALL_RULES), ruleset::text(&stored.firewall).as_bytes(), 0o644)?;
    machine::write(Path::new(places::FIREWALL_STATE), json.as_bytes(), 0o644)
}
