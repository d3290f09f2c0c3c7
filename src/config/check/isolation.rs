//! Checks of what workers are kept to: whose processes they are, which files they see.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::Group;

use super::{Check, Config};
use crate::{backend::Config as Backend, config::load::Purpose};

/// The account of workers that the shipped sysusers.d(5) snippet makes, and its group.
const SHIPPED: &str = "gateway-app";

/// Groups whose members become root, or read and write what is root's: by their rights (Debian's base-passwd), a socket, a device.
const PRIVILEGED: [&str; 12] = [
    "adm",
    "disk",
    "docker",
    "incus-admin",
    "kmem",
    "libvirt",
    "lxd",
    "root",
    "shadow",
    "staff",
    "sudo",
    "wheel",
];

/// Where the system's programs and settings lie: who writes there becomes root with the next of them that root starts or reads.
const SYSTEM: [&str; 10] =
    ["/etc", "/usr", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/boot", "/dev", "/bin", "/lib", "/sbin"];

impl Check<'_> {
    pub(super) fn isolation(&mut self, name: &str, backend: &Backend) {
        if backend.upstream.is_some() {
            return;
        }
        if let Err(reason) = backend.account_problem()
            && !self.is_made_soon(backend)
        {
            let key = if backend.user.is_some() { "user" } else { "group" };
            self.problem(&["backend", name, key], reason, "name an account of this machine, or its number");
        } else if self.purpose == Purpose::Check
            && self.is_roots()
            && let Some(reason) = backend.refused_to_root()
        {
            let message = format!("`gateway run` as root is refused: {reason}");
            self.warn(
                &["backend", name],
                message,
                "or let another user run the gateway (`User=gateway`): its workers are that user's then",
            );
        }
        self.in_the_operators_group(name, backend);
        self.in_a_privileged_group(name, backend);
        if backend.sandbox {
            self.inside(name, backend);
        }
        self.allowed(name, "allow_read", &backend.allow_read);
        self.allowed(name, "allow_write", &backend.allow_write);
        self.not_too_wide(name, backend);
    }

    /// Is it root who would run the gateway? Whose its state is, he runs it.
    fn is_roots(&self) -> bool {
        !std::fs::metadata(&self.config.state_dir).is_ok_and(|state| state.uid() != 0)
    }

    fn is_made_soon(&self, backend: &Backend) -> bool {
        let mut names = backend.user.iter().chain(&backend.group);
        self.purpose == Purpose::SetUp && names.all(|name| name == SHIPPED)
    }

    /// Whoever breaks into such a worker could give the gateway orders.
    fn in_the_operators_group(&mut self, name: &str, backend: &Backend) {
        let Some(group) = &self.config.admin.group else { return };
        let gid = Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw());
        if gid.is_some_and(|gid| backend.puts_workers_into(gid)) {
            let key = if backend.group.as_ref() == Some(group) { "group" } else { "user" };
            let message = format!(
                "its workers are in `{group}`, whose members may give the gateway orders (`admin.group`)"
            );
            let remedy = "take their user out of that group, or run them as another user";
            self.warn(&["backend", name, key], message, remedy);
        }
    }

    /// Whoever breaks into such a worker is not far from root.
    fn in_a_privileged_group(&mut self, name: &str, backend: &Backend) {
        let Some(group) = backend.worker_group().filter(|group| PRIVILEGED.contains(&group.as_str())) else {
            return;
        };
        let key = if backend.group.is_some() { "group" } else { "user" };
        let message = format!("its workers' group is `{group}`, which opens to them what is root's");
        let remedy = "take a group of their own, such as the user's (leave `group` out)";
        self.warn(&["backend", name, key], message, remedy);
    }

    /// What a worker writes must be the application's alone.
    fn not_too_wide(&mut self, name: &str, backend: &Backend) {
        for (index, path) in backend.allow_write.iter().enumerate().filter(|(_, path)| path.exists()) {
            let configuration = is_within(self.directory, path).then_some("the gateway's configuration");
            if let Some(what) = too_wide(path, self.config).or(configuration) {
                let message = format!("its workers could write {what}");
                let remedy = "name the directories that the application writes to, and nothing above them";
                self.problem(&["backend", name, "allow_write", &index.to_string()], message, remedy);
            }
        }
    }

    /// What is ours and lies in the application's directory: the sandbox has to go around it, unless permissions do.
    fn inside(&mut self, name: &str, backend: &Backend) {
        let Some(directory) = &backend.directory else { return };
        let lies_inside = |path: &Path| is_within(path, directory) && backend.reaches(path);
        let message = |what: &str| {
            format!(
                "{what} lies in the application's directory: the sandbox shows what is beside it file by file, so new and \
                 replaced files there are seen after a reload only"
            )
        };
        // A directory that is left out is the configuration's: a small installation, where all lies together.
        let is_written = self.is_written(&["backend", name, "directory"]);
        let own = [(&*self.config.state_dir, "the state directory"), (self.directory, "the configuration")];
        if let Some((_, what)) = own.iter().find(|(path, _)| is_written && lies_inside(path)) {
            let remedy = "keep it elsewhere, such as in /var/lib/gateway and /etc/gateway";
            self.warn(&["backend", name, "directory"], message(what), remedy);
        } else if let Some(env_file) =
            backend.env_file.as_ref().filter(|path| is_written && lies_inside(path))
        {
            let remedy = format!(
                "keep it elsewhere, such as in /etc/gateway/{name}.env, or let `user` be one that cannot read it"
            );
            self.warn(&["backend", name, "env_file"], message(&env_file.display().to_string()), remedy);
        }
    }

    /// What a sandbox is opened for: things that are there, and not ours.
    fn allowed(&mut self, name: &str, list: &str, paths: &[PathBuf]) {
        for (index, path) in paths.iter().enumerate() {
            let index = index.to_string();
            let key = ["backend", name, list, &index];
            if !path.exists() {
                let message = format!("there is no {}", path.display());
                self.problem(
                    &key,
                    message,
                    "create it first, or take it out: the rule is on the file itself",
                );
            } else if is_within(path, &self.config.state_dir) {
                let message = "this is the gateway's own state, which no worker may see";
                self.problem(&key, message, "keep the application's files elsewhere");
            }
        }
    }
}

/// What nobody but root and the gateway may write, if that lies in it or is it.
pub(crate) fn too_wide(path: &Path, config: &Config) -> Option<&'static str> {
    let own = [
        (config.state_dir.as_path(), "the gateway's state"),
        (config.runtime_dir.as_path(), "the gateway's runtime directory"),
    ];
    let system = SYSTEM.iter().map(|path| (Path::new(*path), *path));
    let mut all = system.chain(own);
    all.find(|(inner, _)| !inner.as_os_str().is_empty() && is_within(inner, path)).map(|(_, what)| what)
}

fn is_within(path: &Path, directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(directory))
}
