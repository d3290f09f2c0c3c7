//! What ufw and firewalld were told, taken back: our ports closed, and what gave way to them put back. A ruler that has been
//! removed or stopped since keeps nobody from taking back the rest.

use super::{BootstrapError, machine};

pub(super) fn ufw(ports: &[u16]) -> Result<(), BootstrapError> {
    if machine::program("ufw").is_none() {
        return Ok(());
    }
    let added = machine::order(&["ufw", "show", "added"])?;
    let ours = |port: &&u16| {
        let rule = format!("ufw allow {port}/tcp");
        // A comment may stand behind it.
        let is = |line: &str| {
            line.strip_prefix(&rule).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b' ', ..]))
        };
        added.lines().any(is)
    };
    ports
        .iter()
        .filter(ours)
        .try_for_each(|port| machine::order(&["ufw", "delete", "allow", &format!("{port}/tcp")]).map(drop))
}

/// In the place of ours.
pub(super) fn ufw_rule(words: &str) -> Result<(), BootstrapError> {
    if machine::program("ufw").is_none() {
        return Ok(());
    }
    // ufw itself has written it so, quoted for a shell.
    machine::order(&["sh", "-c", &format!("exec ufw {words}")]).map(drop)
}

/// Out of what is in force and out of what lasts; where it does not run, out of the latter alone. Without a zone it is the default one.
pub(super) fn firewalld(zone: Option<&str>, ports: &[u16]) -> Result<(), BootstrapError> {
    if machine::program("firewall-cmd").is_none() {
        return Ok(());
    }
    let runs = machine::hear(&["firewall-cmd", "--state"]).trim() == "running";
    let of: &[&[&str]] = match runs {
        true => &[&["firewall-cmd", "--quiet", "--permanent"], &["firewall-cmd", "--quiet"]],
        false => &[&["firewall-offline-cmd", "--quiet"]],
    };
    let zone = zone.map(|zone| format!("--zone={zone}"));
    for port in ports {
        let port = format!("{port}/tcp");
        for command in of {
            let command: Vec<&str> = command.iter().copied().chain(zone.as_deref()).collect();
            let (query, remove) = (format!("--query-port={port}"), format!("--remove-port={port}"));
            if machine::ask(&[&command[..], &[query.as_str()]].concat())?.good {
                machine::order(&[&command[..], &[remove.as_str()]].concat())?;
            }
        }
    }
    Ok(())
}
