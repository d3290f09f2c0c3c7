//! Taking back what bootstrap made, last thing first, and nothing else: a file that its owner has changed since stays, and so
//! do databases, what they need, and what the application keeps. What stays is still of record: a later run can take it.

mod forecast;
mod packages;
mod rulers;
mod units;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub(crate) use self::forecast::{leaves_state_where_it_is, to_take_back};
use super::{
    BootstrapError, firewall,
    journal::{Journal, Made},
    machine, places, ruleset, share,
};

/// The home of the workers' user, where the application may write.
const APPLICATION: &str = "/var/lib/gateway-app";

/// Directories that the gateway and its workers fill by themselves: they go with what is in them.
const OWN: [&str; 3] = [APPLICATION, places::LOGS, "/run/gateway"];

/// Units of ours that no plan switches on.
const UNWATCHED: [&str; 2] = ["gateway-firewall-follow.service", "gateway-firewall-rollback.service"];

/// One thing that was taken back, or not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Taken {
    /// What.
    pub(crate) what: String,
    /// Why it stays, if it does.
    pub(crate) stays: Option<String>,
}

/// Take everything back, until `stop` says that nothing more shall be begun; `told` hears of each thing when it is done.
/// `registry` is why the registry and what opens it must stay, if they must.
pub(crate) fn undo(
    registry: Option<&str>,
    stop: &dyn Fn() -> bool,
    mut told: impl FnMut(Taken),
) -> Result<(), BootstrapError> {
    let mut journal = written()?;
    for made in in_order(&journal) {
        if stop() {
            break;
        }
        let stays = made.take_back(registry)?;
        if stays.is_none() {
            journal.made.retain(|other| *other != made);
            journal.write()?;
        }
        told(Taken { what: made.shown(), stays });
    }
    // Only now: where an undo that was cut off put it back already, the next one would take it for none.
    if !journal.made.iter().any(|made| matches!(made, Made::Program { .. })) {
        machine::remove(Path::new(places::PROGRAM_BEFORE))?;
    }
    let place = Path::new(places::JOURNAL);
    if journal.made.is_empty() {
        machine::remove(place)?;
    }
    for directory in [place.parent(), Some(Path::new(places::RUN))].into_iter().flatten() {
        // It is empty, or not ours alone.
        let _stays = fs::remove_dir(directory);
    }
    machine::order(&["systemctl", "daemon-reload"])?;
    // What others have failed at is theirs to look at; a unit of ours that is gone is one that has not failed.
    machine::ask(&[&["systemctl", "reset-failed"], &own_units()[..]].concat()).map(drop)
}

/// Units of ours, for systemd to forget.
fn own_units() -> Vec<&'static str> {
    let (_, units) = super::plan::touched();
    units.into_iter().filter(|unit| unit.starts_with("gateway")).chain(UNWATCHED).collect()
}

/// What was made here, as long as there is something.
fn written() -> Result<Journal, BootstrapError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootstrapError::NotRoot);
    }
    let journal = Journal::read()?;
    match journal.made.is_empty() {
        true => Err(BootstrapError::refused(
            "there is nothing to take back",
            "`gateway bootstrap` has made nothing here",
        )),
        false => Ok(journal),
    }
}

/// Units first, whenever they were switched on: their files, users and directories go under them otherwise. And of them the
/// sockets, which take their services along: a connection that waits there would start one that was stopped before.
fn in_order(journal: &Journal) -> Vec<Made> {
    let (units, others): (Vec<Made>, Vec<Made>) =
        journal.made.iter().cloned().partition(|made| matches!(made, Made::Unit { .. }));
    let (sockets, units): (Vec<Made>, Vec<Made>) = units
        .into_iter()
        .rev()
        .partition(|made| matches!(made, Made::Unit { name, .. } if name.ends_with(".socket")));
    sockets.into_iter().chain(units).chain(others.into_iter().rev()).collect()
}

