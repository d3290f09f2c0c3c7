//! How the configured link turns to a release that was deployed, or back to an earlier one. It must never lead to a release
//! whose workers have not been ready.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::super::{
        BackendError, Config,
        generation::Generation,
        releases::{self, Pointing},
    },
    Crew, OLD_GENERATIONS_MAX,
};

impl Crew {
    pub(super) async fn release(&mut self, directory: PathBuf) -> Result<(), BackendError> {
        let (before, slept) = (Arc::clone(self.generation()), self.stopped);
        let config = Config { directory: Some(directory.clone()), ..self.config.clone() };
        let next = self.next(config).await?;
        let leads_to = next.leads_to();
        // Before anybody is replaced: whoever may not move it changes nothing.
        let link = self.link_to(&directory)?;
        self.room(OLD_GENERATIONS_MAX).await?;
        self.wake_and_roll(next, self.wanted).await?;
        if let Err(error) = self.moved(link) {
            self.undo(before, slept).await;
            return Err(error);
        }
        self.leads_to = leads_to;
        self.generations.let_go();
        Ok(())
    }

    pub(super) async fn rollback(&mut self, number: Option<u64>) -> Result<(), BackendError> {
        let next = self.generations.earlier(&self.stage.backend, number)?;
        let (before, slept) = (Arc::clone(self.generation()), self.stopped);
        // A release that was deployed stays rolled back whatever becomes of the shelf.
        let is_release = self.link().is_some_and(|link| releases::is_release_of(&next.directory, &link));
        let link = if is_release { self.link_to(&next.directory)? } else { None };
        // The way back has a place of its own: it shall not wait for what a broken build hangs on.
        self.room(OLD_GENERATIONS_MAX + 1).await?;
        self.wake_and_roll(Arc::clone(&next), self.wanted).await?;
        if is_release {
            if let Err(error) = self.moved(link) {
                self.undo(before, slept).await;
                return Err(error);
            }
            // All that lies behind the link has moved with it.
            self.leads_to = match self.resolve(self.config.clone(), 0).await {
                Ok(now) => now.leads_to(),
                Err(_) => next.leads_to(),
            };
        }
        self.generations.hold(&self.config, &self.leads_to);
        Ok(())
    }

    /// The link cannot be moved: after the next start of the gateway it would be as before again, then rather now.
    async fn undo(&mut self, before: Arc<Generation>, slept: bool) {
        self.generations.stands(before);
        if slept {
            self.sleep().await;
        } else {
            self.stage.roster.keep_alive_is(self.generation().config.keep_alive);
            self.take_back(self.jobs.len()).await;
        }
    }

    /// The configured link as it will be, leading to this release; none, if there is none.
    fn link_to(&self, release: &Path) -> Result<Option<Pointing>, BackendError> {
        let Some(link) = self.link() else { return Ok(None) };
        let pointing = Pointing::begin(&link, release, &self.stage.backend);
        pointing.map(Some).map_err(|source| self.immovable(link, source))
    }

    /// Let the configured link lead there from here on.
    fn moved(&self, link: Option<Pointing>) -> Result<(), BackendError> {
        let moved = link.map_or(Ok(()), Pointing::end);
        moved.map_err(|source| self.immovable(self.link().unwrap_or_default(), source))
    }

    fn immovable(&self, link: PathBuf, source: std::io::Error) -> BackendError {
        BackendError::Immovable { backend: self.stage.backend.clone(), link, source }
    }

    /// The configured directory, which may be a link to a release.
    pub(super) fn link(&self) -> Option<PathBuf> {
        self.config.directory.as_deref().map(|directory: &Path| self.config_dir.join(directory))
    }
}
