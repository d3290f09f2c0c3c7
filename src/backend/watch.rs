//! Reload when a file changes, for development. Dependencies, what begins with a dot, and what programs write rather
//! than people are not looked at. It must never reload while files still change: a build writes many.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::supervisor::{Answer, Order};
use crate::shutdown::Shutdown;

/// How long it must be quiet: longer than the pause between two files of a build.
const QUIET: Duration = Duration::from_millis(200);

/// Directories that are watched; each costs the kernel about a kilobyte.
const DIRECTORIES_MAX: usize = 4096;

/// Changes that are waiting to be looked at. More need not be told: one is enough for a reload.
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
        let (changes, inbox) = mpsc::channel(CHANGES_WAITING_MAX);
        let tell = move |event: notify::Result<Event>| {
            if let Ok(event) = event
                && matters(&event)
            {
                // When it is full there is enough to reload for.
                drop(changes.try_send(event));
            }
        };
        let mut watching = Watching { watcher: notify::recommended_watcher(tell)?, directories: 0 };
        watching.add(&directory)?;
        tracing::info!(directory = %directory.display(), directories = watching.directories, "watching for changes");
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
    directories: usize,
}

impl Watching {
    /// This directory and those below it, one by one: recursion of the system's would include dependencies.
    fn add(&mut self, directory: &Path) -> notify::Result<()> {
        let mut open = vec![directory.to_owned()];
        while let Some(path) = open.pop() {
            if self.directories >= DIRECTORIES_MAX {
                tracing::warn!(
                    directories = DIRECTORIES_MAX,
                    "too many directories: the rest is not watched"
                );
                return Ok(());
            }
            self.watcher.watch(&path, RecursiveMode::NonRecursive)?;
            self.directories += 1;
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            open.extend(below.filter(|entry| is_ours(&entry.file_name())).map(|entry| entry.path()));
        }
        Ok(())
    }

    async fn run(
        mut self,
        mut changes: mpsc::Receiver<Event>,
        orders: mpsc::WeakSender<(Order, Answer)>,
        ending: CancellationToken,
    ) {
        loop {
            let mut quiet = Duration::MAX;
            // The first change, and then all until it is quiet.
            loop {
                let change = tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(quiet) => break,
                    change = changes.recv() => change,
                };
                let Some(change) = change else { return };
                for path in change.paths.iter().filter(|path| comes(change.kind) && path.is_dir()) {
                    if let Err(error) = self.add(path) {
                        tracing::warn!(%error, path = %path.display(), "a new directory is not watched");
                    }
                }
                quiet = QUIET;
            }
            let Some(orders) = orders.upgrade() else { return };
            tracing::info!("files have changed: reload");
            // Whoever wrote the file reads the log: how it ends stands there.
            let (answer, _nobody) = oneshot::channel();
            if orders.send((Order::Reload(None), answer)).await.is_err() {
                return;
            }
        }
    }
}

/// Is there something now that was not there: made here, or moved here?
fn comes(kind: EventKind) -> bool {
    kind.is_create() || matches!(kind, EventKind::Modify(ModifyKind::Name(_)))
}

/// Is it a change to what a person writes?
fn matters(event: &Event) -> bool {
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
    use notify::event::{AccessKind, CreateKind, DataChange, MetadataKind};

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
}
