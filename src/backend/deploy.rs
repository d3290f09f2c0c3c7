//! Deploying a release: unpacked beside the others, installed, proven by a rolling reload, and only then the one
//! that the link points to. Whatever fails on the way leaves everything as it was. It must never run twice at a
//! time for one backend.

mod install;
pub(super) mod package;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Backend, BackendError, Config,
    account::Identity,
    child::{Launcher, is_taken},
    generation::Generation,
    process::Stage,
    releases::{self, Making},
    removal::Remover,
    status::DeployStatus,
    supervisor::{Carried, Order, Supervisor},
};

/// What a deploy did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deployed {
    /// The release's directory.
    pub(crate) release: PathBuf,
    /// How many files and directories were in the package.
    pub(crate) files: u64,
    /// The generation that serves it.
    pub(crate) generation: u64,
}

/// Who deploys to one backend now.
#[derive(Debug, Default)]
pub(super) struct Deploys(Mutex<Option<DeployStatus>>);

impl Deploys {
    fn now(&self) -> MutexGuard<'_, Option<DeployStatus>> {
        // Every change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deploy under way.
    pub(super) fn status(&self) -> Option<DeployStatus> {
        self.now().clone()
    }

    /// The right to deploy, unless somebody else has it.
    pub(super) fn begin(self: &Arc<Self>, backend: &str, by: String) -> Result<Deploy, BackendError> {
        let mut now = self.now();
        if let Some(held) = now.as_ref() {
            let (backend, held) = (backend.to_owned(), Box::new(held.clone()));
            return Err(BackendError::DeployHeld { backend, held });
        }
        *now = Some(DeployStatus { by, since: Timestamp::now(), step: "receive".to_owned() });
        Ok(Deploy(Arc::clone(self)))
    }
}

/// The right to deploy to one backend; given back on drop.
#[derive(Debug)]
pub(crate) struct Deploy(Arc<Deploys>);

impl Deploy {
    fn step(&self, step: &str) {
        if let Some(status) = self.0.now().as_mut() {
            step.clone_into(&mut status.step);
        }
    }
}

impl Drop for Deploy {
    fn drop(&mut self) {
        *self.0.now() = None;
    }
}

impl Backend {
    /// The right to deploy, in somebody's name.
    pub(crate) fn begin_deploy(&self, by: String) -> Result<Deploy, BackendError> {
        self.supervisor()?;
        self.deploys.begin(self.roster.backend(), by)
    }

    /// Unpack a package beside the other releases, install it, reload to it, and let the directory's link point to
    /// it. Dropped before the reload it leaves nothing behind.
    pub(crate) async fn deploy(&self, deploy: Deploy, package: &Path) -> Result<Deployed, BackendError> {
        self.supervisor()?.deploy(deploy, package).await
    }

    /// The bytes that a package may have.
    pub(crate) fn package_bytes_max(&self) -> Result<u64, BackendError> {
        Ok(self.supervisor()?.standing().config.release_bytes_max)
    }
}

/// A directory that goes again unless it is kept.
#[derive(Debug)]
struct Unfinished {
    path: Option<PathBuf>,
    /// Stands beside it until it is finished or gone.
    making: Option<Making>,
    remover: Remover,
}

impl Unfinished {
    fn of(path: PathBuf, remover: &Remover) -> Self {
        Self { path: Some(path), making: None, remover: remover.clone() }
    }

    /// It is finished: whoever finds it may take it for a release.
    fn finish(&mut self) -> io::Result<()> {
        self.making.take().map_or(Ok(()), Making::end)
    }

    /// It is somebody's from here on.
    fn keep(mut self) -> Remover {
        self.path = None;
        self.remover.clone()
    }

    /// Remove it, without holding up the thread that asks.
    async fn remove(self) {
        // An error is a panic, after which nothing more can be done.
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        // The mark goes last: what could not be removed is tried again by it.
        let gone = self.remover.remove(&path).and_then(|()| self.finish());
        if let Err(error) = gone {
            tracing::warn!(%error, path = %path.display(), "a release that failed cannot be removed");
        }
    }
}

/// What a deploy works on.
pub(super) struct Site<'a> {
    pub(super) stage: &'a Stage,
    pub(super) config_dir: &'a Path,
    pub(super) config: Arc<Config>,
    pub(super) supervisor: &'a Supervisor,
}

