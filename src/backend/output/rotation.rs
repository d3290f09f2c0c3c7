//! One log file and those it was before: `NAME.log`, then `NAME.log.1` (the youngest), `NAME.log.2`… It must never hold
//! more than `files_kept + 1` files of `file_bytes_max` bytes, follow a link, or end in half a line.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::OFlags;

/// Where the lines go, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) struct Rules {
    /// The file that is written to.
    pub(in crate::backend) path: PathBuf,
    /// Its size; what would make it larger begins a new one.
    pub(in crate::backend) file_bytes_max: u64,
    /// Files kept besides it.
    pub(in crate::backend) files_kept: usize,
    /// An older one is put aside, too.
    pub(in crate::backend) rotate_after: Duration,
    /// Files put aside go after this, however few there are.
    pub(in crate::backend) kept_for: Duration,
}

/// The file, opened when it is first needed.
#[derive(Debug)]
pub(super) struct LogFile {
    rules: Rules,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    begun: SystemTime,
    /// Device and inode: what tells it from another at its path.
    identity: (u64, u64),
}

impl LogFile {
    /// Make its directory, and try whether it can be written.
    pub(super) fn new(rules: Rules) -> io::Result<Self> {
        if let Some(directory) = rules.path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        }
        Open::at(&rules.path)?;
        let file = Self { rules, open: None };
        file.prune(SystemTime::now())?;
        Ok(file)
    }

    /// The longest that can be written.
    pub(super) fn bytes_max(&self) -> u64 {
        self.rules.file_bytes_max
    }

    /// For messages.
    pub(super) fn path(&self) -> &Path {
        &self.rules.path
    }

    /// Append whole lines, all or none, after a rotation if one is due.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::at(&self.rules.path)?,
        };
        if open.is_due(bytes, &self.rules) {
            drop(open);
            self.rotate()?;
            open = Open::at(&self.rules.path)?;
        }
        match open.file.write_all(lines) {
            Ok(()) => open.bytes += bytes,
            Err(error) => {
                open.cut_half_a_line();
                return Err(error);
            }
        }
        self.open = Some(open);
        Ok(())
    }

    /// See whether it is still the one at its path (somebody else may rotate or remove it), how large it is (or
    /// truncate it), and whether it is too old.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.open = match self.open.take() {
            Some(open) if open.is_at(&self.rules.path) => Some(open),
            _ => None,
        };
        let Some(open) = &mut self.open else { return Ok(()) };
        open.bytes = open.file.metadata()?.len();
        if open.is_due(0, &self.rules) {
            self.open = None;
            self.rotate()?;
        }
        Ok(())
    }

    /// Remove files put aside that are too many or too old.
    pub(super) fn prune(&self, now: SystemTime) -> io::Result<()> {
        let (Some(directory), Some(name)) = (self.rules.path.parent(), self.rules.path.file_name()) else {
            return Ok(());
        };
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let Some(number) = number_of(&entry.file_name(), name) else { continue };
            // Somebody else may clean up here, too.
            let Ok(metadata) = entry.metadata() else { continue };
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if metadata.is_file() && (number > self.rules.files_kept || age >= self.rules.kept_for) {
                gone_is_fine(fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }

    /// Each file takes the next number; the last one's is taken by the one before it, which replaces it.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.rules.files_kept).rev() {
            gone_is_fine(fs::rename(self.aside(number), self.aside(number + 1)))?;
        }
        gone_is_fine(fs::rename(&self.rules.path, self.aside(1)))?;
        self.prune(SystemTime::now())
    }

    fn aside(&self, number: usize) -> PathBuf {
        let mut path = self.rules.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        // The directory may be a worker's: no link leads elsewhere, no pipe makes us wait.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        // What applications say may be personal data: not for everyone on the machine.
        let file = OpenOptions::new().create(true).append(true).mode(0o640).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file"));
        }
        let begun = metadata.created().or_else(|_| metadata.modified())?;
        Ok(Self { file, bytes: metadata.len(), begun, identity: (metadata.dev(), metadata.ino()) })
    }

    fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }

    /// Must another file be begun before so many bytes are added?
    fn is_due(&self, bytes: u64, rules: &Rules) -> bool {
        let age = self.begun.elapsed().unwrap_or_default();
        self.bytes > 0
            && (self.bytes.saturating_add(bytes) > rules.file_bytes_max || age >= rules.rotate_after)
    }

    /// A disk that has become full takes what fits.
    fn cut_half_a_line(&self) {
        if self.file.metadata().is_ok_and(|found| found.len() > self.bytes)
            && let Err(error) = self.file.set_len(self.bytes)
        {
            tracing::warn!(%error, "half a line stays in a log file of workers");
        }
    }
}

