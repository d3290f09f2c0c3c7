//! What a plan wants of the firewall, whatever that is by the time when it is carried out: an operator may have changed it
//! while the question was open. Pure.

use std::collections::BTreeSet;

use super::{Carrier, Firewall, OpenPort};

/// Added to the firewall that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Ports of SSH.
    pub(crate) ssh: BTreeSet<u16>,
    /// Ports of the edge: these and no others.
    pub(crate) edge: BTreeSet<u16>,
    /// Ports that are opened.
    pub(crate) opened: BTreeSet<OpenPort>,
    /// What tunnels arrive in.
    pub(crate) carriers: BTreeSet<Carrier>,
}

impl Wanted {
    /// The firewall that is there with all this. What was opened, admitted and denied stays so, and no port of SSH is ever
    /// closed by itself.
    pub(crate) fn on(&self, before: Option<Firewall>) -> Firewall {
        // It may have led connections alone until now.
        let mut wanted = Firewall { bare: false, ..before.unwrap_or_default() };
        wanted.ssh.extend(&self.ssh);
        wanted.opened.extend(&self.opened);
        wanted.carry(&self.carriers, usize::MAX);
        wanted.listen(self.edge.clone());
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_since_the_plan_was_made_stays() {
        let planned = Wanted { ssh: [2222].into(), edge: [443].into(), ..Wanted::default() };
        let since = Firewall {
            ssh: [22].into(),
            edge: [8443].into(),
            opened: ["9001".parse().unwrap()].into(),
            denied: ["192.0.2.0/24".parse().unwrap()].into(),
            bare: true,
            ..Firewall::default()
        };
        let becomes = planned.on(Some(since.clone()));
        let want = Firewall { ssh: [22, 2222].into(), edge: [443].into(), bare: false, ..since };
        assert_eq!(becomes, want);
    }
}
