//! Installing one version: downloaded within limits, checked against its checksum before anything else looks at it,
//! unpacked beside, started once, and only then put in its place with one rename. Killed at any point it leaves nothing
//! that could be taken for an installation.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use semver::Version;

use super::{
    super::{config::NodeConfig, deploy::package},
    mirror::{Mirror, Release},
    problem::NodeProblem,
    spec::Spec,
    store::{Installed, Record, Store, StoreLock, installed},
};

/// A release has some six thousand files.
const FILES_MAX: u64 = 50_000;

/// How often somebody else's work is looked at.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// What is being done, for whoever watches.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// Somebody else installs; waited for.
    Waiting,
    /// That version is meant, and comes from there.
    Found { version: &'a Version, mirror: &'a str },
    /// So much of it is here.
    Loading { bytes: u64, of: Option<u64> },
    /// It is what the checksum says.
    Checked,
    /// It lies beside its place.
    Unpacked { files: u64 },
}

/// What there is now.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) installed: Installed,
    /// It was not there before.
    pub(crate) fresh: bool,
    /// Why the mirror could not say whether there is a newer one.
    pub(crate) unasked: Option<NodeProblem>,
}

/// What an installation needs besides the mirror.
pub(crate) struct Work<'a> {
    pub(crate) store: &'a Store,
    pub(crate) config: &'a NodeConfig,
    /// Starts a Node once; what it says is its version.
    pub(crate) prove: &'a dyn Fn(&Path) -> Result<String, String>,
    pub(crate) tell: &'a mut dyn FnMut(Step<'_>),
}

