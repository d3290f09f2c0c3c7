//! Everything that the launcher does to itself before it becomes the worker, decided by the gateway and handed
//! over as one value. No secret is in it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::stat::{Mode, umask},
    unistd::{self, AccessFlags, Gid, Uid},
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use serde::{Deserialize, Serialize};

use super::{
    account::{Identity, name_of},
    environment::{Environment, program},
    generation::Generation,
    rlimits::Rlimits,
    sandbox::{Rules, application, installation},
};

/// One worker's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Confinement {
    /// Where the program starts.
    pub(super) directory: PathBuf,
    /// Its own temporary and socket directory, which it must be able to enter.
    pub(super) quarters: Option<PathBuf>,
    /// Whom it becomes; none: it stays what the gateway is.
    pub(super) identity: Option<Identity>,
    /// Becomes HOME where that is no directory which the program may write to; none: it stays what it is.
    pub(super) spare_home: Option<PathBuf>,
    /// Limits.
    pub(super) limits: Rlimits,
    /// Files; none: as the user may.
    pub(super) rules: Option<Rules>,
}

impl Confinement {
    /// That of a program of this generation, which gets this environment and these quarters.
    pub(super) fn of(
        generation: &Generation,
        command: &[String],
        environment: &Environment,
        quarters: &Path,
        hidden: &[PathBuf],
    ) -> Self {
        let Generation { config, directory, identity, node, .. } = generation;
        let rules = || {
            let found = command.first().and_then(|name| program(environment, directory, name));
            let mut read = found.as_deref().map(installation).unwrap_or_default();
            // `npm start` begins elsewhere, and comes to it.
            read.extend(node.iter().flat_map(|node| installation(&node.program)));
            read.extend(application(directory, command));
            let absolute = |paths: &[PathBuf]| paths.iter().map(|path| directory.join(path)).collect();
            let programs = found.into_iter().chain(node.iter().map(|node| node.program.clone())).collect();
            Rules {
                read,
                programs,
                write: vec![quarters.to_owned()],
                allow_read: absolute(&config.allow_read),
                allow_write: absolute(&config.allow_write),
                hidden: hidden.to_vec(),
            }
        };
        Self {
            directory: directory.clone(),
            quarters: Some(quarters.to_owned()),
            identity: identity.clone(),
            spare_home: None,
            limits: config.limits.clone(),
            rules: config.sandbox.then(rules),
        }
    }

    /// Limits, user, capabilities. What comes later needs none of the rights that end here.
    pub(super) fn give_up_rights(&self) -> Result<(), String> {
        self.limits.set()?;
        // Before the right to do it is gone. Without that right there is nothing that could be gained again either.
        for bit in 0..u64::BITS {
            if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)).is_err() {
                break;
            }
        }
        if let Some(identity) = &self.identity {
            become_other(identity)
                .map_err(|error| format!("cannot become user `{}`: {error}", identity.user))?;
        }
        let nothing = CapabilitySet::empty();
        let sets = CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing };
        // Kernels without ambient capabilities have none to clear.
        let _ = clear_ambient_capability_set();
        set_capabilities(None, sets).map_err(|error| format!("cannot give up capabilities: {error}"))?;
        set_no_new_privs(true).map_err(|error| format!("cannot give up new privileges: {error}"))
    }

    /// The mask, the directory, the sandbox.
    pub(super) fn settle(&self) -> Result<(), String> {
        // The gateway reaches the worker's socket through their common group; nobody else does.
        umask(Mode::from_bits_truncate(if self.identity.is_some() { 0o007 } else { 0o077 }));
        if let Some(quarters) = &self.quarters {
            let all = AccessFlags::X_OK | AccessFlags::W_OK;
            unistd::access(quarters.as_path(), all).map_err(|error| no_entry(quarters, error))?;
        }
        unistd::chdir(self.directory.as_path()).map_err(|error| no_entry(&self.directory, error))?;
        self.rules.as_ref().map_or(Ok(()), Rules::enforce)
    }

    /// What HOME becomes; none: it stays what it is. Only the program's user can say what he may write to.
    pub(super) fn home_instead(&self, home: Option<&OsStr>) -> Option<&Path> {
        let all = AccessFlags::X_OK | AccessFlags::W_OK;
        let is_good = |home: &Path| home.is_dir() && unistd::access(home, all).is_ok();
        self.spare_home.as_deref().filter(|_| !home.is_some_and(|home| is_good(Path::new(home))))
    }
}

fn become_other(identity: &Identity) -> nix::Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    unistd::setgroups(&groups)?;
    let gid = Gid::from_raw(identity.gid);
    unistd::setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(identity.uid);
    unistd::setresuid(uid, uid, uid)
}

fn no_entry(directory: &Path, error: Errno) -> String {
    let user = name_of(unistd::geteuid().as_raw());
    let remedy = match error {
        Errno::EACCES => "; give that user the right to enter it and every directory above it (chmod o+x)",
        _ => "",
    };
    format!("user `{user}` cannot enter {}: {}{remedy}", directory.display(), error.desc())
}
