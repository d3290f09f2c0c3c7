//! The plan carried out, one step at a time: recorded first, done, then verified. The first failure ends it: what was done
//! stays done, and the next run goes on there.

mod node;
mod rulers;
mod units;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    BootstrapError, Plan, Session, Step, firewall,
    journal::{Journal, Made},
    machine, places,
    plan::{Action, Then},
    share,
};

/// What happens, for whoever watches.
#[derive(Debug)]
pub(crate) enum Progress<'a> {
    /// This step, with its number, is begun.
    Begun(usize, &'a Step),
    /// What a step that takes its time says meanwhile.
    Words(&'a str),
}

/// Carry out a plan, and tell of it, until `stop` says that nothing more shall be begun. Gives how many steps are done.
pub(crate) fn apply(
    plan: &Plan,
    stop: &dyn Fn() -> bool,
    mut tell: impl FnMut(Progress<'_>),
) -> Result<usize, (usize, BootstrapError)> {
    // Whatever ends this run before: what runs as it was is to be started anew by the next one.
    let restarts = plan.steps.iter().find_map(|step| match &step.action {
        Action::Restart(units) => Some(units.iter().map(|unit| (*unit).to_owned()).collect()),
        _ => None,
    });
    if let Some(units) = restarts {
        let recorded = Journal::read().and_then(|mut journal| journal.record(Made::Outdated(units)));
        recorded.map_err(|error| (0, error))?;
    }
    for (index, step) in plan.steps.iter().enumerate() {
        if stop() {
            return Ok(index);
        }
        tell(Progress::Begun(index, step));
        let mut watch = Watch { stop, words: &mut |line| tell(Progress::Words(line)) };
        match Journal::read().and_then(|mut journal| step.action.carry_out(&mut journal, &mut watch)) {
            Ok(()) => {}
            Err(BootstrapError::Stopped(_)) => return Ok(index),
            Err(error) => return Err((index, error)),
        }
    }
    Ok(plan.steps.len())
}

/// Whoever watches a step that takes its time: they hear what it says, and may want it to end.
struct Watch<'a> {
    stop: &'a dyn Fn() -> bool,
    words: &'a mut dyn FnMut(&str),
}

impl Action {
    fn carry_out(&self, journal: &mut Journal, watch: &mut Watch<'_>) -> Result<(), BootstrapError> {
        match self {
            Self::Install => install(journal),
            Self::Write { path, mode, content, then } => {
                write(journal, path, *mode, content)?;
                then.tell(journal, content)
            }
            Self::Accounts => accounts(journal),
            Self::Directories => directories(journal),
            Self::SealKey { drop_in, content } => seal_key(journal, drop_in, content),
            Self::Share(path) => share::give(journal, path),
            Self::Access { read, write, own } => access(read, write, own),
            Self::Node { version, mirror, backend } => {
                node::Installation { version, mirror: mirror.as_deref(), backend: backend.as_deref() }
                    .carry_out(journal, watch)
            }
            Self::Certificates(hosts) => {
                certificates(hosts, watch.words);
                Ok(())
            }
            Self::Packages(names) => packages(journal, names),
            Self::Enable(units) => units::enable(journal, units),
            Self::Restart(units) => {
                // A run that was killed may have written them, and told systemd nothing.
                Then::ReloadUnits.tell(journal, "")?;
                units::restart(units)?;
                journal.started()
            }
            Self::Arm(wanted, within) => {
                journal.record(Made::Firewall)?;
                let lock = firewall::lock()?;
                // Not what it was when the plan was made: somebody may have changed it since.
                let wanted = wanted.on(firewall::lasting(&lock)?);
                firewall::arm(&wanted, *within, &Session::now(), &lock).map(drop)
            }
            Self::Settle(wanted) => {
                journal.record(Made::Firewall)?;
                let lock = firewall::lock()?;
                firewall::settle(wanted.on(firewall::lasting(&lock)?), &lock)
            }
            Self::Ufw(ports) => rulers::ufw(journal, ports),
            Self::Firewalld(ports) => rulers::firewalld(journal, ports),
        }
    }
}

impl Then {
    fn tell(self, journal: &mut Journal, content: &str) -> Result<(), BootstrapError> {
        match self {
            Self::Nothing => Ok(()),
            Self::ReloadUnits => machine::order(&["systemctl", "daemon-reload"]).map(drop),
            Self::RestartJournal => {
                machine::order(&["systemctl", "restart", "systemd-journald.service"]).map(drop)
            }
            Self::Sysctl => sysctl(journal, content),
        }
    }
}

/// This program into its place: whole, on disk, and swapped in at once. The one before stays beside it, and the one that
/// was there before the first run is kept for `--undo`: upgrades replace what stands beside.
fn install(journal: &mut Journal) -> Result<(), BootstrapError> {
    let own = std::env::current_exe().map_err(BootstrapError::file("find", "/proc/self/exe"))?;
    let place = Path::new(places::PROGRAM);
    let bytes = fs::read(&own).map_err(BootstrapError::file("read", &own))?;
    let before = match place.exists() {
        true => Some(fs::read(place).map_err(BootstrapError::file("read", place))?),
        false => None,
    };
    if !journal.made.iter().any(|made| matches!(made, Made::Program { path, .. } if path == place)) {
        let kept = Path::new(places::PROGRAM_BEFORE);
        if let Some(before) = &before {
            machine::make_directories(kept.parent().unwrap_or(Path::new("/")), 0o700)?;
            machine::write(kept, before, 0o755)?;
        }
        journal.record(Made::Program {
            path: place.to_owned(),
            old: before.is_some().then(|| kept.to_owned()),
        })?;
    }
    if let Some(before) = &before {
        machine::write(&place.with_extension("old"), before, 0o755)?;
    }
    machine::write(place, &bytes, 0o755)?;
    machine::order(&[places::PROGRAM, "--version"]).map(drop)
}

fn write(journal: &mut Journal, path: &Path, mode: u32, content: &str) -> Result<(), BootstrapError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let new: Vec<PathBuf> = directory.ancestors().take_while(|at| !at.exists()).map(Path::to_owned).collect();
    if !new.is_empty() {
        journal.record(Made::Directories(new.into_iter().rev().collect()))?;
        machine::make_directories(directory, 0o755)?;
    }
    let ours = |made: &Made| matches!(made, Made::File { path: of, .. } if of == path);
    // What a second run replaces is our own: the first run's record says what stood there before.
    let before = match journal.made.iter().position(ours) {
        Some(at) => match journal.made.remove(at) {
            Made::File { before, .. } => before,
            _ => None,
        },
        None => machine::Was::of(path),
    };
    journal.record(Made::File { path: path.to_owned(), content: content.to_owned(), before })?;
    // A configuration may name secrets: the gateway's group reads it, and nobody else.
    let group = if path == Path::new(places::CONFIG) { group_of(directory) } else { 0 };
    machine::write_owned(path, content.as_bytes(), mode, (0, group))?;
    if machine::text(path) != content {
        return Err(BootstrapError::Unproven(format!("`{}` does not hold what was written", path.display())));
    }
    Ok(())
}