impl Made {
    fn shown(&self) -> String {
        let paths = |list: &[PathBuf]| {
            list.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        };
        let ports = |list: &[u16]| list.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::File { path, .. } | Self::Program { path, .. } | Self::SealKey(path) | Self::Node(path) => {
                path.display().to_string()
            }
            Self::Directories(list) => format!("directories {}", paths(list)),
            Self::Rights(list) => {
                let list: Vec<PathBuf> = list.iter().map(|(path, ..)| path.clone()).collect();
                format!("rights of {}", paths(&list))
            }
            Self::Shared { path, .. } => format!("rights of {}", path.display()),
            Self::Accounts(names) => names.join(", "),
            Self::Packages(names) => format!("packages {}", names.join(", ")),
            Self::Unit { name, .. } => name.clone(),
            Self::Kernel(_) => "kernel settings".to_owned(),
            Self::Outdated(units) => format!("a start of {} that is due", units.join(", ")),
            Self::Firewall => "firewall".to_owned(),
            Self::Ufw(list) => format!("ufw: {}", ports(list)),
            Self::UfwRule(words) => format!("ufw {words}"),
            Self::Firewalld(list) => format!("firewalld: {}", ports(list)),
            Self::FirewalldZone { zone, ports: list } => format!("firewalld, zone {zone}: {}", ports(list)),
            Self::Later(made) => made.to_string(),
        }
    }

    /// Gives the reason where something must stay.
    fn take_back(&self, registry: Option<&str>) -> Result<Option<String>, BootstrapError> {
        match self {
            Self::File { path, content, before } => take_back_file(path, content, before.as_ref()),
            Self::Program { path, old } => take_back_program(path, old.as_deref()).map(|()| None),
            Self::Node(path) => take_back_node(path).map(|()| None),
            Self::SealKey(path) => match needed(registry) {
                Some(why) => Ok(Some(why)),
                None => machine::remove(path).map(|()| None),
            },
            Self::Directories(list) => take_back_directories(list, registry),
            Self::Rights(list) => take_back_rights(list).map(|()| None),
            Self::Shared { path, mode } => share::take_back(path, *mode).map(|()| None),
            Self::Accounts(names) => take_back_accounts(names, registry),
            Self::Packages(names) => packages::take_back(names),
            Self::Unit { name, enabled, active } => units::take_back(name, *enabled, *active).map(|()| None),
            Self::Outdated(_) => Ok(None),
            Self::Kernel(before) => {
                for (name, value) in before {
                    machine::order(&["sysctl", "-q", "-w", &format!("{name}={value}")])?;
                }
                Ok(None)
            }
            Self::Firewall => take_back_firewall().map(|()| None),
            Self::Ufw(ports) => rulers::ufw(ports).map(|()| None),
            Self::UfwRule(words) => rulers::ufw_rule(words).map(|()| None),
            Self::Firewalld(ports) => rulers::firewalld(None, ports).map(|()| None),
            Self::FirewalldZone { zone, ports } => rulers::firewalld(Some(zone), ports).map(|()| None),
            Self::Later(_) => Ok(Some("a later version of `gateway` made it, and takes it back".to_owned())),
        }
    }
}

fn changed(path: &Path, written: &str) -> Option<String> {
    (path.exists() && machine::text(path) != written).then(|| "it was changed since".to_owned())
}

fn take_back_file(
    path: &Path,
    written: &str,
    before: Option<&machine::Was>,
) -> Result<Option<String>, BootstrapError> {
    if let Some(why) = changed(path, written) {
        return Ok(Some(why));
    }
    match before {
        Some(was) => machine::write_owned(path, was.content.as_bytes(), was.mode, (was.uid, was.gid))?,
        None => machine::remove(path)?,
    }
    if path.starts_with("/etc/systemd/journald.conf.d") {
        machine::order(&["systemctl", "restart", "systemd-journald.service"])?;
    }
    Ok(None)
}

/// The one before it, or none; and what upgrades have left beside it.
fn take_back_program(path: &Path, kept: Option<&Path>) -> Result<(), BootstrapError> {
    match kept {
        Some(kept) if kept.exists() => {
            let bytes = fs::read(kept).map_err(BootstrapError::file("read", kept))?;
            machine::write(path, &bytes, 0o755)?;
        }
        // There was one before: what stands there may be it.
        Some(_) => {}
        // This very program: it goes on until it ends.
        None => machine::remove(path)?,
    }
    ["old", "before"].iter().try_for_each(|beside| machine::remove(&path.with_extension(beside)))
}

fn take_back_node(path: &Path) -> Result<(), BootstrapError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(BootstrapError::file("remove", path)),
    }
}

/// Tenants' databases in the state directory: what nobody can make again.
fn databases() -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(places::STATE).join("tenants")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Why the registry, its sealing key and who may read them must stay, if they must.
fn needed(registry: Option<&str>) -> Option<String> {
    let here = (!databases().is_empty()).then(|| {
        format!("tenants' databases lie in {0} (move {0}/tenants away, or delete it)", places::STATE)
    });
    here.or_else(|| registry.map(str::to_owned))
}

/// What npm, Node and browsers leave at a home by themselves.
const LEFT: [&str; 5] = [".npm", ".cache", ".config", ".node-gyp", ".node_repl_history"];

/// Has the application kept something at its home?
fn application_keeps() -> bool {
    let mut entries = fs::read_dir(APPLICATION).into_iter().flatten().flatten();
    entries.any(|entry| LEFT.iter().all(|left| entry.file_name() != *left))
}

