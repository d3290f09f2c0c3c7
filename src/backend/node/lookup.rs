//! Where versions are: the gateway's own, nvm's, the one that PATH finds. What the workers' user could not run is not
//! there. It starts nothing and changes nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, Uid, User, access};
use serde::{Deserialize, Serialize};

use super::{
    super::account::Identity,
    project,
    spec::Spec,
    store::{Installed, Store, versions_in},
};

/// Aliases of nvm that lead to one another; more lead round in circles.
const ALIASES_MAX: usize = 8;

/// Where a Node came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// `node.path` names it.
    #[serde(rename = "node.path")]
    Named,
    /// `gateway node install` brought it.
    #[serde(rename = "gateway")]
    Gateway,
    /// nvm did, for somebody on this machine.
    #[serde(rename = "nvm")]
    Nvm,
    /// PATH leads to it.
    #[serde(rename = "PATH")]
    System,
}

impl Source {
    /// As people read it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Named => "node.path",
            Self::Gateway => "gateway",
            Self::Nvm => "nvm",
            Self::System => "PATH",
        }
    }
}

/// Every version that a user may run, without the one in PATH: the gateway's own first, then nvm's by the order of their
/// places, each newest first.
pub(super) fn found(
    store: &Store,
    nvms: &[PathBuf],
    identity: Option<&Identity>,
) -> Vec<(Source, Installed)> {
    let own = store.installed().into_iter().map(|one| (Source::Gateway, one));
    let of_nvm = |nvm: &PathBuf| versions_in(&nvm.join("versions/node"));
    let nvm = nvms.iter().flat_map(of_nvm).map(|one| (Source::Nvm, one));
    // Ours are opened for whoever runs them.
    let runs = |(source, one): &(Source, Installed)| {
        *source == Source::Gateway || may_run(&one.prefix.join("bin/node"), identity)
    };
    own.chain(nvm).filter(runs).collect()
}

/// Every version that we ourselves may run.
pub(crate) fn here(store: &Store, nvms: &[PathBuf]) -> Vec<(Source, Installed)> {
    found(store, nvms, None)
}

/// What our own environment says about the places of nvm.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// `NVM_DIR`.
    pub(crate) nvm_dir: Option<PathBuf>,
    /// `HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `SUDO_USER`.
    pub(crate) sudo_user: Option<String>,
}

impl Hints {
    /// As it is.
    pub(crate) fn read() -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        Self { nvm_dir: path("NVM_DIR"), home: path("HOME"), sudo_user: std::env::var("SUDO_USER").ok() }
    }

    /// Where nvm is looked for: where it is said to be, and in the homes of the workers' users, of ourselves, of root, and of
    /// who became root by sudo.
    pub(crate) fn nvms(self, workers: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
        let root = User::from_uid(Uid::from_raw(0)).ok().flatten().map(|user| user.dir);
        let sudo = self.sudo_user.and_then(|name| User::from_name(&name).ok().flatten()).map(|user| user.dir);
        let homes = workers.into_iter().chain([self.home, root, sudo].into_iter().flatten());
        let said = self.nvm_dir.filter(|directory| directory.is_absolute());
        let mut nvms: Vec<PathBuf> = Vec::new();
        for nvm in said.into_iter().chain(homes.map(|home| home.join(".nvm"))) {
            if !nvms.contains(&nvm) {
                nvms.push(nvm);
            }
        }
        nvms
    }
}

/// What an nvm's own user gets without a word (`nvm alias default`), if that says a version.
pub(super) fn default_of(nvm: &Path) -> Option<Spec> {
    let mut name = "default".to_owned();
    for _ in 0..ALIASES_MAX {
        let text = project::text(&nvm.join("alias"), &name).ok()??;
        let said = text.lines().next().unwrap_or_default().trim();
        if let Ok(spec) = said.parse() {
            return Some(spec);
        }
        // Another alias, which lies beside this one and nowhere else.
        name = Some(said).filter(|said| !said.contains('/'))?.to_owned();
    }
    None
}

/// The program that `node.path` means: itself, or what lies in that directory as installations have it.
pub(crate) fn program_at(path: &Path) -> Result<PathBuf, String> {
    let candidates = if path.is_dir() {
        vec![path.join("bin/node"), path.join("node")]
    } else if path.file_name().is_some_and(|name| name == "node") {
        vec![path.to_owned()]
    } else {
        return Err(format!("{} is neither a program named `node` nor a directory with one", path.display()));
    };
    let program = candidates.into_iter().find(|program| program.is_file());
    let program = program.ok_or_else(|| format!("there is no Node in {}", path.display()))?;
    // The directory behind its links, so that a link that moves on moves no running generation.
    let directory = program.parent().and_then(|directory| directory.canonicalize().ok());
    Ok(directory.map_or(program.clone(), |directory| directory.join("node")))
}