fn group_of(directory: &Path) -> u32 {
    fs::metadata(directory).map(|metadata| metadata.gid()).unwrap_or_default()
}

fn sysctl(journal: &mut Journal, content: &str) -> Result<(), BootstrapError> {
    let value = |name: &str| machine::text(format!("/proc/sys/{}", name.replace('.', "/"))).trim().to_owned();
    // What is more than is asked for stays: the file may hold what an earlier run has asked for.
    let least = content.lines().filter_map(|line| line.split_once(" = "));
    let settings: Vec<(&str, &str)> =
        least.filter(|(name, least)| falls_short(&value(name), least)).collect();
    let before =
        settings.iter().filter_map(|(name, _)| Some(((*name).to_owned(), value(name).parse().ok()?)));
    journal.record(Made::Kernel(before.collect()))?;
    for (name, wanted) in settings {
        machine::order(&["sysctl", "-q", "-w", &format!("{name}={wanted}")])?;
        let is = value(name);
        if is != wanted {
            return Err(BootstrapError::Unproven(format!("{name} is {is} after it was set to {wanted}")));
        }
    }
    Ok(())
}

/// Also what is no number.
fn falls_short(is: &str, least: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    number(is).zip(number(least)).is_none_or(|(is, least)| is < least)
}

fn accounts(journal: &mut Journal) -> Result<(), BootstrapError> {
    let wanted = super::plan::accounts();
    let known = |name: &String| {
        let (kind, name) = name.split_once(' ').unwrap_or_default();
        let database = if kind == "user" { "passwd" } else { "group" };
        machine::ask(&["getent", database, name]).is_ok_and(|said| said.good)
    };
    let missing: Vec<String> = wanted.iter().filter(|name| !known(name)).cloned().collect();
    journal.record(Made::Accounts(missing))?;
    machine::order(&["systemd-sysusers", "/etc/sysusers.d/gateway.conf"])?;
    match wanted.iter().find(|name| !known(name)) {
        Some(name) => Err(BootstrapError::Unproven(format!("systemd-sysusers made no {name}"))),
        None => Ok(()),
    }
}