fn take_back_rights(list: &[(PathBuf, u32, u32, u32)]) -> Result<(), BootstrapError> {
    for (path, mode, uid, gid) in list.iter().filter(|(path, ..)| path.is_dir()) {
        std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
            .map_err(BootstrapError::file("give back", path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(*mode))
            .map_err(BootstrapError::file("give back", path))?;
    }
    Ok(())
}

/// Why a directory must stay whatever is in it.
fn directory_stays(path: &Path, registry: Option<&str>) -> Option<String> {
    if path.starts_with(places::STATE)
        && let Some(why) = needed(registry)
    {
        return Some(format!("{}: {why}", path.display()));
    }
    let keeps = path.starts_with(APPLICATION) && application_keeps();
    keeps.then(|| format!("{} holds what the application keeps", path.display()))
}

/// Why users and groups must stay.
fn accounts_stay(registry: Option<&str>) -> Option<String> {
    (needed(registry).is_some() || application_keeps())
        .then(|| "they own the databases or files that stay".to_owned())
}

fn take_back_directories(list: &[PathBuf], registry: Option<&str>) -> Result<Option<String>, BootstrapError> {
    let mut stays = Vec::new();
    // Innermost first.
    for path in list.iter().rev().filter(|path| path.is_dir()) {
        if let Some(why) = directory_stays(path, registry) {
            stays.push(why);
            continue;
        }
        let state = path.starts_with(places::STATE);
        // What runs fills these by itself; in any other directory only what was made here is removed.
        let own = state || OWN.iter().any(|own| path.starts_with(own));
        let removed = if own { fs::remove_dir_all(path) } else { fs::remove_dir(path) };
        match removed {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                stays.push(format!("{} is not empty", path.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(BootstrapError::file("remove", path))?,
        }
    }
    Ok((!stays.is_empty()).then(|| stays.join(", ")))
}

fn take_back_accounts(names: &[String], registry: Option<&str>) -> Result<Option<String>, BootstrapError> {
    if let Some(why) = accounts_stay(registry) {
        return Ok(Some(why));
    }
    // Users first: a group that is somebody's own cannot go before them, and may go with them.
    for kind in ["user", "group"] {
        for name in names.iter().filter_map(|name| name.strip_prefix(kind)?.strip_prefix(' ')) {
            let database = if kind == "user" { "passwd" } else { "group" };
            if machine::ask(&["getent", database, name])?.good {
                machine::order(&[if kind == "user" { "userdel" } else { "groupdel" }, name])?;
            }
        }
    }
    Ok(None)
}

fn take_back_firewall() -> Result<(), BootstrapError> {
    // Nobody changes it meanwhile, nor does what goes back by itself bring anything back.
    let _lock = firewall::lock()?;
    let [timer, service] = ["timer", "service"].map(|kind| format!("{}.{kind}", places::ROLLBACK));
    machine::ask(&["systemctl", "stop", &timer, &service])?;
    machine::ask(&["systemctl", "disable", "--now", "gateway-firewall.service"])?;
    machine::order_with(&["nft", "-f", "-"], ruleset::GONE)?;
    for path in
        [places::FIREWALL_RULES, places::FIREWALL_STATE, places::ARMED, places::PREVIOUS, places::GONE_BACK]
    {
        machine::remove(Path::new(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_there_before_is_left_alone_where_its_copy_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let [program, kept] = ["gateway", "kept"].map(|name| directory.path().join(name));
        fs::write(&program, "by hand").unwrap();
        take_back_program(&program, Some(&kept)).unwrap();
        assert_eq!(fs::read_to_string(&program).unwrap(), "by hand");
        take_back_program(&program, None).unwrap();
        assert!(!program.exists());
    }

    #[test]
    fn sockets_are_taken_back_before_what_they_would_start() {
        let unit = |name: &str| Made::Unit { name: name.to_owned(), enabled: false, active: false };
        let made = vec![unit("gateway.socket"), unit("gateway.service"), Made::Firewall, unit("x.path")];
        let order: Vec<String> = in_order(&Journal { made }).iter().map(Made::shown).collect();
        assert_eq!(order, ["gateway.socket", "x.path", "gateway.service", "firewall"]);
    }

    #[test]
    fn only_units_of_ours_are_forgotten() {
        let units = own_units();
        assert!(
            units.contains(&"gateway.service") && units.contains(&"gateway-firewall.service"),
            "{units:?}"
        );
        assert!(units.iter().all(|unit| unit.starts_with("gateway")), "{units:?}");
        assert!(units.contains(&&*format!("{}.service", places::ROLLBACK)), "{units:?}");
    }
}
