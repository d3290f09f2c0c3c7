//! Releases that go: those that failed, and the oldest. What the install command or the workers have made in one may be
//! their user's alone, and only that user can take it away. It must never remove anything outside of a release.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    super::{generation::Generation, process::Stage, releases},
    install::install,
};

/// Remove one. One that stays is told of in the log.
pub(super) async fn discard(stage: &Stage, generation: &Generation, release: PathBuf) {
    if let Err(error) = remove(stage, generation, &release).await {
        tracing::warn!(backend = stage.backend, %error, path = %release.display(), "a release cannot be removed");
    }
}

/// Remove all but the newest `kept`, and what is `needed`.
pub(super) async fn prune(
    stage: &Stage,
    generation: &Generation,
    (link, kept): (PathBuf, usize),
    needed: impl Fn(&Path) -> bool + Send + 'static,
) {
    let surplus = tokio::task::spawn_blocking(move || releases::surplus(&link, kept, needed)).await;
    match surplus.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(releases) => {
            for release in releases {
                discard(stage, generation, release).await;
            }
        }
        Err(error) => tracing::warn!(backend = stage.backend, %error, "old releases cannot be looked at"),
    }
}

async fn remove(stage: &Stage, generation: &Generation, release: &Path) -> io::Result<()> {
    match remove_all(release).await {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && generation.identity.is_some() => {}
        outcome => return outcome,
    }
    // Whatever it says: what is left is ours to remove, or is told of.
    let _said = install(stage, generation, &format!("rm -rf -- {}", quoted(release))).await;
    remove_all(release).await
}

async fn remove_all(release: &Path) -> io::Result<()> {
    let path = release.to_owned();
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await;
    match removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// For the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_the_shell() {
        let path = "/srv/it's $HOME; rm/1";
        let script = format!("printf %s {}", quoted(path.as_ref()));
        let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), path);
    }
}