fn directories(journal: &mut Journal) -> Result<(), BootstrapError> {
    let wanted = super::plan::directories();
    let missing: Vec<PathBuf> = wanted.iter().filter(|path| !path.exists()).cloned().collect();
    journal.record(Made::Directories(missing))?;
    // A second run finds them as the first has left them: its record says how they were.
    if !journal.made.iter().any(|made| matches!(made, Made::Rights(_))) {
        let rights = |path: &PathBuf| {
            let is = fs::metadata(path).ok()?;
            Some((path.clone(), is.mode() & 0o7777, is.uid(), is.gid()))
        };
        let ours = |path: &PathBuf| {
            journal.made.iter().any(|made| matches!(made, Made::Directories(list) if list.contains(path)))
        };
        let before: Vec<_> = wanted.iter().filter(|path| !ours(path)).filter_map(rights).collect();
        if !before.is_empty() {
            journal.record(Made::Rights(before))?;
        }
    }
    machine::order(&["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/gateway.conf"])?;
    match wanted.iter().find(|path| !path.is_dir()) {
        Some(path) => Err(BootstrapError::Unproven(format!("systemd-tmpfiles made no `{}`", path.display()))),
        None => Ok(()),
    }
}

/// With this machine's TPM where it has one, and a key of root's. Never with what the TPM has measured of the boot (PCR 7 is
/// systemd's default): an update of the firmware or of Secure Boot's keys changes that, and the databases' credentials would
/// be lost with it.
const SEAL: [&str; 7] =
    ["systemd-creds", "encrypt", "--with-key=auto", "--tpm2-pcrs=", "--name=seal.key", "-", "-"];
const OPEN: [&str; 5] = ["systemd-creds", "decrypt", "--name=seal.key", "-", "-"];

/// The key never lies on the disk as it is: it goes from memory into systemd's encryption.
fn seal_key(journal: &mut Journal, drop_in: &Path, content: &str) -> Result<(), BootstrapError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice())
        .map_err(|_| BootstrapError::Unproven("the system gives no randomness".to_owned()))?;
    let text = zeroize::Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
    let Ok(sealed) = machine::order_with(&SEAL, &text) else {
        // There is no key of this machine to encrypt with, as in some containers.
        return Ok(());
    };
    // Before it is kept: one that cannot be opened would be taken for good by the next run.
    if machine::order_with(&OPEN, &sealed)? != *text {
        return Err(BootstrapError::Unproven("the sealing key does not come out as it went in".to_owned()));
    }
    let path = Path::new(places::SEALED_KEY);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let new: Vec<PathBuf> = directory.ancestors().take_while(|at| !at.exists()).map(Path::to_owned).collect();
    if !new.is_empty() {
        journal.record(Made::Directories(new.into_iter().rev().collect()))?;
        machine::make_directories(directory, 0o700)?;
    }
    journal.record(Made::SealKey(path.to_owned()))?;
    machine::write(path, sealed.as_bytes(), 0o600)?;
    write(journal, drop_in, 0o644, content)?;
    Then::ReloadUnits.tell(journal, content)
}

/// What cannot be copied is told, and ends nothing: the gateway orders its own, and the firewall is yet to come.
fn certificates(hosts: &[String], words: &mut dyn FnMut(&str)) {
    let mut command = vec![places::PROGRAM, "import", "certbot", "--copy"];
    hosts.iter().for_each(|host| command.extend(["--host", host]));
    if let Err(error) = machine::order(&command) {
        words(&error.to_string());
    }
    for host in hosts.iter().filter(|host| !Path::new(places::IMPORTED).join(host).exists()) {
        words(&format!("the gateway has no copy of certbot's certificate for `{host}`, and orders its own"));
    }
}

