//! What a worker's files are, kept by the kernel (Landlock) whoever the worker is. What is not listed here can be
//! neither read nor written, whatever its permissions say; it must never list anything of the gateway's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};
use serde::{Deserialize, Serialize};

use super::visitor::Visitor;

/// Programs, libraries, settings of the system. No `/run`, no `/var`, no `/home`.
const READ: [&str; 12] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/proc",
    "/sys",
    // Where /etc/resolv.conf leads: files in it are replaced, so it is the directory that counts.
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
];

/// Devices without which hardly a program runs.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty"];

/// The newest rights that are asked for; older kernels keep what they know of them. Not the ninth's, without which nobody
/// connects to a socket in the file system (`ResolveUnix`): databases and name services are reached by such sockets, which
/// are made anew at each of their starts and so would be lost. The gateway's own asks who comes (`admin::key`).
const RIGHTS: ABI = ABI::V5;

/// What is allowed besides the system's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// To read and execute: the application, Node.
    pub(super) read: Vec<PathBuf>,
    /// To execute, wherever they lie: what its command begins with.
    pub(super) programs: Vec<PathBuf>,
    /// To read and write: its own temporary and socket directory.
    pub(super) write: Vec<PathBuf>,
    /// `allow_read`.
    pub(super) allow_read: Vec<PathBuf>,
    /// `allow_write`.
    pub(super) allow_write: Vec<PathBuf>,
    /// The gateway's own: left out of all directories above and around them, without symbolic links.
    pub(super) hidden: Vec<PathBuf>,
}

/// How much of it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sandbox {
    /// Files are restricted by the kernel.
    On,
    /// An early kernel restricts them, but for what it does not know yet.
    Partial,
    /// The configuration does not want it.
    Off,
    /// The kernel can not do it.
    Unsupported,
}

impl Sandbox {
    /// What a wish becomes on this kernel.
    pub(super) fn of(wanted: bool, kernels: Self) -> Self {
        if wanted { kernels } else { Self::Off }
    }
}

/// What this kernel's Landlock is able to, if it has one and uses it.
pub(super) fn supported() -> Sandbox {
    let able = |access: AccessFs| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        ruleset.handle_access(access).and_then(Ruleset::create).is_ok()
    };
    match (able(AccessFs::Execute), able(AccessFs::Truncate)) {
        (false, _) => Sandbox::Unsupported,
        (true, false) => Sandbox::Partial,
        (true, true) => Sandbox::On,
    }
}

impl Rules {
    /// Restrict this process and what it becomes, for good. Where the kernel can not, nothing happens.
    pub(super) fn enforce(&self) -> Result<(), String> {
        for (key, paths) in [("allow_read", &self.allow_read), ("allow_write", &self.allow_write)] {
            for path in paths {
                if let Err(error) = fs::metadata(path) {
                    return Err(format!("{key} names {}: {error}", path.display()));
                }
            }
        }
        let everything = AccessFs::from_all(RIGHTS);
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = everything & !AccessFs::Execute;
        let within_reach = self.within_reach(&Visitor::ourselves());
        let enforced = Ruleset::default()
            .handle_access(everything)
            // It can not signal the gateway either, nor other backends' workers of the same user.
            .and_then(|ruleset| ruleset.scope(Scope::Signal))
            .and_then(Ruleset::create)
            .and_then(|rules| rules.add_rules(path_beneath_rules(self.readable(&within_reach), read)))
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(self.listable(&within_reach), AccessFs::ReadDir))
            })
            .and_then(|rules| {
                rules.add_rules(path_beneath_rules(self.executable(&within_reach), AccessFs::Execute))
            })
            .and_then(|rules| rules.add_rules(path_beneath_rules(self.writable(), write)))
            .and_then(landlock::RulesetCreated::restrict_self);
        enforced.map(|_status| ()).map_err(|error| format!("the sandbox can not be set up: {error}"))
    }

    /// Are the directory's files opened one by one to him, so that he does not see what is put in place of one?
    pub(super) fn lists_one_by_one(&self, directory: &Path, visitor: &Visitor) -> bool {
        holds_hidden(directory, &self.within_reach(visitor))
    }

    /// Is the path opened to him to read, and to write? What is hidden counts as opened: nothing more will open it.
    pub(super) fn opened(&self, path: &Path, visitor: &Visitor) -> (bool, bool) {
        let real = path.ancestors().find_map(|there| {
            let rest = path.strip_prefix(there).ok()?;
            there.canonicalize().ok().map(|there| there.join(rest))
        });
        let real = real.unwrap_or_else(|| path.to_owned());
        let is_below = |opened: &[PathBuf]| opened.iter().any(|opened| real.starts_with(opened));
        let hidden = is_below(&self.hidden);
        let write = hidden || is_below(&self.writable());
        (write || is_below(&self.readable(&self.within_reach(visitor))), write)
    }

    /// What is hidden and permissions alone would show. The rest needs no way around it, which would miss what is put
    /// beside it later.
    fn within_reach(&self, visitor: &Visitor) -> Vec<PathBuf> {
        self.hidden.iter().filter(|path| !visitor.is_kept_out_of(path)).cloned().collect()
    }

    fn to_read(&self) -> impl Iterator<Item = PathBuf> {
        READ.iter().map(PathBuf::from).chain(self.read.iter().chain(&self.allow_read).cloned())
    }

    /// Every path that may be read, with all below it.
    fn readable(&self, hidden: &[PathBuf]) -> Vec<PathBuf> {
        self.to_read().flat_map(|path| around(&path, hidden)).collect()
    }

    /// Directories that may be listed though not all below them may be read.
    fn listable(&self, hidden: &[PathBuf]) -> Vec<PathBuf> {
        self.to_read().flat_map(|path| detours(&path, hidden)).collect()
    }

    /// Every path that may be executed, with all below it: what may be read and not be written.
    fn executable(&self, hidden: &[PathBuf]) -> Vec<PathBuf> {
        let written: Vec<PathBuf> =
            self.write.iter().chain(&self.allow_write).filter_map(|path| path.canonicalize().ok()).collect();
        let kept = [hidden, &written].concat();
        let is_written = |path: &PathBuf| written.iter().any(|written| path.starts_with(written));
        let found = self.to_read().flat_map(|path| around(&path, &kept));
        self.programs.iter().cloned().chain(found.filter(|path| !is_written(path))).collect()
    }

    /// Every path that may be read and written, with all below it. Around everything that is hidden: who may write a
    /// directory may put another file in place of one that he cannot read.
    fn writable(&self) -> Vec<PathBuf> {
        let devices = DEVICES.iter().map(PathBuf::from);
        let paths = self.write.iter().chain(&self.allow_write);
        devices.chain(paths.flat_map(|path| around(path, &self.hidden))).collect()
    }
}

