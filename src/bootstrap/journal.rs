//! What bootstrap made, and what was there before: on disk after each step, so that an interrupted run can be taken back.
//! It stands where only root writes, since root acts on it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{BootstrapError, machine, machine::Was, places};

/// One thing that was made, and how it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Made {
    /// A file, with what stood there before.
    File {
        /// Where.
        path: PathBuf,
        /// What was written.
        content: String,
        /// What stood there.
        before: Option<Was>,
    },
    /// A program, with the place of the one that was there before.
    Program {
        /// Where.
        path: PathBuf,
        /// The old one.
        old: Option<PathBuf>,
    },
    /// Directories, outermost first.
    Directories(Vec<PathBuf>),
    /// Directories that were there before, with their permissions, owners and groups.
    Rights(Vec<(PathBuf, u32, u32, u32)>),
    /// A file that root alone could read, with the permissions that it had.
    Shared {
        /// Where.
        path: PathBuf,
        /// As it was.
        mode: u32,
    },
    /// `user NAME` and `group NAME`.
    Accounts(Vec<String>),
    /// A version of Node, in its directory.
    Node(PathBuf),
    /// The encrypted sealing key.
    SealKey(PathBuf),
    /// Packages.
    Packages(Vec<String>),
    /// A unit that was switched on.
    Unit {
        /// Its name.
        name: String,
        /// Was it started at boot before?
        enabled: bool,
        /// Did it run before?
        active: bool,
    },
    /// Units that run as they were before what is written here: they are to be started anew.
    Outdated(Vec<String>),
    /// Settings of the kernel, as they were.
    Kernel(Vec<(String, u64)>),
    /// Our table, armed or lasting, and what makes it last.
    Firewall,
    /// Ports that ufw was told to open.
    Ufw(Vec<u16>),
    /// A rule of ufw's that gave way to one of ours, as the words of its order.
    UfwRule(String),
    /// Ports that firewalld was told to open, in the zone that was the default one.
    Firewalld(Vec<u16>),
    /// Ports that firewalld was told to open in a zone.
    FirewalldZone {
        /// Its name.
        zone: String,
        /// The ports.
        ports: Vec<u16>,
    },
    /// What a later version of this program made: kept as it is, for that one to take back.
    #[serde(untagged)]
    Later(serde_json::Value),
}

/// All of it, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// What was made.
    pub(super) made: Vec<Made>,
}

impl Journal {
    /// TCP ports that whoever rules the packets was told to open, wherever.
    pub(super) fn all_opened(&self) -> BTreeSet<u16> {
        self.made.iter().flat_map(|made| self.opened(made)).collect()
    }

    /// Those in entries of that kind, whatever its own ports: ufw's, or a zone's of firewalld.
    pub(super) fn opened(&self, kind: &Made) -> BTreeSet<u16> {
        let ports = self.made.iter().filter_map(|made| match (made, kind) {
            (Made::Ufw(ports), Made::Ufw(_)) | (Made::Firewalld(ports), Made::Firewalld(_)) => Some(ports),
            (Made::FirewalldZone { zone, ports }, Made::FirewalldZone { zone: of, .. }) if zone == of => {
                Some(ports)
            }
            _ => None,
        });
        ports.flatten().copied().collect()
    }

    /// The journal of this machine; empty where there is none.
    pub(super) fn read() -> Result<Self, BootstrapError> {
        let damaged = |why: String| {
            let message =
                format!("the journal of what was made, `{}`, cannot be read: {why}", places::JOURNAL);
            let remedy = "mend it, or put it back from a backup; with none `--undo` knows nothing of what was made so far";
            BootstrapError::refused(message, remedy)
        };
        machine::record(places::JOURNAL).map(Option::unwrap_or_default).map_err(damaged)
    }

    /// Before the deed: what is written and not done can be taken back without harm, what is done and not written cannot.
    pub(super) fn record(&mut self, made: Made) -> Result<(), BootstrapError> {
        if self.made.contains(&made) {
            return Ok(());
        }
        self.made.push(made);
        self.write()
    }

    /// What was written for these units is in force.
    pub(super) fn started(&mut self) -> Result<(), BootstrapError> {
        let before = self.made.len();
        self.made.retain(|made| !matches!(made, Made::Outdated(_)));
        if self.made.len() < before { self.write() } else { Ok(()) }
    }

    /// Units that an earlier run has not come to start anew.
    pub(super) fn outdated(&self) -> BTreeSet<String> {
        let units = self.made.iter().filter_map(|made| match made {
            Made::Outdated(units) => Some(units),
            _ => None,
        });
        units.flatten().cloned().collect()
    }

    /// Onto the disk.
    pub(super) fn write(&self) -> Result<(), BootstrapError> {
        let path = Path::new(places::JOURNAL);
        machine::make_directories(path.parent().unwrap_or(Path::new("/")), 0o700)?;
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        machine::write(path, json.as_bytes(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_has_made_is_kept_as_it_is_and_the_rest_is_read() {
        let text = r#"{
            "version": 2,
            "made": [
                {"unit": {"name": "a.service", "enabled": true, "active": true, "masked": false}},
                {"mount": {"at": "/srv"}},
                "timer",
                "firewall"
            ]
        }"#;
        let journal: Journal = serde_json::from_str(text).unwrap();
        let unit = Made::Unit { name: "a.service".to_owned(), enabled: true, active: true };
        let (mount, timer) = (serde_json::json!({"mount": {"at": "/srv"}}), serde_json::json!("timer"));
        let made = vec![unit, Made::Later(mount), Made::Later(timer), Made::Firewall];
        assert_eq!(journal, Journal { made });
        let again: Journal = serde_json::from_str(&serde_json::to_string(&journal).unwrap()).unwrap();
        assert_eq!(again, journal);
    }
}
