//! Reload when a file changes, for development. Dependencies, what begins with a dot, and what programs write rather
//! than people are not looked at. It must never reload while files still change: a build writes many.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::supervisor::{Answer, Order};
use crate::shutdown::Shutdown;

/// How long it must be quiet: longer than the pause between two files of a build.
const QUIET: Duration = Duration::from_millis(200);

/// Reloads in a row during which files have changed again. A person may save a file meanwhile, and once more.
const BY_THEMSELVES_MAX: u32 = 5;

/// How long the next one waits then: a program that writes where it is watched would be started again without end.
const LOOP_PAUSE: Duration = Duration::from_secs(10);

/// Directories that are watched; each costs the kernel about a kilobyte.
const DIRECTORIES_MAX: usize = 4096;

/// Changes that are waiting to be looked at. One is enough for a reload; if there are more than these, all directories are
/// looked for anew.
const CHANGES_WAITING_MAX: usize = 256;

/// Dependencies.
const LEFT_OUT: &str = "node_modules";

/// What programs write: databases and their sidecars, logs, sockets, editors' copies.
const WRITTEN: [&str; 12] =
    ["db", "db-wal", "db-shm", "db-journal", "sqlite", "sqlite3", "log", "pid", "sock", "tmp", "swp", "lock"];

/// A watch over one directory. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Watch {
    directory: PathBuf,
    ending: CancellationToken,
}

impl Watch {
    /// Watch a directory and what is below it.
    pub(super) fn start(
        directory: PathBuf,
        orders: mpsc::WeakSender<(Order, Answer)>,
        shutdown: &Shutdown,
    ) -> notify::Result<Self> {
        let (mut watching, inbox) = Watching::new(directory.clone())?;
        watching.begin()?;
        tracing::info!(directory = %directory.display(), directories = watching.known.len(), "watching for changes");
        let ending = CancellationToken::new();
        shutdown.spawn(watching.run(inbox, orders, ending.clone()));
        Ok(Self { directory, ending })
    }

    /// What it watches.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

struct Watching {
    watcher: RecommendedWatcher,
    directory: PathBuf,
    /// Directories that are watched.
    known: BTreeSet<PathBuf>,
    /// Have changes been lost, by us or by the kernel?
    lost: Arc<AtomicBool>,
}

impl Watching {
    fn new(directory: PathBuf) -> notify::Result<(Self, mpsc::Receiver<Event>)> {
        let (changes, inbox) = mpsc::channel(CHANGES_WAITING_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let losing = lost.clone();
        let tell = move |event: notify::Result<Event>| {
            let event =
                event.unwrap_or_else(|_| Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan));
            if event.need_rescan() {
                losing.store(true, Relaxed);
            }
            // When it is full there is enough to reload for; what it says of directories would be lost.
            if matters(&event) && changes.try_send(event).is_err() {
                losing.store(true, Relaxed);
            }
        };
        let watcher = notify::recommended_watcher(tell)?;
        Ok((Self { watcher, directory, known: BTreeSet::new(), lost }, inbox))
    }

    /// Watch all of it. Only its own directory must be there and readable.
    fn begin(&mut self) -> notify::Result<()> {
        let directory = self.directory.clone();
        self.watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        self.known.insert(directory.clone());
        self.add_below(directory);
        Ok(())
    }

    /// What has become of its directories is not known: look for all of them.
    fn look_anew(&mut self) {
        tracing::info!(directory = %self.directory.display(), "more changes at once than are told: looking for directories anew");
        self.forget(&self.directory.clone());
        if let Err(error) = self.begin() {
            tracing::warn!(%error, directory = %self.directory.display(), "files are not watched");
        }
    }

    /// A change at a path: is there a directory more, or less?
    fn follow(&mut self, path: &Path, kind: EventKind) {
        let is_directory = is_directory(path);
        // One that came in the place of another is another, whatever its name.
        if comes(kind) || !is_directory {
            self.forget(path);
        }
        if comes(kind) && is_directory && path.file_name().is_some_and(is_ours) {
            self.add(path.to_owned());
        }
    }

