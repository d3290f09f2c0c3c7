//! From an empty server to a running service: facts (read only) → plan (pure) → apply (the only effects).
//!
//! Nothing is changed that the plan has not shown, nothing that already holds is done again, and what was made can
//! be taken back. It must never cut off whoever is at work over SSH, and never name another room but the base.

mod alone;
mod answers;
mod apply;
mod confirm;
mod error;
mod examine;
mod facts;
mod firewall;
mod import;
mod journal;
mod machine;
mod places;
mod plan;
mod ruleset;
mod share;
mod undo;

pub(crate) use self::{
    alone::alone,
    answers::{Answers, App, edge_ports},
    apply::{Progress, apply},
    confirm::confirm,
    error::BootstrapError,
    examine::{Finding, NEEDS_ROOT, Verdict, examine},
    facts::{Facts, NodeFacts, NodeOffer, NodeThere, NodeWanted, Session},
    firewall::{Change, Changed, back, cut_over, follow, live},
    import::{Carried, Lineage, certbot, lineages, nginx, pm2},
    plan::{Plan, Step, plan},
    ruleset::{Carrier, Firewall, OpenPort},
    undo::{Taken, leaves_state_where_it_is, to_take_back, undo},
};

/// Where the configuration lies that the service reads.
pub(crate) const CONFIG: &str = places::CONFIG;

/// Where certbot has its certificates.
pub(crate) const CERTBOT: &str = places::CERTBOT;

/// Files for systemd that are another version's than this program's, or were edited: a new program runs with them as they are.
pub(crate) fn units_that_differ() -> Vec<&'static str> {
    plan::differing(|path| std::fs::read_to_string(path).ok())
}

/// Can the users themselves reach of an application what they must, as it is now?
fn reached(app: &App, facts: &facts::AppFacts) -> bool {
    matches!(plan::access(app, facts), plan::Action::Access { read, write, own } if apply::access(&read, &write, &own).is_ok())
}

/// Is there a program of that name for everybody?
pub(crate) fn has_program(name: &str) -> bool {
    machine::program(name).is_some()
}

/// The first of these files that the user of the service may not read, and that user. Root alone can tell.
pub(crate) fn closed_to_service(files: &[std::path::PathBuf]) -> Option<(String, std::path::PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let user = machine::hear(&["systemctl", "show", "--property=User", "--value", "gateway.service"]);
    let user = user.trim();
    let closed = |path: &&std::path::PathBuf| {
        let shown = path.display().to_string();
        machine::ask(&["runuser", "-u", user, "--", "test", "-r", &shown]).is_ok_and(|said| !said.good)
    };
    let first = files.iter().filter(|_| !user.is_empty()).find(closed)?;
    Some((user.to_owned(), first.clone()))
}

/// An address or a network: `198.51.100.7`, `2001:db8::/48`.
pub(crate) fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let host = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
    let net = host.or_else(|_| text.parse::<ipnet::IpNet>().map(|net| net.trunc()));
    net.map_err(|_| "write an address like `198.51.100.7` or a network like `198.51.100.0/24`".to_owned())
}

/// Is the sealing key of this state directory one that systemd decrypts for the service alone?
pub(crate) fn holds_seal_key(state_dir: &std::path::Path) -> bool {
    let handed = machine::text(places::SEAL_DROP_IN);
    state_dir == std::path::Path::new(places::STATE) && handed.contains("LoadCredentialEncrypted=seal.key:")
}
