//! Whoever rules the packets already is told to open ports, and then asked whether they are open. It must never take anything
//! away: that would cut somebody off.

use std::collections::BTreeSet;

use super::super::{
    BootstrapError, facts,
    journal::{Journal, Made},
    machine,
};

/// Let ufw open ports, and see that it lists them so.
pub(super) fn ufw(journal: &mut Journal, ports: &BTreeSet<u16>) -> Result<(), BootstrapError> {
    journal.record(Made::Ufw(ports.iter().copied().collect()))?;
    for port in ports {
        machine::order(&["ufw", "allow", &format!("{port}/tcp")])?;
    }
    proven_open("ufw", ports, &facts::let_in())
}

/// The same of firewalld, which has rules that are in force and rules that last.
pub(super) fn firewalld(journal: &mut Journal, ports: &BTreeSet<u16>) -> Result<(), BootstrapError> {
    journal.record(Made::Firewalld(ports.iter().copied().collect()))?;
    let mut open = BTreeSet::new();
    for port in ports {
        let (add, query) = (format!("--add-port={port}/tcp"), format!("--query-port={port}/tcp"));
        machine::order(&["firewall-cmd", "--quiet", "--permanent", &add])?;
        machine::order(&["firewall-cmd", "--quiet", &add])?;
        // Now, and after every reload.
        if machine::ask(&["firewall-cmd", &query])?.good
            && machine::ask(&["firewall-cmd", "--permanent", &query])?.good
        {
            open.insert(*port);
        }
    }
    proven_open("firewalld", ports, &open)
}

fn proven_open(ruler: &str, wanted: &BTreeSet<u16>, open: &BTreeSet<u16>) -> Result<(), BootstrapError> {
    let shut: Vec<String> = wanted.difference(open).map(u16::to_string).collect();
    match shut.is_empty() {
        true => Ok(()),
        false => Err(BootstrapError::Unproven(format!(
            "{ruler} was told to open {}, and does not list it as open to everybody",
            shut.join(", ")
        ))),
    }
}
