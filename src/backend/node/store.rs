//! The installed versions: `STATE/node/vX.Y.Z`, each whole, each the official layout. What is not whole begins with a dot
//! and is swept away by whoever installs next. It must never hold anything that is not everybody's to read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::spec::{lts_line, version};

/// The directory's name in the state directory.
const DIRECTORY: &str = "node";

/// What an installation says about itself, in its own directory.
const RECORD: &str = ".gateway.json";

/// The link to what backends run whose configuration names no version.
const DEFAULT: &str = "default";

/// The links of single backends.
const CHOICES: &str = "backends";

/// Begins what is not whole yet, or not any more.
const PART: &str = ".part-";

/// Versions in one directory that are looked at.
const ENTRIES_MAX: usize = 1000;

/// The directory of the versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    state_dir: PathBuf,
    directory: PathBuf,
}

/// One installed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) version: Version,
    /// The name of its line, if that has long-term support.
    pub(crate) lts: Option<String>,
    /// What holds `bin/node`.
    pub(crate) prefix: PathBuf,
}

/// What is known of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: String,
    pub(super) lts: Option<String>,
    /// Where it came from, and what it was checked against.
    pub(super) from: String,
    pub(super) sha256: String,
}

/// The right to change what is installed; given back on drop.
#[derive(Debug)]
pub(crate) struct StoreLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Store {
    /// The one of this state directory.
    pub(crate) fn below(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), directory: state_dir.join(DIRECTORY) }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every version that is whole, newest first.
    pub(crate) fn installed(&self) -> Vec<Installed> {
        versions_in(&self.directory)
    }

    /// Where a version is, or will be.
    pub(crate) fn prefix(&self, version: &Version) -> PathBuf {
        self.directory.join(format!("v{version}"))
    }

    /// A directory for what is not whole yet.
    pub(super) fn part(&self, version: &Version) -> PathBuf {
        self.directory.join(format!("{PART}v{version}"))
    }

    /// The right to change it: at once, or none if somebody else has it.
    pub(crate) fn try_lock(&self) -> io::Result<Option<StoreLock>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir)?;
        DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)?;
        // Whatever the mask says: versions are run by other users.
        fs::set_permissions(&self.directory, Permissions::from_mode(0o755))?;
        let path = self.directory.join(".lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(StoreLock(file))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Remove what was left by somebody who was killed. The lock says that nobody works on it.
    pub(crate) fn sweep(&self, _lock: &StoreLock) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(PART.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Take a version away, at once for whoever looks; links to it go with it. Which of them did?
    pub(crate) fn remove(&self, version: &Version, lock: &StoreLock) -> io::Result<Vec<String>> {
        let (prefix, part) = (self.prefix(version), self.part(version));
        let links: Vec<_> = self.choices().into_iter().filter(|(_, target)| *target == prefix).collect();
        for (name, _) in &links {
            fs::remove_file(self.link(name.as_deref()))?;
        }
        fs::rename(prefix, part)?;
        self.sweep(lock)?;
        Ok(links.into_iter().map(|(name, _)| name.unwrap_or_else(|| DEFAULT.to_owned())).collect())
    }

    /// What was chosen for a backend, or for all that nothing was chosen for: the directory that holds `bin/node`.
    pub(crate) fn choice(&self, backend: Option<&str>) -> Option<PathBuf> {
        fs::read_link(self.link(backend)).ok()
    }

    /// Choose it, at once for whoever looks.
    pub(crate) fn choose(&self, backend: Option<&str>, prefix: &Path) -> io::Result<()> {
        let link = self.link(backend);
        if let Some(parent) = link.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let mut beside = link.clone().into_os_string();
        beside.push(".new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(prefix, &beside)?;
        fs::rename(&beside, link)
    }

    fn link(&self, backend: Option<&str>) -> PathBuf {
        match backend {
            Some(backend) => self.directory.join(CHOICES).join(backend),
            None => self.directory.join(DEFAULT),
        }
    }

    /// Every choice: whose (none: the default), and what it leads to.
    pub(crate) fn choices(&self) -> Vec<(Option<String>, PathBuf)> {
        let own =
            fs::read_dir(self.directory.join(CHOICES)).into_iter().flatten().flatten().take(ENTRIES_MAX);
        let names = own.filter_map(|entry| entry.file_name().into_string().ok().map(Some));
        let all = std::iter::once(None).chain(names);
        all.filter_map(|name| Some((name.clone(), self.choice(name.as_deref())?))).collect()
    }

    /// Let workers of other users pass through the state directory to the versions. They see nothing on the way: what
    /// lies beside is made private first, in case somebody copied a file in carelessly.
    pub(crate) fn open_way(&self) -> io::Result<()> {
        let pass = 0o011;
        for entry in fs::read_dir(&self.state_dir)? {
            let entry = entry?;
            // What has just gone shows nothing to anybody.
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let mode = metadata.permissions().mode() & 0o7777;
            if path != self.directory && !metadata.is_symlink() && mode & 0o007 != 0 {
                fs::set_permissions(&path, Permissions::from_mode(mode & !0o007)).map_err(|error| {
                    io::Error::other(format!(
                        "others may read {}, which must not be: {error}",
                        path.display()
                    ))
                })?;
            }
        }
        let mode = fs::metadata(&self.state_dir)?.permissions().mode() & 0o7777;
        if mode & pass != pass {
            fs::set_permissions(&self.state_dir, Permissions::from_mode(mode | pass))?;
        }
        Ok(())
    }
}

/// Every version in a directory of directories named `vX.Y.Z`, as this room and nvm have it, newest first.
pub(super) fn versions_in(directory: &Path) -> Vec<Installed> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.starts_with('v').then(|| version(&name)).flatten()?;
        installed(version, entry.path())
    });
    let mut found: Vec<Installed> = found.collect();
    found.sort_by(|a, b| b.version.cmp(&a.version));
    found
}

