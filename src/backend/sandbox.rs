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

/// The newest rights that are asked for; older kernels keep what they know of them.
const RIGHTS: ABI = ABI::V5;

/// What is allowed besides the system's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// To read and execute: the application, Node.
    pub(super) read: Vec<PathBuf>,
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
        let read = AccessFs::from_read(RIGHTS);
        // Nothing that a worker has written can be executed by it.
        let write = everything & !AccessFs::Execute;
        let enforced = Ruleset::default()
            .handle_access(everything)
            // It can not signal the gateway either, nor other backends' workers of the same user.
            .and_then(|ruleset| ruleset.scope(Scope::Signal))
            .and_then(Ruleset::create)
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(self.readable(), read)))
            .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(self.writable(), write)))
            .and_then(landlock::RulesetCreated::restrict_self);
        enforced.map(|_status| ()).map_err(|error| format!("the sandbox can not be set up: {error}"))
    }

    /// Every path that may be read and executed, with all below it.
    fn readable(&self) -> Vec<PathBuf> {
        let system = READ.iter().map(PathBuf::from);
        let paths = system.chain(self.read.iter().chain(&self.allow_read).cloned());
        paths.flat_map(|path| around(&path, &self.hidden)).collect()
    }

    /// Every path that may be read and written, with all below it.
    fn writable(&self) -> Vec<PathBuf> {
        let devices = DEVICES.iter().map(PathBuf::from);
        let paths = self.write.iter().chain(&self.allow_write);
        devices.chain(paths.flat_map(|path| around(path, &self.hidden))).collect()
    }
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

fn holds_hidden(path: &Path, hidden: &[PathBuf]) -> bool {
    hidden.iter().any(|hidden| hidden.starts_with(path))
}

/// What a program needs to run: its own directory, and its installation's libraries beside it, as `npm` beside
/// `node`.
pub(super) fn installation(program: &Path) -> Vec<PathBuf> {
    let Some(directory) = program.parent() else { return Vec::new() };
    if directory.parent().is_none() {
        // Beside it is the whole machine.
        return vec![program.to_owned()];
    }
    let mut needed = vec![directory.to_owned()];
    if directory.ends_with("bin") {
        let prefix = directory.parent().unwrap_or(directory);
        needed.extend(["lib", "share", "include"].map(|name| prefix.join(name)));
    }
    needed
}

/// What belongs to an application: its directory, every `node_modules` above it (workspaces hoist their packages),
/// and the directories of files that its command names.
pub(super) fn application(directory: &Path, command: &[String]) -> Vec<PathBuf> {
    let mut paths = vec![directory.to_owned()];
    let above = directory.ancestors().skip(1).map(|ancestor| ancestor.join("node_modules"));
    paths.extend(above.filter(|modules| modules.is_dir()));
    for word in command.iter().filter(|word| word.contains('/') && !word.starts_with('-')) {
        let Ok(file) = directory.join(word).canonicalize() else { continue };
        let parent = file.parent().filter(|parent| parent.parent().is_some());
        match parent {
            _ if file.starts_with(directory) => {}
            Some(parent) if file.is_file() => paths.push(parent.to_owned()),
            _ => paths.push(file),
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_what_was_asked_for_where_the_kernel_can() {
        for kernels in [Sandbox::On, Sandbox::Partial, Sandbox::Unsupported] {
            assert_eq!(Sandbox::of(true, kernels), kernels);
            assert_eq!(Sandbox::of(false, kernels), Sandbox::Off);
        }
    }

    #[test]
    fn hidden_things_are_left_out_and_no_link_leads_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for name in ["app/src", "app/state/tls", "app/state/run/own", "elsewhere"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        for (link, target) in [("way-in", "state/tls"), ("circle", "."), ("out", "../elsewhere")] {
            std::os::unix::fs::symlink(target, top.join("app").join(link)).unwrap();
        }
        fs::write(top.join("app/package.json"), "{}").unwrap();
        let hidden = [top.join("app/state")];
        let check = |path: &str, expected: &[&str]| {
            let mut got = around(&top.join(path), &hidden);
            got.sort();
            assert_eq!(got, expected.iter().map(|name| top.join(name)).collect::<Vec<_>>(), "{path}");
        };
        check("app", &["app/package.json", "app/src", "elsewhere"]);
        check("app/src", &["app/src"]);
        check("app/state", &[]);
        check("app/state/run/own", &["app/state/run/own"]);
        check("gone", &[]);
    }

    #[test]
    fn no_rule_leads_to_run_home_or_the_root() {
        let rules = Rules::default();
        for path in rules.readable().iter().chain(&rules.writable()) {
            let names = ["/usr", "/lib", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run/"];
            assert!(names.iter().any(|name| path.to_string_lossy().starts_with(name)), "{}", path.display());
            assert_ne!(path, Path::new("/dev"));
        }
    }

    #[test]
    fn an_installation_is_its_program_and_the_libraries_beside_it() {
        let paths = installation(Path::new("/home/me/bin/node"));
        assert!(!paths.contains(&PathBuf::from("/home/me")) && paths.contains(&"/home/me/lib".into()));
        assert_eq!(installation(Path::new("/opt/tool/run")), [PathBuf::from("/opt/tool")]);
        assert_eq!(installation(Path::new("/node")), [PathBuf::from("/node")], "not the whole machine");
    }

    #[test]
    fn an_application_is_its_directory_hoisted_packages_and_the_script_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for name in ["repo/node_modules", "repo/apps/api", "tools"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        fs::write(top.join("tools/start.js"), "").unwrap();
        let script = top.join("tools/start.js").display().to_string();
        let command = ["node".to_owned(), "--import=/x/y".to_owned(), "./server.js".to_owned(), script];
        let got = application(&top.join("repo/apps/api"), &command);
        assert_eq!(got, ["repo/apps/api", "repo/node_modules", "tools"].map(|name| top.join(name)));
    }
}