/// Unpack, install, reload (which moves the link in the end), remove the oldest. Dropped before the reload it leaves nothing
/// behind; a reload that has begun is carried out to its end. Once the release is in force the next deploy may begin.
pub(super) async fn deploy(site: Site<'_>, deploy: Deploy, package: &Path) -> Result<Deployed, BackendError> {
    let (backend, launcher) = (&site.stage.backend, site.stage.launcher.clone());
    let link = site.config_dir.join(site.config.directory.as_deref().unwrap_or(Path::new("")));
    if !link.is_symlink() {
        return Err(BackendError::DirectoryIsNoLink { backend: backend.clone(), directory: link });
    }
    deploy.step("unpack");
    let bounds = package::Bounds {
        bytes_max: site.config.release_bytes_max,
        files_max: site.config.release_files_max,
        bytes_key: "release_bytes_max",
        files_key: "release_files_max",
    };
    let (package, place) = (package.to_owned(), link.clone());
    sweep(site.stage, &link, site.supervisor.identity()).await;
    // When nobody waits any more, what was unpacked goes with the handle of it.
    let unpacked = tokio::task::spawn_blocking(move || unpack(&package, &place, launcher, bounds)).await;
    let (mut unfinished, release, files) =
        unpacked.map_err(|error| BackendError::Package { reason: error.to_string() })??;
    tracing::info!(backend, release = %release.display(), files, "release unpacked");
    let ready = make_ready(&site, &deploy, &release, &mut unfinished.remover).await;
    let unmarked = |source| BackendError::Release { directory: release.clone(), source };
    if let Err(error) = ready.and_then(|()| unfinished.finish().map_err(unmarked)) {
        unfinished.remove().await;
        return Err(error);
    }
    deploy.step("reload");
    // From here on its workers may need it, whoever waits for them.
    let remover = unfinished.keep();
    let Carried { outcome, drain } = site.supervisor.carry_out(Order::Release(release.clone())).await;
    let generation = site.supervisor.standing().generation;
    // After a failure the release is removed first.
    let held = outcome.is_err().then_some(deploy);
    drain.over().await;
    let standing = site.supervisor.standing();
    let in_force = standing.generations.iter().filter(|one| one.number == standing.generation);
    let in_force: Vec<_> = in_force.map(|one| one.directory.clone()).collect();
    // Also by a worker that could not be taken back, another backend or a job.
    let needed =
        move |release: &Path| in_force.iter().any(|one| one.starts_with(release)) || is_taken(release);
    if let Err(error) = outcome {
        // Whose link it is by now cannot be said when that cannot be read: then it stays.
        if !needed(&release) && !releases::is_pointed_to(&link, &release).unwrap_or(true) {
            Unfinished::of(release, &remover).remove().await;
        }
        drop(held);
        return Err(error);
    }
    let (kept, place) = (site.config.releases_kept, link.clone());
    let prune = move || releases::prune(&place, kept, needed, &|release| remover.remove(release));
    if let Ok(Err(error)) | Err(error) = tokio::task::spawn_blocking(prune).await.map_err(io::Error::other) {
        tracing::warn!(backend, %error, "old releases cannot be removed");
    }
    Ok(Deployed { release, files, generation })
}

/// Give it to the workers' group, and install it as their user: from then on part of it is his.
async fn make_ready(
    site: &Site<'_>,
    deploy: &Deploy,
    release: &Path,
    remover: &mut Remover,
) -> Result<(), BackendError> {
    let config = Config { directory: Some(release.to_owned()), ..Config::clone(&site.config) };
    let generation = Generation::resolve_aside(&site.stage.grounds, 0, config).await?;
    remover.identity.clone_from(&generation.identity);
    if let Some(gid) = generation.identity.as_ref().map(|identity| identity.gid) {
        let place = release.to_owned();
        let shared = tokio::task::spawn_blocking(move || releases::share(&place, gid)).await;
        shared
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| BackendError::Release { directory: release.to_owned(), source })?;
    }
    if let Some(command) = &site.config.install {
        deploy.step("install");
        install::install(site.stage, &generation, command).await?;
    }
    Ok(())
}

/// Remove what a gateway that was killed had not finished, in the releases of this link.
pub(super) async fn sweep(stage: &Stage, link: &Path, identity: Option<Identity>) {
    let (remover, place) = (Remover { launcher: stage.launcher.clone(), identity }, link.to_owned());
    let sweep = move || releases::sweep(&place, is_taken, &|release| remover.remove(release));
    if let Ok(Err(error)) | Err(error) = tokio::task::spawn_blocking(sweep).await.map_err(io::Error::other) {
        tracing::warn!(backend = stage.backend, %error, "a release that was not finished cannot be removed");
    }
}

/// Into a directory of its own, whole or not at all.
fn unpack(
    package: &Path,
    link: &Path,
    launcher: Launcher,
    bounds: package::Bounds,
) -> Result<(Unfinished, PathBuf, u64), BackendError> {
    // Nobody but we has worked in it yet.
    let remover = Remover { launcher, identity: None };
    let fresh = releases::fresh(link, Timestamp::now())
        .map_err(|source| BackendError::Release { directory: link.to_owned(), source })?;
    let releases::Fresh { release, part, making } = fresh;
    let mut unfinished = Unfinished::of(release.clone(), &remover);
    unfinished.making = Some(making);
    let _part = Unfinished::of(part.clone(), &remover);
    let refused = |reason| BackendError::Package { reason };
    let files = package::unpack(package, &part, bounds).map_err(refused)?;
    let top = package::top(&part);
    package::check_links(&top).map_err(refused)?;
    std::fs::rename(top, &release)
        .map_err(|source| BackendError::Release { directory: release.clone(), source })?;
    Ok((unfinished, release, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_unpacked_for_nobody_goes_again() {
        let root = tempfile::tempdir().unwrap();
        let (link, package) = (root.path().join("current"), root.path().join("package.tar"));
        let mut archive = tar::Builder::new(std::fs::File::create(&package).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        archive.append_data(&mut header, "deep/file", &b"x"[..]).unwrap();
        archive.finish().unwrap();
        let bounds = package::Bounds { bytes_max: 10, files_max: 10, bytes_key: "", files_key: "" };
        let there = || std::fs::read_dir(root.path().join("releases")).unwrap().count();
        let (unfinished, release, _) = unpack(&package, &link, Launcher::Direct, bounds).unwrap();
        assert!(release.join("deep/file").exists() && there() == 2, "it and its mark, and no part");
        drop(unfinished);
        assert_eq!(there(), 0);
    }
}
