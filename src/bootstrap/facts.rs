//! What the machine is like, before anything is done to it. Reading only; what programs and files say is taken apart by
//! pure functions in the files below.

mod app;
mod closing;
mod distribution;
mod filters;
mod firewalld;
mod listeners;
mod node;
mod processes;
mod ruler;
mod sockets;
mod ssh;
mod tunnel;
mod tunnels;
mod ufw;
mod units;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;

pub(crate) use self::{
    app::AppFacts,
    distribution::Distribution,
    filters::Published,
    listeners::Listener,
    node::{NodeFacts, NodeOffer, NodeThere, NodeWanted},
    ruler::Ruler,
    ssh::{Session, Ssh},
    tunnel::Tunnel,
    tunnels::TunnelEnd,
    units::UnitFact,
};
pub(super) use self::{
    firewalld::outside as zones_outside,
    listeners::{CARRIERS, Unreached},
    tunnels::{carriers, ends},
};
use self::{processes::Processes, ruler::Ruling};
use super::{Answers, firewall, firewall::Live, journal::Journal, machine, places};

/// Everything that the plan depends on, beside the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    /// Does root look? Others see neither the kernel's rules nor all of sshd's configuration.
    pub(crate) root: bool,
    /// The system.
    pub(crate) distribution: Distribution,
    /// The name of the first process.
    pub(crate) init: String,
    /// The container that the machine is, if it is one.
    pub(crate) container: Option<String>,
    /// Programs that matter and are here.
    pub(crate) programs: BTreeSet<String>,
    /// Who listens.
    pub(crate) listeners: Vec<Listener>,
    /// Who waits for strangers over UDP.
    pub(crate) datagrams: Vec<Listener>,
    /// SSH.
    pub(crate) ssh: Ssh,
    /// The tunnel that this session comes through, if it ends here.
    pub(crate) tunnel: Option<Tunnel>,
    /// Every tunnel that ends here and arrives in no port that anybody listens on.
    pub(crate) tunnels: Vec<TunnelEnd>,
    /// Who rules the packets.
    pub(crate) ruler: Ruler,
    /// TCP ports that the ruler lets everybody reach.
    pub(crate) open: BTreeSet<u16>,
    /// Those that earlier runs have had it open.
    pub(crate) opened: BTreeSet<u16>,
    /// Those that are open and the ones that it lets somebody reach: how SSH is guarded is its owner's business.
    pub(crate) admitted: BTreeSet<u16>,
    /// Those that a rule of its owner's denies everybody.
    pub(crate) denied: BTreeSet<u16>,
    /// Tables of nftables that are not ours, and those that drop.
    pub(crate) tables: Vec<String>,
    /// Of those, the ones that drop what comes in.
    pub(crate) dropping: Vec<String>,
    /// And those in whose way nothing lets strangers in to these ports, of SSH and the edge.
    pub(crate) closing: BTreeMap<String, BTreeSet<u16>>,
    /// Our own firewall.
    pub(crate) live: Live,
    /// Ports that Docker publishes.
    pub(crate) published: Vec<Published>,
    /// Our users and groups that exist: `user gateway`, `group gateway-admin`.
    pub(crate) accounts: BTreeSet<String>,
    /// Units that an earlier run has changed and not started anew.
    pub(crate) outdated: BTreeSet<String>,
    /// Files that a step may write, as they are.
    pub(crate) files: BTreeMap<PathBuf, FileFact>,
    /// Those that are there and are no text.
    pub(crate) unreadable: BTreeSet<PathBuf>,
    /// Directories that exist, with their modes and owners.
    pub(crate) directories: BTreeMap<PathBuf, String>,
    /// Units that a step may switch on.
    pub(crate) units: BTreeMap<String, UnitFact>,
    /// Settings of the kernel.
    pub(crate) kernel: BTreeMap<String, u64>,
    /// Does the clock follow others?
    pub(crate) clock: bool,
    /// Has the journal a limit of its own?
    pub(crate) journal_limited: bool,
    /// Are security updates installed by themselves?
    pub(crate) updates: bool,
    /// Can systemd encrypt credentials here?
    pub(crate) credentials: bool,
    /// Is there a sealing key already, and where?
    pub(crate) seal_key: Option<PathBuf>,
    /// Hosts whose certificates certbot has, and the gateway has not.
    pub(crate) certbot: BTreeSet<String>,
    /// Those of which none will do, and why, once somebody who knows has looked at them.
    pub(crate) certbot_unfit: BTreeMap<String, String>,
    /// The application.
    pub(crate) app: Option<AppFacts>,
    /// Node, once somebody who knows has looked for it.
    pub(crate) node: NodeFacts,
    /// Is the program in its place the one that runs now?
    pub(crate) installed: bool,
}

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileFact {
    /// Permissions.
    pub(crate) mode: u32,
    /// What stands in it; never shown.
    #[serde(skip)]
    pub(crate) content: String,
}

