//! From facts and answers to ordered steps. Pure: the same facts give the same plan, and what already holds makes no step.

mod differs;
mod follow;
mod guard;
mod node;
mod service;
mod settings;
mod shipped;
mod system;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

pub(super) use self::{
    guard::DENIED_REMEDY,
    settings::access,
    shipped::{differing, directories, touched},
};
use super::{Answers, Facts, places, ruleset::Wanted};

/// What will be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    /// Why nothing can be done as long as these hold.
    pub(crate) problems: Vec<Advice>,
    /// In this order.
    pub(crate) steps: Vec<Step>,
    /// What its reader should know.
    pub(crate) notes: Vec<Advice>,
}

/// Something to know, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// What is.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// What it is about.
    pub(crate) subject: String,
    /// What is.
    pub(crate) is: String,
    /// Where a file is written over: the lines that go and come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) differs: Vec<String>,
    /// What will be.
    pub(crate) will: String,
    /// Why.
    pub(crate) why: &'static str,
    /// How.
    #[serde(skip)]
    pub(super) action: Action,
}

/// How a step is done. Each kind is verified in its own way, and taken back in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Put this program into its place.
    Install,
    /// Write a file; afterwards what reads it is told.
    Write {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What it shall hold.
        content: String,
        /// Who is told.
        then: Then,
    },
    /// Make the users and groups of the sysusers file.
    Accounts,
    /// Make the directories of the tmpfiles file.
    Directories,
    /// Make a sealing key that only this machine can decrypt, and hand it to the service; where systemd cannot encrypt, the
    /// gateway makes a key file at its first start.
    SealKey {
        /// The unit's drop-in.
        drop_in: PathBuf,
        /// What it says.
        content: String,
    },
    /// Let the gateway's group read a file that root alone may read.
    Share(PathBuf),
    /// See as the users themselves whether the application can be read and written.
    Access {
        /// What the workers must be able to read.
        read: Vec<PathBuf>,
        /// What they must be able to write to.
        write: Vec<PathBuf>,
        /// What the gateway reads for them.
        own: Vec<PathBuf>,
    },
    /// Have the gateway's own installer bring a Node.
    Node {
        /// Such as `v22.11.0`.
        version: String,
        /// Where it comes from, if not from where the configuration says.
        mirror: Option<String>,
        /// The backend that will be started with it.
        backend: Option<String>,
    },
    /// Give the gateway copies of certbot's certificates for these hosts.
    Certificates(Vec<String>),
    /// Install packages of the distribution.
    Packages(Vec<&'static str>),
    /// Start units now and at every boot.
    Enable(Vec<&'static str>),
    /// Start units anew.
    Restart(Vec<&'static str>),
    /// Load rules that go back by themselves unless confirmed.
    Arm(Wanted, Duration),
    /// Load rules that last.
    Settle(Wanted),
    /// Let ufw open ports.
    Ufw(BTreeSet<u16>),
    /// Let firewalld open ports.
    Firewalld(BTreeSet<u16>),
}

/// Who is told that a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nobody: whoever needs it reads it.
    Nothing,
    /// systemd reads its units.
    ReloadUnits,
    /// The kernel takes the settings.
    Sysctl,
    /// The journal takes its limits.
    RestartJournal,
}

impl Plan {
    fn problem(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Advice { what: what.into(), remedy: remedy.into() });
    }

    fn note(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.notes.push(Advice { what: what.into(), remedy: remedy.into() });
    }

    fn step(
        &mut self,
        subject: impl Into<String>,
        (is, will): (impl Into<String>, impl Into<String>),
        why: &'static str,
        action: Action,
    ) {
        let (subject, is, will) = (subject.into(), is.into(), will.into());
        self.steps.push(Step { subject, is, differs: Vec::new(), will, why, action });
    }

    /// A file that shall hold this.
    fn file(&mut self, facts: &Facts, path: &str, content: &str, (why, then): (&'static str, Then)) {
        let path = PathBuf::from(path);
        let (is, differs) = match facts.files.get(&path) {
            Some(file) if file.content == content => return,
            Some(file) => ("other content", differs::differs(file.mode, &file.content, content)),
            None => ("missing", Vec::new()),
        };
        let subject = path.display().to_string();
        let action = Action::Write { path, mode: 0o644, content: content.to_owned(), then };
        self.step(subject, (is, "written"), why, action);
        if let Some(step) = self.steps.last_mut() {
            step.differs = differs;
        }
    }
}

/// The user that the workers run as: what it may read and write is what the application may.
pub(super) const WORKER: &str = "gateway-app";

/// The user that the gateway itself runs as: it reads environment files, so that no worker need.
pub(super) const GATEWAY: &str = "gateway";

/// The users and groups that the sysusers file makes.
pub(super) fn accounts() -> Vec<String> {
    service::accounts_of(shipped::SYSUSERS.content)
}

/// The plan.
pub(crate) fn plan(facts: &Facts, answers: &Answers) -> Plan {
    let mut plan = Plan { problems: Vec::new(), steps: Vec::new(), notes: Vec::new() };
    if !machine_fits(&mut plan, facts) {
        return plan;
    }
    ports_are_free(&mut plan, facts, answers);
    files_are_texts(&mut plan, facts);
    service::program(&mut plan, facts);
    service::accounts(&mut plan, facts);
    service::configuration(&mut plan, facts, answers);
    service::seal_key(&mut plan, facts);
    service::units(&mut plan, facts, answers);
    system::kernel(&mut plan, facts);
    system::journal(&mut plan, facts);
    system::clock(&mut plan, facts);
    system::updates(&mut plan, facts, answers);
    service::environment_file(&mut plan, facts, answers);
    service::access(&mut plan, facts, answers);
    node::node(&mut plan, facts, answers);
    service::start(&mut plan, facts);
    service::certificates(&mut plan, facts, answers);
    guard::firewall(&mut plan, facts, answers);
    if !plan.problems.is_empty() {
        // Nothing is touched as long as something stands in the way, so nothing is announced either.
        plan.steps.clear();
    }
    plan
}

/// What everything else needs. Without it nothing more is said: the rest would be guesses.
fn machine_fits(plan: &mut Plan, facts: &Facts) -> bool {
    if !facts.systemd() {
        plan.problem(
            format!("this machine is not run by systemd, but by `{}`", facts.init),
            "start `gateway run` by what runs this machine: docs/install.md says what it needs",
        );
        return false;
    }
    for name in ["systemd-sysusers", "systemd-tmpfiles", "systemd-run"] {
        if !facts.programs.contains(name) {
            plan.problem(
                format!("`{name}` is missing"),
                "install the whole of systemd: `apt-get install systemd`",
            );
        }
    }
    plan.problems.is_empty()
}

/// What cannot be read can neither be left as it is nor put back.
fn files_are_texts(plan: &mut Plan, facts: &Facts) {
    for path in &facts.unreadable {
        plan.problem(
            format!("`{}` is there and is no text (UTF-8): it would be written over", path.display()),
            "mend it, or move it out of the way",
        );
    }
}

const IN_THE_WAY: &str = "stand beside it and take over when you like (`--beside --upstream URL`, then `gateway cutover`), or stop it";

/// Somebody else where the edge shall listen.
fn ports_are_free(plan: &mut Plan, facts: &Facts, answers: &Answers) {
    // Each port once, though it is listened on over both families.
    let ports: BTreeSet<u16> = answers.listen.iter().map(SocketAddr::port).collect();
    for (port, published) in ports.iter().flat_map(|port| facts.published.iter().map(move |one| (port, one)))
    {
        if published.takes(*port) {
            let what = format!(
                "Docker leads port {port} to `{}`: what is sent there never reaches the gateway",
                published.container
            );
            plan.problem(what, IN_THE_WAY);
        }
    }
    for wanted in &answers.listen {
        let others = facts.listeners.iter().filter(|listener| {
            let both = listener.address.ip().is_unspecified() || wanted.ip().is_unspecified();
            let meets = both || listener.address.ip() == wanted.ip();
            meets && listener.address.port() == wanted.port()
        });
        let names: BTreeSet<&str> = others
            .flat_map(|listener| listener.holders.iter().map(String::as_str))
            // systemd holds it for us; Docker's has been told above.
            .filter(|name| !name.starts_with("gateway") && *name != "systemd" && *name != "docker-proxy")
            .collect();
        if !names.is_empty() {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            plan.problem(format!("{names} listens on port {} already", wanted.port()), IN_THE_WAY);
        }
    }
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