/// The number in `NAME.NUMBER`, as far as we count; a date is another program's.
fn number_of(found: &std::ffi::OsStr, name: &std::ffi::OsStr) -> Option<usize> {
    let digits = found.to_str()?.strip_prefix(name.to_str()?)?.strip_prefix('.')?;
    let ours = digits.len() <= 4 && !digits.starts_with('0');
    digits.parse().ok().filter(|_| ours)
}

fn gone_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn rules(directory: &Path) -> Rules {
        Rules {
            path: directory.join("logs/api.log"),
            file_bytes_max: 10,
            files_kept: 2,
            rotate_after: DAY,
            kept_for: 14 * DAY,
        }
    }

    /// Each file's name and text.
    fn texts(directory: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(directory.join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(rules(dir.path())).unwrap();
        for line in ["first\n", "one\n", "second\n", "third\n", "fourth\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let want = [("api.log", "fourth\n"), ("api.log.1", "third\n"), ("api.log.2", "second\n")];
        assert_eq!(texts(dir.path()), named(&want));
        let mode = fs::metadata(dir.path().join("logs/api.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        // Another start goes on where this one ended, and fewer files are kept at once.
        drop(file);
        let mut file = LogFile::new(Rules { files_kept: 1, ..rules(dir.path()) }).unwrap();
        file.write(b"on\n").unwrap();
        assert_eq!(texts(dir.path()), named(&[("api.log", "fourth\non\n"), ("api.log.1", "third\n")]));
    }

    #[test]
    fn an_old_file_is_put_aside_and_what_is_too_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(Rules { rotate_after: Duration::ZERO, ..rules(dir.path()) }).unwrap();
        file.look().unwrap();
        file.write(b"a\n").unwrap();
        file.look().unwrap();
        assert_eq!(texts(dir.path()), named(&[("api.log.1", "a\n")]));
        let others = [("api.log.20250101", "theirs"), ("api.log.notes", "mine")];
        for (name, text) in others {
            fs::write(dir.path().join("logs").join(name), text).unwrap();
        }
        file.prune(SystemTime::now() + 13 * DAY).unwrap();
        assert_eq!(texts(dir.path()).len(), 3);
        file.prune(SystemTime::now() + 15 * DAY).unwrap();
        assert_eq!(texts(dir.path()), named(&others));
    }

    #[test]
    fn a_file_that_somebody_else_moved_or_truncated_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/api.log");
        let mut file = LogFile::new(rules(dir.path())).unwrap();
        file.write(b"a\n").unwrap();
        fs::rename(&path, dir.path().join("logs/elsewhere")).unwrap();
        file.look().unwrap();
        file.write(b"b\n").unwrap();
        assert_eq!(texts(dir.path()), named(&[("api.log", "b\n"), ("elsewhere", "a\n")]));
        file.write(b"1234567\n").unwrap();
        fs::write(&path, "").unwrap();
        file.look().unwrap();
        file.write(b"c\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
    }

    #[test]
    fn links_and_pipes_are_no_log_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        let (path, target) = (dir.path().join("logs/api.log"), dir.path().join("precious"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(LogFile::new(rules(dir.path())).is_err());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogFile::new(rules(dir.path())).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }
}