/// Programs that change what is planned.
const PROGRAMS: [&str; 15] = [
    "systemctl",
    "systemd-run",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "systemd-creds",
    "nft",
    "ip",
    "ufw",
    "firewall-cmd",
    "docker",
    "apt-get",
    "sshd",
    "nginx",
    "pm2",
    "runuser",
];
/// Services that set the clock.
const CLOCKS: [&str; 5] = ["systemd-timesyncd", "chronyd", "ntpd", "ntpsec", "openntpd"];
/// Settings of the kernel that a step may raise.
pub(super) const KERNEL: [&str; 4] =
    ["net.core.somaxconn", "net.ipv4.tcp_syncookies", "fs.nr_open", "fs.file-max"];

impl Facts {
    /// Look at this machine: `files` and `units` are those that the plan may touch.
    pub(crate) fn gather(answers: &Answers) -> Self {
        let (files, units) = super::plan::touched();
        let processes = Processes::read(Path::new("/proc"));
        let sockets = listeners::sockets();
        let ssh = Ssh::look(&sockets, &processes);
        let asked = answers.edge_ports().union(&ssh.ports).chain(&answers.ssh_ports).copied().collect();
        let Ruling { ruler, open, admitted, denied } = Ruling::now(&asked);
        let rules = machine::hear(&["nft", "-j", "list", "ruleset"]);
        let (tables, dropping) = filters::dropping_tables(&rules);
        let closing = closing::closing(&rules, &answers.edge_ports().union(&ssh.ports).copied().collect());
        let container = machine::hear(&["systemd-detect-virt", "--container"]).trim().to_owned();
        let keys = [places::SEALED_KEY, places::PLAIN_KEY];
        Self {
            root: nix::unistd::geteuid().is_root(),
            distribution: Distribution::of(&machine::text("/etc/os-release")),
            init: machine::text("/proc/1/comm").trim().to_owned(),
            container: (!container.is_empty() && container != "none").then_some(container),
            programs: PROGRAMS
                .iter()
                .filter(|name| machine::program(name).is_some())
                .map(|n| (*n).into())
                .collect(),
            listeners: listeners::streams(&sockets, &processes),
            datagrams: listeners::datagrams(&processes),
            tunnel: ssh.through(),
            tunnels: ends(),
            ssh,
            ruler,
            open,
            // A journal that cannot be read is told where something is to be written into it.
            opened: Journal::read().map(|journal| journal.all_opened()).unwrap_or_default(),
            admitted,
            denied,
            tables,
            dropping,
            closing,
            live: firewall::live(),
            published: published(),
            accounts: accounts(&machine::text("/etc/passwd"), &machine::text("/etc/group")),
            outdated: Journal::read().map(|journal| journal.outdated()).unwrap_or_default(),
            unreadable: files.iter().filter(|path| machine::Was::hides(path)).cloned().collect(),
            files: files.into_iter().filter_map(file).collect(),
            directories: super::plan::directories().into_iter().filter_map(directory).collect(),
            units: units.into_iter().map(|name| (name.to_owned(), units::unit(name))).collect(),
            kernel: KERNEL.iter().filter_map(|name| kernel(name)).collect(),
            clock: CLOCKS.iter().any(|name| processes.runs(&name[..name.len().min(15)])),
            journal_limited: journal_limited(&machine::hear(&[
                "systemd-analyze",
                "cat-config",
                "systemd/journald.conf",
            ])),
            updates: updates(&machine::hear(&["apt-config", "dump"])),
            credentials: machine::program("systemd-creds").is_some(),
            seal_key: keys.iter().map(PathBuf::from).find(|path| path.exists()),
            certbot: certbot(Path::new(places::CERTBOT), Path::new(places::IMPORTED)),
            certbot_unfit: BTreeMap::new(),
            app: answers.app.as_ref().map(AppFacts::read),
            node: NodeFacts::default(),
            installed: installed(),
        }
    }

