//! Putting files in their places: all of them or none. Each is staged beside its place, on the same file system,
//! so that the last step is a rename; what was there is kept until all renames are done.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::ArchiveProblem;

/// The extension of a file that waits beside its place.
pub(super) const STAGED: &str = "restoring";

/// The extension of a file that made room.
pub(super) const ASIDE: &str = "before-restore";

/// What SQLite keeps beside a database. Left over from the old one it would damage the new one.
pub(super) const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Files that wait beside their places. Dropped before `commit`, it leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct Placement {
    places: Vec<PathBuf>,
}

impl Placement {
    /// Make the file that will be `place`, and its directory.
    pub(super) fn stage(&mut self, place: &Path) -> Result<fs::File, ArchiveProblem> {
        let staged = with(place, STAGED);
        if let Some(directory) = place.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(ArchiveProblem::file("make", directory))?;
        }
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ArchiveProblem::file("replace", &staged)(error));
            }
            _ => {}
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged);
        let file = file.map_err(ArchiveProblem::file("write", &staged))?;
        self.places.push(place.to_owned());
        Ok(file)
    }

    /// The staged files, for a last look.
    pub(super) fn staged(&self) -> impl Iterator<Item = (&Path, PathBuf)> {
        self.places.iter().map(|place| (place.as_path(), with(place, STAGED)))
    }

    /// Rename all of them into place; on the first failure everything is as it was.
    pub(super) fn commit(mut self) -> Result<(), ArchiveProblem> {
        let mut undo = Vec::new();
        for place in &self.places {
            if let Err(problem) = put(place, &mut undo) {
                for (now, before) in undo.iter().rev() {
                    // Nothing better can be done with a disk that refuses the way back as well.
                    if let Err(error) = fs::rename(now, before) {
                        tracing::error!(%error, from = %now.display(), to = %before.display(), "cannot undo");
                    }
                }
                return Err(problem);
            }
        }
        for place in &self.places {
            for suffix in [""].iter().chain(&SIDECARS) {
                let _gone = fs::remove_file(with(&beside(place, suffix), ASIDE));
            }
        }
        self.places.clear();
        Ok(())
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        for place in &self.places {
            let _gone = fs::remove_file(with(place, STAGED));
        }
    }
}

/// Old files aside, the new one in. `undo` holds each rename, as (where it is now, where it was).
fn put(place: &Path, undo: &mut Vec<(PathBuf, PathBuf)>) -> Result<(), ArchiveProblem> {
    for suffix in SIDECARS.iter().chain(&[""]) {
        let old = beside(place, suffix);
        let aside = with(&old, ASIDE);
        match fs::rename(&old, &aside) {
            Ok(()) => undo.push((aside, old)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ArchiveProblem::file("move aside", &old)(error)),
        }
    }
    let staged = with(place, STAGED);
    fs::rename(&staged, place).map_err(ArchiveProblem::file("put in place", place))?;
    undo.push((place.to_owned(), staged));
    Ok(())
}

fn with(path: &Path, extension: &str) -> PathBuf {
    beside(path, &format!(".{extension}"))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_failure_in_the_middle_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a.db"), directory.path().join("b.db"));
        fs::write(&first, "old").unwrap();
        fs::write(beside(&first, "-wal"), "old wal").unwrap();
        let mut placement = Placement::default();
        for place in [&first, &second] {
            placement.stage(place).unwrap().write_all(b"new").unwrap();
        }
        // The second place is taken by a directory that a file cannot replace, and its name aside too.
        fs::create_dir_all(with(&second, ASIDE).join("x")).unwrap();
        fs::write(&second, "in the way").unwrap();
        assert!(placement.commit().is_err());
        assert_eq!(fs::read_to_string(&first).unwrap(), "old");
        assert_eq!(fs::read_to_string(beside(&first, "-wal")).unwrap(), "old wal");
        assert_eq!(fs::read_to_string(&second).unwrap(), "in the way");
        assert!(!with(&first, STAGED).exists() && !with(&second, STAGED).exists());
    }

    #[test]
    fn the_old_write_ahead_log_never_meets_the_new_database() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("deep/a.db");
        let mut placement = Placement::default();
        placement.stage(&place).unwrap().write_all(b"new").unwrap();
        fs::write(beside(&place, "-wal"), "old").unwrap();
        placement.commit().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }
}
