//! What this machine says of SSH: its server's own words, its socket units, its sockets and its processes.

use std::{collections::BTreeSet, path::Path};

use super::{
    super::{listeners, processes::Processes, sockets::Socket},
    Session, Sources, Ssh, config, effective_ports, machine,
};

/// With `Match` blocks sshd wants to know whose settings; the ports are everybody's.
const WHOSE: &str = "user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22";

impl Ssh {
    /// As it is now: who changes the firewall asks for it.
    pub(in crate::bootstrap) fn now() -> Self {
        Self::look(&listeners::sockets(), &Processes::read(Path::new("/proc")))
    }

    /// The same from pictures that are there already.
    pub(in crate::bootstrap::facts) fn look(sockets: &[Socket], processes: &Processes) -> Self {
        let active = |unit: &&&str| machine::hear(&["systemctl", "is-active", unit]).trim() == "active";
        let units: String = ["ssh.socket", "sshd.socket"]
            .iter()
            .filter(active)
            .map(|unit| machine::hear(&["systemctl", "show", "--property=Listen", unit]))
            .collect();
        let sources = Sources { configured: configured(), socket_units: &units, sockets };
        super::ssh(&sources, processes, std::process::id())
    }
}

impl Session {
    /// The session that this order came in by, alone: `confirm` asks for it.
    pub(in crate::bootstrap) fn now() -> Self {
        Ssh::now().session
    }
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