/// Is the path below what every worker may read as a whole, but for `/etc`?
pub(super) fn is_of_the_system(path: &Path) -> bool {
    READ.iter().any(|directory| path.starts_with(directory)) && !path.starts_with("/etc")
}

/// The path itself, or what is around the hidden things below it. A hidden directory does not hide what is named
/// on purpose below it: a worker's own socket directory, a release.
fn around(path: &Path, hidden: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    if hidden.contains(&path) {
        return Vec::new();
    }
    if !holds_hidden(&path, hidden) {
        return vec![path];
    }
    let Ok(entries) = fs::read_dir(&path) else { return Vec::new() };
    let inside = |entry: fs::DirEntry| match entry.file_type() {
        // Where it leads is not below the path, and could lead round in circles.
        Ok(kind) if kind.is_symlink() => {
            let target = entry.path().canonicalize().ok();
            let open = |target: &PathBuf| {
                !holds_hidden(target, hidden) && !hidden.iter().any(|hidden| target.starts_with(hidden))
            };
            target.filter(open).into_iter().collect()
        }
        Ok(_) => around(&entry.path(), hidden),
        Err(_) => Vec::new(),
    };
    entries.flatten().flat_map(inside).collect()
}

/// The directories on the way around hidden files. None around a hidden directory: the right to list goes down into it.
fn detours(path: &Path, hidden: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    if hidden.contains(&path) || !holds_hidden(&path, hidden) {
        return Vec::new();
    }
    let below = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => detours(&entry.path(), hidden),
        _ => Vec::new(),
    };
    let mut found: Vec<_> = fs::read_dir(&path).into_iter().flatten().flatten().flat_map(below).collect();
    if hidden.iter().filter(|hidden| hidden.starts_with(&path)).all(|hidden| hidden.is_file()) {
        found.push(path);
    }
    found
}

fn holds_hidden(path: &Path, hidden: &[PathBuf]) -> bool {
    hidden.iter().any(|hidden| hidden.starts_with(path))
}

/// What a program needs to run: its own directory, and its installation's libraries beside it, as `npm` beside
/// `node`.
pub(super) fn installation(program: &Path) -> Vec<PathBuf> {
    let Some(directory) = program.parent().filter(|directory| belongs_together(directory)) else {
        return vec![program.to_owned()];
    };
    let mut needed = vec![directory.to_owned()];
    if directory.ends_with("bin") {
        let prefix = directory.parent().unwrap_or(directory);
        needed.extend(["lib", "share", "include"].map(|name| prefix.join(name)));
    }
    needed
}

/// What belongs to an application: its directory, every `node_modules` above it (workspaces hoist their packages), and
/// the files that its command names elsewhere, with what lies beside them. A directory that it names is a word like any
/// other.
pub(super) fn application(directory: &Path, command: &[String]) -> Vec<PathBuf> {
    let mut paths = vec![directory.to_owned()];
    let above = directory.ancestors().skip(1).map(|ancestor| ancestor.join("node_modules"));
    paths.extend(above.filter(|modules| modules.is_dir()));
    for word in command.iter().filter(|word| word.contains('/') && !word.starts_with('-')) {
        let Ok(file) = directory.join(word).canonicalize() else { continue };
        if file.starts_with(directory) || !file.is_file() {
            continue;
        }
        let beside = file.parent().filter(|parent| belongs_together(parent)).map(Path::to_owned);
        paths.push(beside.unwrap_or(file));
    }
    paths
}

/// Does what lies in the directory belong to one thing? Not in `/`, `/srv`, `/opt`, nor in somebody's home.
fn belongs_together(directory: &Path) -> bool {
    let homes = directory.parent().is_some_and(|parent| parent == Path::new("/home"));
    directory.components().count() > 2 && !homes
}

#[cfg(test)]
mod tests;