/// May a user start this program who is nobody here, and in no group?
pub(crate) fn everybody_runs(program: &Path) -> bool {
    // The last ids that there are: the number after them means none.
    let id = u32::MAX - 1;
    let nobody = Identity { user: String::new(), uid: id, gid: id, groups: vec![id], home: PathBuf::new() };
    may_run(program, Some(&nobody))
}

/// May that user start this program? By the modes alone: what an access list opens does not count.
pub(super) fn may_run(program: &Path, identity: Option<&Identity>) -> bool {
    let Some(identity) = identity else { return access(program, AccessFlags::X_OK).is_ok() };
    let Ok(program) = program.canonicalize() else { return false };
    program.ancestors().all(|path| {
        fs::metadata(path).is_ok_and(|metadata| {
            let shift = match (metadata.uid() == identity.uid, identity.groups.contains(&metadata.gid())) {
                (true, _) => 6,
                (false, true) => 3,
                (false, false) => 0,
            };
            identity.uid == 0 || (metadata.mode() >> shift) & 0o1 == 0o1
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{super::store::tests::stub, *};

    fn stranger() -> Identity {
        Identity { user: "61234".into(), uid: 61234, gid: 61234, groups: vec![61234], home: "/".into() }
    }

    #[test]
    fn own_versions_come_before_nvms_and_what_the_user_cannot_run_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::below(&dir.path().join("state"));
        stub(&store.directory().join("v20.1.0"));
        let nvms = ["open", "closed"].map(|name| dir.path().join(name));
        for (nvm, version) in nvms.iter().zip(["v22.1.0", "v24.1.0"]) {
            stub(&nvm.join("versions/node").join(version));
        }
        fs::set_permissions(&nvms[1], fs::Permissions::from_mode(0o700)).unwrap();
        let versions = |identity| -> Vec<(Source, String)> {
            let found = found(&store, &nvms, identity).into_iter();
            found.map(|(source, one)| (source, one.version.to_string())).collect()
        };
        let all = [(Source::Gateway, "20.1.0"), (Source::Nvm, "22.1.0"), (Source::Nvm, "24.1.0")];
        let all = all.map(|(source, version)| (source, version.to_owned()));
        assert_eq!(versions(None), all);
        assert_eq!(versions(Some(&stranger())), all[..2]);
    }

    #[test]
    fn a_path_is_a_node_or_the_directory_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        stub(&top.join("node-20"));
        std::os::unix::fs::symlink("node-20", top.join("current")).unwrap();
        let program = top.join("node-20/bin/node");
        for path in ["node-20", "node-20/bin", "node-20/bin/node", "current", "current/bin/node"] {
            assert_eq!(program_at(&top.join(path)), Ok(program.clone()), "{path}");
        }
        for path in ["gone", "node-20/bin/gone", "."] {
            assert!(program_at(&top.join(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn each_nvm_is_looked_at_once_and_the_one_that_is_named_first() {
        let hints = |nvm_dir: Option<&str>| {
            let (nvm_dir, sudo_user) = (nvm_dir.map(PathBuf::from), Some("root".to_owned()));
            Hints { nvm_dir, home: Some("/root".into()), sudo_user }
        };
        let worker = || [PathBuf::from("/srv/app")];
        let usual = ["/srv/app/.nvm", "/root/.nvm"].map(PathBuf::from);
        assert_eq!(hints(None).nvms(worker()), usual);
        assert_eq!(hints(Some("relative")).nvms(worker()), usual);
        assert_eq!(hints(Some("/root/.nvm")).nvms(worker()), [usual[1].clone(), usual[0].clone()]);
        assert_eq!(hints(Some("/opt/nvm")).nvms([]), ["/opt/nvm".into(), usual[1].clone()]);
    }

    #[test]
    fn the_default_of_an_nvm_is_where_its_aliases_lead() {
        let dir = tempfile::tempdir().unwrap();
        let alias = |name: &str, text: &str| {
            fs::create_dir_all(dir.path().join("alias")).unwrap();
            fs::write(dir.path().join("alias").join(name), text).unwrap();
        };
        let default = || default_of(dir.path()).map(|spec| spec.to_string());
        assert_eq!(default(), None);
        for said in ["22", "v22.11.0", "lts/*", "lts/iron", "node", "stable"] {
            alias("default", &format!("{said}\n"));
            assert_eq!(default().as_deref(), Some(said));
        }
        alias("work", "20\n");
        alias("default", "work\n");
        assert_eq!(default().as_deref(), Some("20"));
        for lost in ["default", "gone", "../work", "system", ""] {
            alias("default", lost);
            assert_eq!(default(), None, "{lost:?}");
        }
    }
}
