//! The file of the running gateway's program and its process: what is put in its place, and the old one back. Each change
//! is one rename: whoever starts it finds the old one or the new one, never half of either. As long as the new one has not
//! proved itself, the one before stands beside it as `gateway.before`: the unit's start puts that back, whatever has become
//! of the upgrade.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::cli::Failure;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The program of a gateway that runs.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    pid: Pid,
    /// When the process began, in the kernel's words: a later process with its number began later.
    began: String,
}

impl Program {
    /// Of this process.
    pub(super) fn of(pid: u32) -> Result<Self, Failure> {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let path = fs::read_link(&link).map_err(|error| {
            Failure::io("read", &link, &error).hint("root may: run it with `sudo`, where the gateway runs")
        })?;
        let told = path.to_string_lossy();
        // Its file was replaced since it started: the path is what counts.
        let path = told.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from);
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        let began = began(pid).unwrap_or_default();
        Ok(Self { path, pid, began })
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The process.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Where the one before stands once the new one has proved itself.
    pub(super) fn old(&self) -> PathBuf {
        self.beside("old")
    }

    /// Where it stands until then.
    pub(super) fn before(&self) -> PathBuf {
        self.beside("before")
    }

    /// Keep it beside, for as long as the one that comes has not proved itself. One upgrade at a time.
    pub(super) fn keep(&self) -> Result<(), Failure> {
        let before = self.before();
        fs::hard_link(&self.path, &before).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let shown = before.display();
                Failure::failed(format!("an upgrade is under way, or was cut off: `{shown}` is the program before it"))
                    .hint(format!(
                        "wait for its end; after one that was cut off, `systemctl restart gateway` (or `mv {shown} {}`) \
                         puts it back",
                        self.path.display()
                    ))
            }
            _ => self.unwritable(&error),
        })
    }

    /// Nothing came of it: it is its own old one no longer. Where another stands in its place the way back stays.
    pub(super) fn keep_no_more(&self) {
        if file_at(&self.before()) == file_at(&self.path) {
            let _gone = fs::remove_file(self.before());
        }
    }

    /// Put another one in its place; after an error it stands there itself again.
    pub(super) fn replace_by(&self, file: &Path) -> Result<(), Failure> {
        let new = self.beside("new");
        let put = || {
            fs::copy(file, &new)?;
            fs::set_permissions(&new, Permissions::from_mode(0o755))?;
            File::open(&new)?.sync_all()?;
            // The way back is on disk before there is anything to go back from.
            self.settle()
        };
        put().and_then(|()| fs::rename(&new, &self.path)).map_err(|error| {
            let _half = fs::remove_file(&new);
            self.unwritable(&error)
        })?;
        self.settle().map_err(|error| {
            let failure = Failure::io("write to disk", &self.path, &error);
            self.put_back().err().unwrap_or_else(|| failure.hint("the old program is back in its place"))
        })
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::io("replace", &self.path, error).hint("nothing has changed; root may write there")
    }

    /// The new one has proved itself; false if the one before was put back meanwhile.
    pub(super) fn proved(&self) -> Result<bool, Failure> {
        match self.rename(&self.before(), &self.old()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::io("keep", &self.old(), &error)),
        }
    }

    /// Put the one before back, unless a start of the unit has done so already.
    pub(super) fn put_back(&self) -> Result<(), Failure> {
        match self.rename(&self.before(), &self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let hint = format!("the old program is `{}`: move it there by hand", self.before().display());
                Err(Failure::io("put back", &self.path, &error).hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// Is the program that stands there now the one that this process runs?
    pub(super) fn is_run_by(&self, pid: u32) -> bool {
        let runs = file_at(Path::new(&format!("/proc/{pid}/exe")));
        runs.is_some() && runs == file_at(&self.path)
    }

    /// Is the process still there, whatever program it is by now?
    pub(super) fn is_alive(&self) -> bool {
        began(self.pid).is_some_and(|began| began == self.began)
    }

    /// End it at once.
    pub(super) fn kill(&self) {
        if self.is_alive() {
            let _gone = kill(self.pid, Signal::SIGKILL);
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.settle()
    }

    /// What was renamed and linked must outlive a power cut.
    fn settle(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{what}"));
        self.path.with_file_name(name)
    }
}

/// Which file that is, by any of its names.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Field 22 of proc_pid_stat(5); what is dead and not reaped counts as gone.
fn began(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; state is the first field after it.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|began| (*began).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_as_long_as_another_program_is_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway");
        fs::write(&path, "old").unwrap();
        let program = Program { path: path.clone(), pid: Pid::this(), began: String::new() };
        program.keep().unwrap();
        program.keep_no_more();
        assert!(!program.before().exists(), "nothing was replaced");
        program.keep().unwrap();
        let new = directory.path().join("new");
        fs::write(&new, "new").unwrap();
        program.replace_by(&new).unwrap();
        program.keep_no_more();
        assert_eq!(fs::read_to_string(program.before()).unwrap(), "old");
        program.put_back().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }
}