/// As the users themselves, since root may read everything and so proves nothing.
pub(super) fn access(read: &[PathBuf], write: &[PathBuf], own: &[PathBuf]) -> Result<(), BootstrapError> {
    let (worker, gateway) = (super::plan::WORKER, super::plan::GATEWAY);
    for (who, paths, flag, verb) in
        [(worker, read, "-r", "read"), (worker, write, "-w", "write to"), (gateway, own, "-r", "read")]
    {
        for path in paths {
            let shown = path.display().to_string();
            if !machine::ask(&["runuser", "-u", who, "--", "test", flag, &shown])?.good {
                return Err(no_access(who, path, verb));
            }
        }
    }
    Ok(())
}

/// The outermost directory that cannot be entered is what has to be mended.
fn no_access(worker: &str, path: &Path, verb: &str) -> BootstrapError {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let shut = above.into_iter().find(|directory| {
        let shown = directory.display().to_string();
        !machine::ask(&["runuser", "-u", worker, "--", "test", "-x", &shown]).is_ok_and(|said| said.good)
    });
    let (message, remedy) = match shut {
        Some(directory) => {
            let directory = directory.display();
            (
                format!("`{worker}` cannot {verb} `{}`: it may not enter `{directory}`", path.display()),
                format!(
                    "`chmod o+x {directory}` (or `setfacl -m u:{worker}:x {directory}`), or move the application to /srv"
                ),
            )
        }
        None if path.is_file() && worker == super::plan::GATEWAY => (
            // It holds secrets: it is opened to nobody but who must read it.
            format!("`{worker}` cannot {verb} `{}`", path.display()),
            format!("`chgrp {worker} {0}` and `chmod 640 {0}`", path.display()),
        ),
        None => {
            let right = if verb == "read" { "rX" } else { "rwX" };
            (
                format!("`{worker}` cannot {verb} `{}`", path.display()),
                format!(
                    "`setfacl -R -m u:{worker}:{right} {0}`, or `chgrp -R {worker} {0}` and `chmod -R g+{right} {0}`",
                    path.display()
                ),
            )
        }
    };
    BootstrapError::refused(message, remedy)
}

fn packages(journal: &mut Journal, names: &[&'static str]) -> Result<(), BootstrapError> {
    let installed = |name: &&&str| {
        machine::ask(&["dpkg-query", "-W", "-f", "${db:Status-Status}", name])
            .is_ok_and(|said| said.text == "installed")
    };
    // An old list names versions that are gone; one that cannot be had anew may do all the same.
    let _old = machine::order_packages(&["update", "-qq"]);
    let simulated = [&["install", "--simulate", "-y", "--no-install-recommends"], names].concat();
    let told = machine::order_packages(&simulated)?;
    // With what they need themselves: `Inst NAME (VERSION …)`, and `Inst NAME [OLD] (…)` for those that are there already.
    let new = told.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_once(' '));
    let new = new.filter(|(_, rest)| !rest.starts_with('[')).map(|(name, _)| name.to_owned()).collect();
    journal.record(Made::Packages(new))?;
    machine::order_packages(&[&["install", "-y", "-qq", "--no-install-recommends"], names].concat())?;
    match names.iter().find(|name| !installed(name)) {
        Some(name) => Err(BootstrapError::Unproven(format!(
            "apt-get says that it is done, and `{name}` is not installed"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_is_begun_after_a_run_was_asked_to_stop() {
        let nothing = |subject: &str| Step {
            subject: subject.to_owned(),
            is: String::new(),
            differs: Vec::new(),
            will: String::new(),
            why: "",
            action: Action::Access { read: Vec::new(), write: Vec::new(), own: Vec::new() },
        };
        let steps = ["one", "two", "three"].map(nothing).into();
        let plan = Plan { problems: Vec::new(), steps, notes: Vec::new() };
        let begun = std::cell::RefCell::new(Vec::new());
        let stop = || begun.borrow().len() == 2;
        let done = apply(&plan, &stop, |progress| {
            if let Progress::Begun(index, _) = progress {
                begun.borrow_mut().push(index);
            }
        });
        // The second was under way, and is finished.
        assert_eq!((done.unwrap(), begun.into_inner()), (2, vec![0, 1]));
    }
}
