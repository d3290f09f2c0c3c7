//! Who rules this machine's packets beside us, and what that lets in.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{firewalld, machine, ufw};

/// Who rules this machine's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ruler {
    /// ufw is active: it is spoken to.
    Ufw,
    /// firewalld runs: it is spoken to.
    Firewalld,
    /// Nobody, or hand-written tables: ours stands beside them.
    Nobody,
}

/// What it lets in, of the TCP ports that were asked about and those that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruling {
    /// Who it is.
    pub(super) ruler: Ruler,
    /// For everybody.
    pub(super) open: BTreeSet<u16>,
    /// Those, and the ones that it may let somebody reach.
    pub(super) admitted: BTreeSet<u16>,
    /// Denied to everybody by a rule of its owner's.
    pub(super) denied: BTreeSet<u16>,
}

impl Ruling {
    /// As it is now.
    pub(super) fn now(asked: &BTreeSet<u16>) -> Self {
        let status = machine::hear(&["ufw", "status", "verbose"]);
        if ufw::active(&status) {
            return ufw::ruling(&status, asked);
        }
        if machine::hear(&["firewall-cmd", "--state"]).trim() == "running" {
            return firewalld::ruling(asked);
        }
        Self::by(Ruler::Nobody)
    }

    /// That lets nothing in.
    pub(super) fn by(ruler: Ruler) -> Self {
        Self { ruler, open: BTreeSet::new(), admitted: BTreeSet::new(), denied: BTreeSet::new() }
    }

    /// Those of these ports that are shown to be shut.
    pub(super) fn closed(&self, ports: &BTreeSet<u16>) -> BTreeSet<u16> {
        match self.ruler {
            Ruler::Ufw => ports - &self.admitted,
            // What it may let in there may be in zones that no stranger meets.
            Ruler::Firewalld => ports - &self.open,
            Ruler::Nobody => BTreeSet::new(),
        }
    }
}
