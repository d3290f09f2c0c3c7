//! Opening what lies below a directory, and nothing else: the kernel itself is told to refuse every way out
//! (`openat2`). It must never follow a link out of the root, and in [`Mode::InMemory`] never wait for a disk.

use std::{
    fs::{File, Metadata},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use rustix::{
    fs::{CWD, Mode as Permissions, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

use super::super::super::refusal::Refusal;
use crate::error::is_out_of_descriptors;

/// A root that was replaced (a link to the next release) is noticed after this long.
const ROOT_KEPT: Duration = Duration::from_secs(1);

/// A rename somewhere makes the kernel's own check of `..` fail now and then; so often it is asked again.
const TRIES: usize = 8;

/// May it wait?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// On the edge's thread: only what the kernel has in memory.
    InMemory,
    /// On a thread that may wait.
    OnDisk,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Only the disk knows.
    #[error("it is not in memory")]
    NotInMemory,
    /// Nothing there, or nothing that may be shown.
    #[error("it is not there")]
    Absent,
    /// The system's reason, such as a file that the gateway may not read.
    #[error("cannot read {}: {source}", path.display())]
    Failed {
        /// Below which root, and what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Trouble {
    /// What its caller is told.
    pub(super) fn refusal(self) -> Refusal {
        match &self {
            Self::Failed { source, .. } if is_out_of_descriptors(source) => Refusal::NoDescriptor,
            trouble => Refusal::FileFailed(trouble.to_string()),
        }
    }
}

/// What was found.
#[derive(Debug)]
pub(super) enum Entry {
    /// A regular file.
    File(File, Metadata),
    /// A directory.
    Directory,
}

/// The directory of a site.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    open: ArcSwapOption<OpenRoot>,
    /// An older kernel, or a sandbox that forbids `openat2`.
    walks: AtomicBool,
}

#[derive(Debug)]
struct OpenRoot {
    directory: OwnedFd,
    at: Instant,
}

impl Root {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: ArcSwapOption::empty(), walks: AtomicBool::new(false) }
    }

    /// Open what `path` names below the root.
    pub(super) fn open(&self, path: &Path, mode: Mode) -> Result<Entry, Trouble> {
        let root = self.directory(mode)?;
        let root = root.directory.as_fd();
        let opened =
            if self.walks.load(Relaxed) { walk(root, path, mode) } else { self.beneath(root, path, mode) };
        let file = File::from(opened.map_err(|error| self.trouble(error, path, mode))?);
        let metadata = file.metadata().map_err(|source| self.failed(source, path))?;
        if metadata.is_dir() {
            return Ok(Entry::Directory);
        }
        // Pipes, sockets and devices are not for showing.
        if metadata.is_file() { Ok(Entry::File(file, metadata)) } else { Err(Trouble::Absent) }
    }

    fn directory(&self, mode: Mode) -> Result<Arc<OpenRoot>, Trouble> {
        let known = self.open.load_full();
        if let Some(known) = known.filter(|known| known.at.elapsed() < ROOT_KEPT) {
            return Ok(known);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match mode {
            Mode::InMemory if self.walks.load(Relaxed) => return Err(Trouble::NotInMemory),
            Mode::InMemory => openat2(CWD, &self.path, flags, Permissions::empty(), ResolveFlags::CACHED),
            Mode::OnDisk => openat(CWD, &self.path, flags, Permissions::empty()),
        };
        let directory = match opened {
            Ok(directory) => directory,
            // Also a kernel without `openat2`: the next step finds that out.
            Err(_) if mode == Mode::InMemory => return Err(Trouble::NotInMemory),
            Err(error) => return Err(self.failed(error.into(), Path::new(""))),
        };
        let fresh = Arc::new(OpenRoot { directory, at: Instant::now() });
        self.open.store(Some(fresh.clone()));
        Ok(fresh)
    }

    fn beneath(&self, root: BorrowedFd<'_>, path: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::CACHED, mode == Mode::InMemory);
        let mut outcome = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            outcome = openat2(root, path, READ, Permissions::empty(), resolve);
            if outcome.as_ref().err() != Some(&Errno::AGAIN) || mode == Mode::InMemory {
                break;
            }
        }
        match outcome {
            // A sandbox's way to say that it does not know it.
            Err(Errno::NOSYS | Errno::PERM) => {
                self.walks.store(true, Relaxed);
                walk(root, path, mode)
            }
            // Before Linux 5.12 it cannot be asked not to wait.
            Err(Errno::INVAL) if mode == Mode::InMemory => Err(Errno::AGAIN),
            outcome => outcome,
        }
    }

    fn trouble(&self, error: Errno, path: &Path, mode: Mode) -> Trouble {
        match error {
            Errno::AGAIN if mode == Mode::InMemory => Trouble::NotInMemory,
            // XDEV and LOOP: a link that leads out, or in a circle. NXIO: a socket.
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::XDEV | Errno::LOOP | Errno::NXIO => {
                Trouble::Absent
            }
            error => self.failed(error.into(), path),
        }
    }

    fn failed(&self, source: io::Error, path: &Path) -> Trouble {
        Trouble::Failed { path: self.path.join(path), source }
    }
}

/// A pipe without a writer would hold its reader; a terminal must not become ours.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// The same without the kernel's help: step by step, and no link is followed at all.
fn walk(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
    if mode == Mode::InMemory {
        return Err(Errno::AGAIN);
    }
    let mut names = path.components().peekable();
    let mut directory: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        // Nothing else comes out of `Asked`.
        if !matches!(name, Component::Normal(_) | Component::CurDir) {
            return Err(Errno::NOENT);
        }
        let last = names.peek().is_none();
        let flags = if last { READ } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        let from = directory.as_ref().map_or(root, AsFd::as_fd);
        let opened = openat(from, name.as_os_str(), flags | OFlags::NOFOLLOW, Permissions::empty())?;
        if last {
            return Ok(opened);
        }
        directory = Some(opened);
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests;