/// The version at that place, if there is one.
pub(super) fn installed(version: Version, prefix: PathBuf) -> Option<Installed> {
    prefix.join("bin/node").is_file().then_some(())?;
    let record: Option<Record> =
        fs::read(prefix.join(RECORD)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let lts = match record {
        Some(record) => record.lts,
        None => lts_line(&version).map(str::to_owned),
    };
    Some(Installed { version, lts, prefix })
}

impl Record {
    /// Into the installation that it is about.
    pub(super) fn write(&self, prefix: &Path) -> io::Result<()> {
        let path = prefix.join(RECORD);
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        fs::set_permissions(path, Permissions::from_mode(0o644))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Something that stands where Node would.
    pub(in crate::backend::node) fn stub(prefix: &Path) {
        fs::create_dir_all(prefix.join("bin")).unwrap();
        fs::write(prefix.join("bin/node"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(prefix.join("bin/node"), Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn only_whole_versions_are_installed_and_the_newest_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::below(dir.path());
        assert_eq!(store.installed(), []);
        for name in ["v20.9.0", "v22.1.0", "v9.0.0", ".part-v24.0.0", "20.1.0", "vx"] {
            stub(&store.directory().join(name));
        }
        fs::create_dir(store.directory().join("v23.0.0")).unwrap();
        let names: Vec<_> = store.installed().iter().map(|one| one.version.to_string()).collect();
        assert_eq!(names, ["22.1.0", "20.9.0", "9.0.0"]);
        assert_eq!(store.installed()[1].lts.as_deref(), Some("Iron"));
        let record = Record {
            version: "22.1.0".into(),
            lts: Some("Own".into()),
            from: "x".into(),
            sha256: "0".into(),
        };
        record.write(&store.prefix(&Version::new(22, 1, 0))).unwrap();
        assert_eq!(store.installed()[0].lts.as_deref(), Some("Own"));
    }

    #[test]
    fn what_was_left_is_swept_and_a_removed_version_takes_its_links_along() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::below(dir.path());
        let lock = store.try_lock().unwrap().unwrap();
        assert!(store.try_lock().unwrap().is_none(), "two have the lock");
        let (old, new) = (Version::new(20, 9, 0), Version::new(22, 1, 0));
        for version in [&old, &new] {
            stub(&store.prefix(version));
        }
        stub(&store.part(&Version::new(24, 0, 0)));
        store.choose(None, &store.prefix(&old)).unwrap();
        store.choose(None, &store.prefix(&new)).unwrap();
        store.choose(Some("api"), &store.prefix(&old)).unwrap();
        assert_eq!(store.choice(None), Some(store.prefix(&new)));
        assert_eq!(store.remove(&old, &lock).unwrap(), ["api"]);
        assert_eq!((store.choice(Some("api")), store.choices().len()), (None, 1));
        assert_eq!(store.installed().len(), 1);
        assert!(!store.part(&Version::new(24, 0, 0)).exists() && !store.part(&old).exists());
        drop(lock);
        assert!(store.try_lock().unwrap().is_some());
    }

    #[test]
    fn the_way_to_the_versions_shows_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::below(&dir.path().join("state"));
        drop(store.try_lock().unwrap());
        let state = dir.path().join("state");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        fs::write(state.join("careless.db"), "x").unwrap();
        fs::set_permissions(state.join("careless.db"), Permissions::from_mode(0o644)).unwrap();
        store.open_way().unwrap();
        assert_eq!(
            (mode(&state), mode(store.directory()), mode(&state.join("careless.db"))),
            (0o711, 0o755, 0o640)
        );
    }
}