    /// Does systemd run this machine?
    pub(crate) fn systemd(&self) -> bool {
        self.init == "systemd" && self.programs.contains("systemctl")
    }

    /// Is the application one that is started with Node?
    pub(crate) fn needs_node(&self, answers: &Answers) -> bool {
        let of_app = self.app.as_ref().filter(|app| answers.app.is_some() && app.exists);
        of_app.is_some_and(AppFacts::begins_with_node)
    }

    /// What PATH finds, for every user.
    pub(crate) fn node_in_path() -> Option<PathBuf> {
        machine::program("node")
    }

    /// TCP ports that the ruler must still open: the edge's for everybody, SSH's where no rule of its owner's says anything
    /// of them. One too few is opened by its owner; one too many lets the world in.
    pub(crate) fn to_open(&self, edge: &BTreeSet<u16>, ssh: &BTreeSet<u16>) -> BTreeSet<u16> {
        let ssh = &(ssh - &self.admitted) - &self.denied;
        edge.difference(&self.open).chain(&ssh).copied().collect()
    }

    /// Ports of SSH that a rule of the ruler's lets nobody reach.
    pub(crate) fn denied_to_all(&self, ssh: &BTreeSet<u16>) -> BTreeSet<u16> {
        &(ssh & &self.denied) - &self.admitted
    }

    /// Will what is confirmed be loaded at the next boot?
    pub(crate) fn firewall_lasts(&self) -> bool {
        self.live.at_boot && self.unit("gateway-firewall.service").enabled
    }

    /// A unit; one that is not known is off.
    pub(crate) fn unit(&self, name: &str) -> UnitFact {
        self.units.get(name).copied().unwrap_or_default()
    }
}

/// When the process of a `/proc/PID/stat` began, in clock ticks since the machine started.
pub(super) fn began(stat: &str) -> Option<u64> {
    processes::Process::of_stat(stat.trim_end()).map(|process| process.began)
}

/// Those of these ports that whoever rules the packets lets everybody reach, as it is now.
pub(super) fn let_in(ports: &BTreeSet<u16>) -> BTreeSet<u16> {
    Ruling::now(ports).open
}

/// Who rules the packets now.
pub(super) fn rules_here() -> Ruler {
    Ruling::now(&BTreeSet::new()).ruler
}

/// What somebody who is led to these TCP ports would find there.
pub(super) fn unreached(ports: &BTreeSet<u16>) -> Unreached {
    let sockets = listeners::sockets();
    let ipv6 = listeners::has_ipv6(&machine::text("/proc/net/if_inet6"));
    Unreached { closed: Ruling::now(ports).closed(ports), ..Unreached::of(ports, &sockets, ipv6) }
}

/// What Docker says, and what the kernel does for it: with `userland-proxy` off no process listens.
fn published() -> Vec<Published> {
    let told = machine::hear(&["docker", "ps", "--format", "{{.Ports}}\t{{.Names}}"]);
    let rules = ["iptables-save", "ip6tables-save"].map(|program| machine::hear(&[program, "-t", "nat"]));
    filters::with_forwarded(filters::published(&told), &rules.concat())
}

