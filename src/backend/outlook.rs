//! Settings of the system that a sandboxed worker sees as they were when it was started: where `/etc` is opened to it file
//! by file, what is put in place of a file (as DHCP clients do with `/etc/resolv.conf`) is out of its sight. Told in the
//! status and, once, in the log. It must never decide anything.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{confinement::Confinement, sandbox::is_of_the_system, visitor::Visitor};
use crate::shutdown::Shutdown;

/// Without these, names are resolved wrongly or not at all.
const SETTINGS: [&str; 4] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd"];

/// A lease is renewed once in hours.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What each process was shown, by its id.
static SHOWN: Mutex<BTreeMap<u32, Shown>> = Mutex::new(BTreeMap::new());

/// Somebody looks from time to time, and tells.
static TELLING: AtomicBool = AtomicBool::new(false);

/// Files by device and inode, which is what the kernel's rules are on; without those whose directory is open as a whole.
#[derive(Debug, Default)]
pub(super) struct Shown(BTreeMap<&'static str, (u64, u64)>);

/// One process's, for as long as this lives.
#[derive(Debug)]
pub(super) struct Outlook(u32);

impl Shown {
    /// What a process that sets up this sandbox now will see.
    pub(super) fn to(confinement: &Confinement) -> Self {
        let Some(rules) = &confinement.rules else { return Self::default() };
        let visitor = Visitor::of(confinement.identity.as_ref());
        let one_by_one = rules.lists_one_by_one(Path::new("/etc"), &visitor);
        let is_fixed = |path: &Path| match path.canonicalize() {
            Ok(real) if real.starts_with("/etc") => one_by_one,
            // A link leads elsewhere, and the rule is on what it led to.
            Ok(real) => !is_of_the_system(&real),
            Err(_) => false,
        };
        let fixed = SETTINGS.into_iter().filter(|path| is_fixed(Path::new(path)));
        Self(fixed.filter_map(|path| Some((path, inode(path)?))).collect())
    }

    fn replaced(&self) -> impl Iterator<Item = String> + use<'_> {
        let changed = self.0.iter().filter(|(path, before)| inode(path).is_some_and(|now| now != **before));
        changed.map(|(path, _)| (*path).to_owned())
    }
}

impl Outlook {
    /// That of this process.
    pub(super) fn of(pid: u32, shown: Shown) -> Self {
        with(|all| all.insert(pid, shown));
        Self(pid)
    }
}

impl Drop for Outlook {
    fn drop(&mut self) {
        with(|all| all.remove(&self.0));
    }
}

/// Which of them these processes cannot see any more as they are now.
pub(super) fn lost(pids: impl Iterator<Item = u32>) -> Vec<String> {
    with(|all| sorted(pids.filter_map(|pid| all.get(&pid)).flat_map(Shown::replaced).collect()))
}

/// See to it that somebody looks and says so, once for each change.
pub(super) fn watch(life: &Shutdown) {
    if !TELLING.swap(true, Ordering::Relaxed) {
        let until = life.clone();
        life.spawn(async move {
            tokio::select! {
                () = until.begun() => {}
                () = tell() => {}
            }
            TELLING.store(false, Ordering::Relaxed);
        });
    }
}

async fn tell() {
    let mut told = Vec::new();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = with(|all| sorted(all.values().flat_map(Shown::replaced).collect()));
        if now != told && !now.is_empty() {
            tracing::warn!("{}", warning(&now));
        }
        told = now;
    }
}

/// In words.
pub(super) fn warning(lost: &[String]) -> String {
    format!(
        "{} has been replaced since workers were started, and their sandbox shows them neither the old one nor the new: \
         names may not be found; use `gateway backend reload`, and for good a `user` that cannot enter /etc/gateway",
        lost.join(", ")
    )
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

fn inode(path: &str) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn with<T>(work: impl FnOnce(&mut BTreeMap<u32, Shown>) -> T) -> T {
    work(&mut SHOWN.lock().unwrap_or_else(PoisonError::into_inner))
}
