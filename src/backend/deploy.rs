//! Deploying a release: unpacked beside the others, installed, proven by a rolling reload, and only then the one
//! that the link points to. Whatever fails on the way leaves everything as it was. It must never run twice at a
//! time for one backend.

mod install;
pub(super) mod package;
mod removal;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    BackendError, Config,
    child::is_taken,
    generation::Generation,
    process::Stage,
    releases,
    status::DeployStatus,
    supervisor::{Order, Supervisor},
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

/// A directory that goes again unless it is kept.
#[derive(Debug)]
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_dir_all(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
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

/// Unpack, install, reload (which moves the link in the end), remove the oldest. Dropped before the reload it leaves nothing behind;
/// a reload that has begun is carried out to its end.
pub(super) async fn deploy(
    site: Site<'_>,
    deploy: &Deploy,
    package: &Path,
) -> Result<Deployed, BackendError> {
    let backend = &site.stage.backend;
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
    let unpacked = tokio::task::spawn_blocking(move || unpack(&package, &place, bounds)).await;
    let (release, files) =
        unpacked.map_err(|error| BackendError::Package { reason: error.to_string() })??;
    let mut unfinished = Unfinished(Some(release.clone()));
    tracing::info!(backend, release = %release.display(), files, "release unpacked");
    let config = Config { directory: Some(release.clone()), ..Config::clone(&site.config) };
    let generation = Generation::resolve(&site.stage.grounds, 0, config)?;
    if let Some(gid) = generation.identity.as_ref().map(|identity| identity.gid) {
        let (place, broken) = (release.clone(), release.clone());
        let shared = tokio::task::spawn_blocking(move || releases::share(&place, gid)).await;
        shared
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| BackendError::Release { directory: broken, source })?;
    }
    if let Some(command) = &site.config.install {
        deploy.step("install");
        if let Err(error) = install::install(site.stage, &generation, command).await {
            removal::discard(site.stage, &generation, release).await;
            return Err(error);
        }
    }
    deploy.step("reload");
    // From here on its workers may need it, whoever waits for them.
    unfinished.0 = None;
    let ordered = site.supervisor.order(Order::Release(release.clone())).await;
    let standing = site.supervisor.standing();
    let in_force = standing.generations.iter().filter(|one| one.number == standing.generation);
    let in_force: Vec<_> = in_force.map(|one| one.directory.clone()).collect();
    // Also by a worker that could not be taken back, another backend or a job.
    let needed =
        move |release: &Path| in_force.iter().any(|one| one.starts_with(release)) || is_taken(release);
    if let Err(error) = ordered {
        if !needed(&release) {
            removal::discard(site.stage, &generation, release).await;
        }
        return Err(error);
    }
    removal::prune(site.stage, &generation, (link, site.config.releases_kept), needed).await;
    Ok(Deployed { release, files, generation: standing.generation })
}

/// Into a directory of its own, whole or not at all.
fn unpack(package: &Path, link: &Path, bounds: package::Bounds) -> Result<(PathBuf, u64), BackendError> {
    let release = releases::fresh(link, Timestamp::now())
        .map_err(|source| BackendError::Release { directory: link.to_owned(), source })?;
    let broken = |source| BackendError::Release { directory: release.clone(), source };
    let mut part = release.clone().into_os_string();
    part.push(".");
    part.push(releases::UNFINISHED);
    let part = PathBuf::from(part);
    let _unfinished = Unfinished(Some(part.clone()));
    std::fs::create_dir(&part).map_err(broken)?;
    let files = package::unpack(package, &part, bounds).map_err(|reason| BackendError::Package { reason })?;
    std::fs::rename(package::top(&part), &release).map_err(broken)?;
    Ok((release, files))
}