/// `user gateway` and `group gateway-admin` where they exist.
fn accounts(passwd: &str, group: &str) -> BTreeSet<String> {
    let names = |text: &str, kind: &str| -> Vec<String> {
        let ours = text.lines().filter_map(|line| line.split(':').next());
        ours.filter(|name| name.starts_with("gateway")).map(|name| format!("{kind} {name}")).collect()
    };
    names(passwd, "user").into_iter().chain(names(group, "group")).collect()
}

fn file(path: PathBuf) -> Option<(PathBuf, FileFact)> {
    let was = machine::Was::of(&path)?;
    Some((path, FileFact { mode: was.mode, content: was.content }))
}

/// `2750 gateway:gateway-app`, as `stat` has them; who has no name is a number.
fn directory(path: PathBuf) -> Option<(PathBuf, String)> {
    let is = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_dir)?;
    let user = User::from_uid(Uid::from_raw(is.uid())).ok().flatten().map(|user| user.name);
    let group = Group::from_gid(Gid::from_raw(is.gid())).ok().flatten().map(|group| group.name);
    let user = user.unwrap_or_else(|| is.uid().to_string());
    let group = group.unwrap_or_else(|| is.gid().to_string());
    Some((path, format!("{:o} {user}:{group}", is.mode() & 0o7777)))
}

fn kernel(name: &str) -> Option<(String, u64)> {
    let text = machine::text(format!("/proc/sys/{}", name.replace('.', "/")));
    Some((name.to_owned(), text.trim().parse().ok()?))
}

/// A line that is none of the commented defaults.
fn journal_limited(text: &str) -> bool {
    text.lines().any(|line| line.trim().strip_prefix("SystemMaxUse=").is_some_and(|value| !value.is_empty()))
}

fn updates(text: &str) -> bool {
    let on = |line: &str| {
        line.strip_prefix("APT::Periodic::Unattended-Upgrade \"").is_some_and(|v| !v.starts_with('0'))
    };
    text.lines().any(on)
}

fn certbot(live: &Path, imported: &Path) -> BTreeSet<String> {
    let lineages = super::import::lineages(live).unwrap_or_default();
    let hosts = lineages.iter().map(|lineage| lineage.host().to_owned());
    hosts.filter(|host| !imported.join(host).exists()).collect()
}

fn installed() -> bool {
    let same = |own: PathBuf| {
        let place = Path::new(places::PROGRAM);
        let (Ok(own_metadata), Ok(metadata)) = (own.metadata(), place.metadata()) else { return false };
        let one = own_metadata.ino() == metadata.ino() && own_metadata.dev() == metadata.dev();
        one || own_metadata.len() == metadata.len()
            && std::fs::read(&own).ok().zip(std::fs::read(place).ok()).is_some_and(|(a, b)| a == b)
    };
    std::env::current_exe().is_ok_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_accounts_are_told_from_others() {
        let found = accounts("root:x:0\ngateway:x:990\n", "gateway-admin:x:991:\nadm:x:4:\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["group gateway-admin", "user gateway"]);
    }

    #[test]
    fn what_is_commented_out_is_no_limit_and_off_is_no_update() {
        assert!(journal_limited("[Journal]\nSystemMaxUse=1G\n"));
        assert!(!journal_limited("[Journal]\n#SystemMaxUse=\nSystemMaxUse=\n"));
        assert!(updates("APT::Periodic::Unattended-Upgrade \"1\";\n"));
        assert!(!updates("APT::Periodic::Unattended-Upgrade \"0\";\n"));
    }

    #[test]
    fn this_very_machine_can_be_looked_at() {
        let answers = crate::bootstrap::plan::samples::answers();
        let facts = Facts::gather(&answers);
        assert!(!facts.init.is_empty());
        assert!(serde_json::to_string(&facts).is_ok());
    }
}