    /// It, and what was below it, is not there any more, or is another.
    fn forget(&mut self, path: &Path) {
        let gone: Vec<PathBuf> = self
            .known
            .range(path.to_owned()..)
            .take_while(|known| known.starts_with(path))
            .cloned()
            .collect();
        for path in gone {
            // The kernel has ended the watch itself, if the directory is gone.
            let _gone = self.watcher.unwatch(&path);
            self.known.remove(&path);
        }
    }

    fn add(&mut self, directory: PathBuf) {
        if self.known.len() >= DIRECTORIES_MAX {
            tracing::warn!(directories = DIRECTORIES_MAX, "too many directories: the rest is not watched");
            return;
        }
        match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.known.insert(directory.clone());
                self.add_below(directory);
            }
            // One that is closed to us, or gone by now, costs no other.
            Err(error) => {
                tracing::warn!(%error, directory = %directory.display(), "a directory is not watched");
            }
        }
    }

    /// The directories below one, one by one: recursion of the system's would include dependencies.
    fn add_below(&mut self, directory: PathBuf) {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in below.filter(|entry| is_ours(&entry.file_name())) {
            self.add(entry.path());
        }
    }

    async fn run(
        mut self,
        mut changes: mpsc::Receiver<Event>,
        orders: mpsc::WeakSender<(Order, Answer)>,
        ending: CancellationToken,
    ) {
        let mut by_themselves = 0;
        loop {
            let (mut quiet, mut first) = (Duration::MAX, None);
            // The first change, and then all until it is quiet.
            loop {
                let change = tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(quiet) => break,
                    change = changes.recv() => change,
                };
                let Some(change) = change else { return };
                change.paths.iter().for_each(|path| self.follow(path, change.kind));
                first = first.or_else(|| change.paths.into_iter().next());
                quiet = QUIET;
            }
            if self.lost.swap(false, Relaxed) {
                self.look_anew();
            }
            let Some(orders) = orders.upgrade() else { return };
            let file = first.unwrap_or_else(|| self.directory.clone());
            if by_themselves >= BY_THEMSELVES_MAX {
                tracing::warn!(
                    file = %file.display(),
                    pause_s = LOOP_PAUSE.as_secs(),
                    "files change with every reload: if the program writes them, let it do so outside of its directory, \
                     or in one that begins with a dot"
                );
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(LOOP_PAUSE) => {}
                }
            }
            tracing::info!(file = %file.display(), "files have changed: reload");
            let (answer, done) = oneshot::channel();
            if orders.send((Order::Watched, answer)).await.is_err() {
                return;
            }
            // It keeps no backend alive that is to end.
            drop(orders);
            // Whoever wrote the file reads the log: how it ends stands there.
            tokio::select! {
                () = ending.cancelled() => return,
                _ = done => {}
            }
            by_themselves = if changes.is_empty() { 0 } else { by_themselves + 1 };
        }
    }
}

/// Is there something now that was not there: made here, or moved here?
fn comes(kind: EventKind) -> bool {
    kind.is_create() || matches!(kind, EventKind::Modify(ModifyKind::Name(_)))
}

/// A link to one is none: what it leads to has its own place, or is not ours.
fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Is it a change to what a person writes, or may one have been lost?
fn matters(event: &Event) -> bool {
    if event.need_rescan() {
        return true;
    }
    let changed = match event.kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
        EventKind::Any | EventKind::Access(_) | EventKind::Other => false,
    };
    changed && event.paths.iter().any(|path| path.file_name().is_some_and(is_ours) && !is_written(path))
}

fn is_ours(name: &OsStr) -> bool {
    name != LEFT_OUT && !name.as_encoded_bytes().starts_with(b".")
}

