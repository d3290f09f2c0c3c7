//! What was there before this process, told by its environment: sockets of systemd's, or of this program's former
//! self, which became us by `exec`. Read once, at the start: a descriptor has one owner.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    net::TcpListener,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

/// The variable in which a gateway tells the next one what it leaves to it.
pub(super) const HANDED_OVER: &str = "GATEWAY_HANDED_OVER";

/// What systemd tells, once: a program that becomes another must not tell it again.
const TOLD_BY_SYSTEMD: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What this process begins with.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    /// Sockets, with their names.
    pub(crate) listeners: Vec<(String, TcpListener)>,
    /// What it has become another program with; `None` when it is its first.
    pub(crate) past: Option<Past>,
}

/// What a process remembers of the programs that it was before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// How often it has become another one.
    pub(crate) swaps: u64,
    /// WebSockets that ended for it, in all.
    #[serde(default)]
    pub(crate) websockets: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    pid: u32,
    #[serde(flatten)]
    past: Past,
    listeners: Vec<(RawFd, String)>,
}

/// Take what this process was left. Once.
pub(crate) fn handed_over() -> io::Result<HandedOver> {
    let note = std::env::var(HANDED_OVER).ok().and_then(|text| serde_json::from_str::<Note>(&text).ok());
    // A note for another process came down from a parent: it says nothing of our descriptors.
    match note.filter(|note| note.pid == std::process::id()) {
        Some(note) => {
            let adopted = note.listeners.into_iter().map(|(fd, name)| Ok((name, adopt(fd)?.into())));
            Ok(HandedOver { listeners: adopted.collect::<io::Result<_>>()?, past: Some(note.past) })
        }
        None => Ok(HandedOver { listeners: of_systemd()?, past: None }),
    }
}

/// The sockets of a socket unit and of the fd store.
fn of_systemd() -> io::Result<Vec<(String, TcpListener)>> {
    let mut given = listenfd::ListenFd::from_env();
    let names = std::env::var(TOLD_BY_SYSTEMD[2]).unwrap_or_default();
    let mut names = names.split(':');
    let mut listeners = Vec::new();
    for index in 0..given.len() {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let unfit = |error| io::Error::other(format!("`{name}` of the socket unit: {error}"));
        if let Some(listener) = given.take_tcp_listener(index).map_err(unfit)? {
            listeners.push((name, listener));
        }
    }
    Ok(listeners)
}

/// Take a descriptor that a former self left open.
#[expect(unsafe_code, reason = "a descriptor that was left open has no other way in than its number")]
fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only looked at here; the call fails if it is not open.
    fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it was left open for this process (the note's pid), and nobody else has taken it: notes are read once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The environment of the program that this process is about to become, with a note of what it is left.
pub(crate) fn environment_handing_over(listeners: &[(&str, &TcpListener)], past: Past) -> Vec<CString> {
    let listeners = listeners.iter().map(|(name, listener)| (listener.as_raw_fd(), (*name).to_owned()));
    let note = Note { pid: std::process::id(), past, listeners: listeners.collect() };
    // Serialising our own struct cannot fail; an empty note would be found out by the next one's missing sockets.
    let note = serde_json::to_string(&note).unwrap_or_default();
    let told = |name: &OsStr| TOLD_BY_SYSTEMD.iter().chain([&HANDED_OVER]).any(|other| name == *other);
    let kept = std::env::vars_os().filter(|(name, _)| !told(name));
    let all = kept.chain([(OsString::from(HANDED_OVER), OsString::from(note))]);
    all.filter_map(|(name, value)| {
        CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()).ok()
    })
    .collect()
}
