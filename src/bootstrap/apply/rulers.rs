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
    record(journal, ports, Made::Ufw)?;
    for port in ports {
        // ufw has one rule for the same words: one that denies becomes ours.
        for words in denying(&machine::hear(&["ufw", "show", "added"]), *port) {
            journal.record(Made::UfwRule(words))?;
        }
        machine::order(&["ufw", "allow", &format!("{port}/tcp")])?;
    }
    proven_open("ufw", ports, &facts::let_in(ports))
}

/// The same of firewalld, in each zone that strangers meet; it has rules that are in force and rules that last.
pub(super) fn firewalld(journal: &mut Journal, ports: &BTreeSet<u16>) -> Result<(), BootstrapError> {
    for zone in facts::zones_outside() {
        let of = format!("--zone={zone}");
        let shut = |port: &&u16| {
            let query = format!("--query-port={port}/tcp");
            // Now, and after every reload.
            let said = [&["firewall-cmd", &of, &query][..], &["firewall-cmd", "--permanent", &of, &query]];
            !said.iter().all(|command| machine::ask(command).is_ok_and(|said| said.good))
        };
        let missing: BTreeSet<u16> = ports.iter().filter(shut).copied().collect();
        let made = |ports| Made::FirewalldZone { zone: zone.clone(), ports };
        record(journal, &missing, made)?;
        for port in &missing {
            let add = format!("--add-port={port}/tcp");
            machine::order(&["firewall-cmd", "--quiet", "--permanent", &of, &add])?;
            machine::order(&["firewall-cmd", "--quiet", &of, &add])?;
        }
        proven_open("firewalld", ports, &ports.iter().filter(|port| !shut(port)).copied().collect())?;
    }
    Ok(())
}

/// Once, though a port may be opened again: what a run before has opened is of record.
fn record(
    journal: &mut Journal,
    ports: &BTreeSet<u16>,
    made: impl Fn(Vec<u16>) -> Made,
) -> Result<(), BootstrapError> {
    let known = journal.opened(&made(Vec::new()));
    let new: Vec<u16> = ports.difference(&known).copied().collect();
    if new.is_empty() { Ok(()) } else { journal.record(made(new)) }
}

/// The orders of `ufw show added` that deny this port to everybody, without their first word. Pure.
fn denying(added: &str, port: u16) -> Vec<String> {
    let port = format!("{port}/tcp");
    let denies = |words: &&str| {
        let mut words = words.split_whitespace();
        let denies = words.next().is_some_and(|verb| matches!(verb, "deny" | "reject" | "limit"));
        // Between them `log` or `log-all` may stand, and behind them a comment.
        denies && words.find(|word| !word.starts_with("log")) == Some(port.as_str())
    };
    added.lines().filter_map(|line| line.strip_prefix("ufw ")).filter(denies).map(str::to_owned).collect()
}

fn proven_open(ruler: &str, wanted: &BTreeSet<u16>, open: &BTreeSet<u16>) -> Result<(), BootstrapError> {
    let shut: Vec<String> = wanted.difference(open).map(u16::to_string).collect();
    match shut.is_empty() {
        true => Ok(()),
        false => Err(BootstrapError::Unproven(format!(
            "{ruler} was told to open {}, and does not list it as open to everybody: does a rule before it deny it?",
            shut.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_gives_way_is_kept_in_its_own_words() {
        let added = "Added user rules (see 'ufw status' for running firewall):\nufw limit 22/tcp comment 'slow'\n\
                     ufw deny 80/tcp comment 'not yet'\nufw reject log 443/tcp\nufw allow 8080/tcp\nufw deny 800/tcp\n\
                     ufw deny from 192.0.2.1 to any port 80 proto tcp\n";
        assert_eq!(denying(added, 80), ["deny 80/tcp comment 'not yet'"]);
        assert_eq!(denying(added, 443), ["reject log 443/tcp"]);
        assert_eq!(denying(added, 22), ["limit 22/tcp comment 'slow'"]);
        assert!(denying(added, 8080).is_empty());
    }
}
