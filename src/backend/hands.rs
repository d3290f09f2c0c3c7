//! The one thread that starts processes and ends those of other users. It lives as long as the process, since the
//! kernel sends the launcher's death signal when the forking *thread* ends; and it keeps what capabilities(7) gives to
//! threads alone: the right to become another user, and to signal one. It must be started by a thread that has them.

use std::{
    io,
    sync::{
        OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::sync::{Semaphore, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// Orders that may wait there. Tasks hold `PLACES_MAX` of them at most, and whoever waits on a thread holds one a thread,
/// so this is never reached.
const WAITING_MAX: usize = 256;

/// Orders of tasks that may wait there, each of about a millisecond; further ones wait before it.
const PLACES_MAX: usize = 32;

/// Whom a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// One process.
    Process(Pid),
    /// All processes of a group.
    Group(Pid),
}

/// Start the thread, with what the calling one may do.
pub(crate) fn start() {
    thread();
}

/// Have it done there. Cancel safe: what was asked for happens all the same.
pub(super) async fn done<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    static PLACES: Semaphore = Semaphore::const_new(PLACES_MAX);
    let place = PLACES.acquire().await.map_err(|_| ended())?;
    let (done, result) = oneshot::channel();
    // When nobody waits any more, what came of it is dropped.
    order(Box::new(move || {
        drop(done.send(work()));
        drop(place);
    }))?;
    result.await.map_err(|_| ended())
}

/// Have it done there, and wait on this thread: for what takes no time.
pub(super) fn done_at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = sync_channel(1);
    order(Box::new(move || drop(done.send(work()))))?;
    result.recv().map_err(|_| ended())
}

/// Send a signal, to another user's process too. The caller knows that the id is still that process's.
pub(super) fn signal(target: Target, signal: Signal) -> nix::Result<()> {
    let send = move || match target {
        Target::Process(pid) => kill(pid, signal),
        Target::Group(group) => killpg(group, signal),
    };
    match send() {
        Err(Errno::EPERM) => done_at_once(send).unwrap_or(Err(Errno::EPERM)),
        sent => sent,
    }
}

fn order(work: Work) -> io::Result<()> {
    static OVERRUN: &str = "the thread that starts processes is not there or overrun";
    thread().and_then(|thread| thread.try_send(work).ok()).ok_or_else(|| io::Error::other(OVERRUN))
}

fn ended() -> io::Error {
    io::Error::other("the thread that starts processes has ended")
}

fn thread() -> Option<&'static SyncSender<Work>> {
    static THREAD: OnceLock<Option<SyncSender<Work>>> = OnceLock::new();
    let begin = || {
        let (sender, orders) = sync_channel::<Work>(WAITING_MAX);
        // The sender stands in a static and is never dropped: this loop, and with it the thread, never ends.
        let work = move || orders.into_iter().for_each(|work| work());
        std::thread::Builder::new().name("gateway-fork".to_owned()).spawn(work).ok().map(|_thread| sender)
    };
    THREAD.get_or_init(begin).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_done_on_one_thread_that_stays() {
        let here = || std::thread::current().id();
        let first = done(here).await.unwrap();
        let second = std::thread::spawn(move || done_at_once(here).unwrap()).join().unwrap();
        assert_eq!(first, second);
        assert_ne!(first, here());
    }

    #[tokio::test]
    async fn however_many_ask_at_a_time_all_are_done() {
        let asked = (0..10 * WAITING_MAX).map(|number| done(move || number));
        let all = futures_util::future::try_join_all(asked).await.unwrap();
        assert_eq!(all, (0..10 * WAITING_MAX).collect::<Vec<_>>());
        // Those that went away before their turn hold no place.
        for _ in 0..2 * PLACES_MAX {
            let _gone_away = futures_util::FutureExt::now_or_never(done(|| ()));
        }
        done(|| ()).await.unwrap();
    }
}