impl Work<'_> {
    /// Have the newest version that is meant. Not cancel safe only in that what is half done is left for the next
    /// installation to sweep away.
    pub(crate) async fn install(&mut self, spec: &Spec) -> Result<Outcome, NodeProblem> {
        let lock = self.lock().await?;
        self.store.sweep(&lock).map_err(|source| self.disk(source))?;
        if let Some(version) = spec.exact()
            && let Some(installed) = installed(version.clone(), self.store.prefix(&version))
        {
            return Ok(Outcome { installed, fresh: false, unasked: None });
        }
        let mirror = Mirror::new(self.config)?;
        let release = match mirror.pick(spec).await {
            Ok(release) => release,
            Err(problem) => {
                // Offline, the newest that is there is good enough.
                let there = self.store.installed().into_iter();
                let mut fits = there.filter(|one| spec.takes(&one.version, one.lts.as_deref()));
                return match fits.next() {
                    Some(installed) => Ok(Outcome { installed, fresh: false, unasked: Some(problem) }),
                    None => Err(problem),
                };
            }
        };
        if let Some(installed) = installed(release.version.clone(), self.store.prefix(&release.version)) {
            return Ok(Outcome { installed, fresh: false, unasked: None });
        }
        let installed = self.bring(&mirror, release, &lock).await?;
        Ok(Outcome { installed, fresh: true, unasked: None })
    }

    fn disk(&self, source: io::Error) -> NodeProblem {
        NodeProblem::Disk { path: self.store.directory().to_owned(), source }
    }

    async fn lock(&mut self) -> Result<StoreLock, NodeProblem> {
        let give_up = tokio::time::Instant::now() + self.config.download_timeout;
        let mut told = false;
        loop {
            match self.store.try_lock().map_err(|source| self.disk(source))? {
                Some(lock) => return Ok(lock),
                None if tokio::time::Instant::now() > give_up => {
                    return Err(NodeProblem::Busy(self.store.directory().to_owned()));
                }
                None if !told => (self.tell)(Step::Waiting),
                None => {}
            }
            told = true;
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    async fn bring(
        &mut self,
        mirror: &Mirror,
        release: Release,
        lock: &StoreLock,
    ) -> Result<Installed, NodeProblem> {
        let (version, from) = (&release.version, mirror.address());
        (self.tell)(Step::Found { version, mirror: &from });
        let stem = mirror.archive_stem(version);
        let file = format!("{stem}.tar.gz");
        let should = mirror.checksum(version, &file).await?;
        let part = self.store.part(version);
        DirBuilder::new().mode(0o700).create(&part).map_err(|source| self.disk(source))?;
        let archive = part.join("archive");
        let is = self.load(mirror, version, &file, &archive).await;
        let kept = is.and_then(|is| {
            if is != should {
                return Err(NodeProblem::Checksum { file, is, should: should.clone() });
            }
            (self.tell)(Step::Checked);
            let record =
                Record { version: version.to_string(), lts: release.lts.clone(), from, sha256: should };
            self.unpack(version, &part, &stem, &record)
        });
        let settled = kept.and_then(|whole| self.settle(version, &whole));
        // Whatever became of it: nothing of it stays here.
        self.store.sweep(lock).map_err(|source| self.disk(source))?;
        settled?;
        let prefix = self.store.prefix(version);
        installed(release.version.clone(), prefix.clone())
            .ok_or_else(|| NodeProblem::Disk { path: prefix, source: io::ErrorKind::NotFound.into() })
    }

    /// Into a file; its SHA-256.
    async fn load(
        &mut self,
        mirror: &Mirror,
        version: &Version,
        file: &str,
        to: &Path,
    ) -> Result<String, NodeProblem> {
        let max = self.config.archive_bytes_max;
        let mut download = mirror.archive(version, file).await?;
        let too_large =
            |url: &str| NodeProblem::TooLarge { url: url.to_owned(), max, key: "node.archive_bytes_max" };
        if download.bytes.is_some_and(|bytes| bytes > max) {
            return Err(too_large(&download.url));
        }
        let mut out = File::create(to).map_err(|source| self.disk(source))?;
        let mut sum = Context::new(&SHA256);
        while let Some(piece) = download.next().await? {
            if download.read > max {
                return Err(too_large(&download.url));
            }
            sum.update(&piece);
            out.write_all(&piece).map_err(|source| self.disk(source))?;
            (self.tell)(Step::Loading { bytes: download.read, of: download.bytes });
        }
        Ok(sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Beside its place, and proven there.
    fn unpack(
        &mut self,
        version: &Version,
        part: &Path,
        stem: &str,
        record: &Record,
    ) -> Result<PathBuf, NodeProblem> {
        let refused = |reason: String| NodeProblem::Archive { version: format!("v{version}"), reason };
        let into = part.join("unpacked");
        fs::create_dir(&into).map_err(|source| self.disk(source))?;
        let bounds = package::Bounds {
            bytes_max: self.config.unpacked_bytes_max,
            files_max: FILES_MAX,
            bytes_key: "node.unpacked_bytes_max",
            files_key: "a fixed limit",
        };
        let files = package::unpack(&part.join("archive"), &into, bounds).map_err(refused)?;
        let whole = into.join(stem);
        if !whole.join("bin/node").is_file() {
            return Err(refused(format!("there is no {stem}/bin/node in it")));
        }
        record.write(&whole).and_then(|()| open_to_all(&whole)).map_err(|source| self.disk(source))?;
        (self.tell)(Step::Unpacked { files });
        let says = (self.prove)(&whole.join("bin/node"))
            .map_err(|reason| NodeProblem::DoesNotRun { version: format!("v{version}"), reason })?;
        if says != format!("v{version}") {
            return Err(refused(format!("the Node in it says that it is {says}")));
        }
        Ok(whole)
    }

    /// Put it in its place: first everything onto the disk, then the name.
    fn settle(&self, version: &Version, whole: &Path) -> Result<(), NodeProblem> {
        let prefix = self.store.prefix(version);
        let settled = || -> io::Result<()> {
            rustix::fs::syncfs(File::open(whole)?)?;
            if prefix.exists() {
                // What stands there is no installation: somebody took a part of it away.
                fs::rename(&prefix, self.store.part(version).join("broken"))?;
            }
            fs::rename(whole, &prefix)?;
            File::open(self.store.directory())?.sync_all()
        };
        settled().map_err(|source| NodeProblem::Disk { path: prefix.clone(), source })
    }
}

/// Everybody may read it and run what can be run; nobody but us may change it.
fn open_to_all(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = if metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    if metadata.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| open_to_all(&entry?.path()))?;
    }
    Ok(())
}