fn is_written(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| WRITTEN.contains(&extension) || extension.ends_with('~'))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::event::{AccessKind, CreateKind, DataChange, Flag, MetadataKind};

    use super::*;

    #[test]
    fn only_what_a_person_writes_matters() {
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        for (kind, path, want) in [
            (data, "/srv/api/server.js", true),
            (EventKind::Create(CreateKind::File), "/srv/api/views/a.html", true),
            (data, "/srv/api/.env.swp", false),
            (data, "/srv/api/node_modules", false),
            (data, "/srv/api/data.db-wal", false),
            (data, "/srv/api/app.log", false),
            (EventKind::Access(AccessKind::Any), "/srv/api/server.js", false),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/srv/api/server.js", false),
        ] {
            assert_eq!(matters(&Event::new(kind).add_path(path.into())), want, "{kind:?} {path}");
        }
    }

    #[test]
    fn an_overflow_of_the_kernels_queue_matters() {
        assert!(matters(&Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(!matters(&Event::new(EventKind::Other)));
    }

    async fn reloads(given: &mut mpsc::Receiver<(Order, Answer)>) {
        let order = tokio::time::timeout(Duration::from_secs(30), given.recv()).await;
        assert!(matches!(order, Ok(Some((Order::Watched, _)))));
    }

    #[tokio::test]
    async fn directories_whose_making_was_lost_among_many_changes_are_watched_all_the_same() {
        let place = tempfile::tempdir().unwrap();
        let (orders, mut given) = mpsc::channel(1);
        let shutdown = Shutdown::new();
        let _watch = Watch::start(place.path().to_owned(), orders.downgrade(), &shutdown).unwrap();
        // Nothing is taken from the queue meanwhile: this thread alone could do so.
        for number in 0..CHANGES_WAITING_MAX * 2 {
            fs::create_dir(place.path().join(number.to_string())).unwrap();
        }
        let told = |last: &Path| last.join("told");
        let last = place.path().join((CHANGES_WAITING_MAX * 2 - 1).to_string());
        reloads(&mut given).await;
        fs::write(told(&last), "1").unwrap();
        reloads(&mut given).await;
    }

    #[tokio::test]
    async fn after_an_overflow_directories_that_nobody_has_told_of_are_watched() {
        let place = tempfile::tempdir().unwrap();
        let (mut watching, mut inbox) = Watching::new(place.path().to_owned()).unwrap();
        watching.begin().unwrap();
        fs::create_dir(place.path().join("new")).unwrap();
        // What the kernel lost.
        drop(inbox.recv().await.unwrap());
        watching.lost.store(true, Relaxed);
        let ((orders, mut given), ending) = (mpsc::channel(1), CancellationToken::new());
        let running = watching.run(inbox, orders.downgrade(), ending.clone());
        let changing = async {
            for path in ["told", "new/told"] {
                fs::write(place.path().join(path), "1").unwrap();
                reloads(&mut given).await;
            }
            ending.cancel();
        };
        tokio::join!(running, changing);
    }

    #[tokio::test]
    async fn directories_that_come_and_go_are_counted_as_often_as_they_are_there() {
        let place = tempfile::tempdir().unwrap();
        let (mut watching, _inbox) = Watching::new(place.path().to_owned()).unwrap();
        watching.begin().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        let made = EventKind::Create(CreateKind::Folder);
        for _ in 0..10 {
            fs::create_dir_all(one.join("deep")).unwrap();
            watching.follow(&one, made);
            assert_eq!(watching.known.len(), 3);
            fs::rename(&one, &two).unwrap();
            watching.follow(&one, EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::From)));
            watching.follow(&two, EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::To)));
            assert!(watching.known.contains(&two.join("deep")) && watching.known.len() == 3);
            fs::remove_dir_all(&two).unwrap();
            watching.follow(&two, EventKind::Remove(notify::event::RemoveKind::Folder));
            assert_eq!(watching.known.len(), 1);
        }
    }
}
