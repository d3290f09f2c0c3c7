//! What this machine says of SSH: its server's own words, its socket units, its sockets and its processes.

use std::{collections::BTreeSet, path::Path};

use super::{
    super::{listeners, processes::Processes, sockets::Socket},
    Session, Sources, Ssh, config, effective_ports, machine, unit_files,
};

/// With `Match` blocks sshd wants to know whose settings; the ports are everybody's.
const WHOSE: &str = "user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22";

/// Where systemd listens in its stead.
const SOCKETS: [&str; 2] = ["ssh.socket", "sshd.socket"];

impl Ssh {
    /// As it is now: who changes the firewall asks for it.
    pub(in crate::bootstrap) fn now() -> Self {
        Self::look(&listeners::sockets(), &Processes::read(Path::new("/proc")))
    }

    /// The same from pictures that are there already.
    pub(in crate::bootstrap::facts) fn look(sockets: &[Socket], processes: &Processes) -> Self {
        let mut configured = configured();
        let mut listen = String::new();
        for unit in SOCKETS {
            let shown =
                machine::hear(&["systemctl", "show", "--property=ActiveState,UnitFileState,Listen", unit]);
            // One that is off says nothing: Debian has one beside every server.
            if is_on(&shown) {
                configured.extend(unit_files::ports(unit, &unit_files::PLACES.map(Path::new)));
                listen += &shown;
            }
        }
        let sources = Sources { configured, socket_units: &listen, sockets };
        super::ssh(&sources, processes, std::process::id())
    }
}

impl Session {
    /// The session that this order came in by, alone: `confirm` asks for it.
    pub(in crate::bootstrap) fn now() -> Self {
        Ssh::now().session
    }
}

/// Does it listen, or will it at the next boot? By what `systemctl show` says. Pure.
fn is_on(shown: &str) -> bool {
    let on = ["ActiveState=active", "ActiveState=activating", "UnitFileState=enabled"];
    shown.lines().any(|line| on.contains(&line))
}

/// Ports of a server that is installed, whether it runs or not: at the next boot it may.
fn configured() -> BTreeSet<u16> {
    if machine::program("sshd").is_none() {
        return BTreeSet::new();
    }
    let told = [&["sshd", "-T"][..], &["sshd", "-T", "-C", WHOSE]];
    let mut told = told.iter().map(|command| effective_ports(&machine::hear(command)));
    told.find(|ports| !ports.is_empty()).unwrap_or_else(|| config::ports(Path::new("/etc/ssh/sshd_config")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_unit_counts_while_it_starts_and_before_it_is_started() {
        for (active, enabled, want) in [
            ("active", "disabled", true),
            ("activating", "disabled", true),
            ("inactive", "enabled", true),
            ("inactive", "disabled", false),
        ] {
            let shown = format!("Listen=[::]:22 (Stream)\nActiveState={active}\nUnitFileState={enabled}\n");
            assert_eq!(is_on(&shown), want, "{shown}");
        }
        assert!(!is_on("ActiveState=inactive\nUnitFileState=\n"));
    }
}
