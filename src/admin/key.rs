//! What shows that a caller is no worker. Workers of the gateway's own user are, by their user alone, whom orders are taken
//! from. But the kernel keeps every worker, and whatever it starts, from new privileges for good (`no_new_privs`), those
//! too whose parents have all ended. So who is kept like that has to show what no sandboxed process can read: a key that
//! lies beside the socket, anew for each life of the gateway. It must never be asked of anybody else: `curl` is enough.

use std::{
    fmt,
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::constant_time;
use http::{HeaderMap, HeaderName, HeaderValue};
use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt::PeerPidfd},
    unistd::{Gid, fchown},
};
use tokio::net::UnixStream;

/// In which the key is shown.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("gateway-key");

/// Nobody guesses that many random bytes.
const KEY_BYTES: usize = 24;

/// How free the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// It may become more than it is, as an operator's shell may: no worker.
    Free,
    /// It may not: a worker, or a service that is hardened; or it has ended and cannot be asked.
    Held,
}

/// This life's, removed when dropped.
#[derive(Debug, Clone)]
pub(super) struct Key(Arc<Laid>);

struct Laid {
    path: PathBuf,
    words: String,
}

impl Bond {
    /// Ask the kernel, as soon as the caller has come: later its id may be somebody else's.
    pub(super) fn of(stream: &UnixStream) -> Self {
        match getsockopt(stream, PeerPidfd) {
            // The id is the caller's as long as it has not ended, which the descriptor tells.
            Ok(held) => match pid_of(&held) {
                Some(pid) if pid_of_the_same(&held, pid, Self::of_process) == Some(Self::Free) => Self::Free,
                _ => Self::Held,
            },
            // Before Linux 6.5: the id is still the caller's unless it has ended and the id has gone round meanwhile.
            Err(Errno::ENOPROTOOPT) => {
                let pid = stream.peer_cred().ok().and_then(|credential| credential.pid());
                pid.map_or(Self::Held, Self::of_process)
            }
            Err(_) => Self::Held,
        }
    }

    fn of_process(pid: i32) -> Self {
        // Outside of our pid namespace, where no descendant of ours can be.
        if pid == 0 {
            return Self::Free;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NoNewPrivs:"));
        if line.is_some_and(|value| value.trim() == "0") { Self::Free } else { Self::Held }
    }
}

/// Whose descriptor it is; -1 when it has ended (proc_pid_fdinfo(5)).
fn pid_of(held: &OwnedFd) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", held.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|pid| *pid >= 0)
}

fn pid_of_the_same<T>(held: &OwnedFd, pid: i32, ask: impl FnOnce(i32) -> T) -> Option<T> {
    let said = ask(pid);
    (pid_of(held) == Some(pid)).then_some(said)
}

impl Key {
    /// Lay a new one beside the socket, in place of what a crash has left, for us and that group to read.
    pub(super) fn lay(socket: &Path, group: Option<Gid>) -> io::Result<Self> {
        let path = key_beside(socket);
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
        let words = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let laid = Laid { path, words };
        file.write_all(laid.words.as_bytes())?;
        if let Some(gid) = group {
            fchown(&file, None, Some(gid))?;
            file.set_permissions(Permissions::from_mode(0o640))?;
        }
        Ok(Self(Arc::new(laid)))
    }

    /// Has it been shown?
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(KEY_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        constant_time::verify_slices_are_equal(shown, self.0.words.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Laid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Laid").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        // Not that of a life that has begun meanwhile.
        if fs::read(&self.path).is_ok_and(|words| words == self.words.as_bytes()) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// The key of the gateway that listens there, for who may read it.
pub(crate) fn key_to(socket: &Path) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(&fs::read(key_beside(socket)).ok()?).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Make a place for the key where none lies yet: what is hidden from workers must be there when they start.
pub(crate) fn make_place_for_key(socket: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(key_beside(socket)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Where the key of the gateway with that socket lies.
pub(crate) fn key_beside(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".key");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_for_who_can_read_it_and_goes_with_its_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        fs::write(key_beside(&socket), "of one that was killed").unwrap();
        let key = Key::lay(&socket, None).unwrap();
        assert_eq!(fs::metadata(key_beside(&socket)).unwrap().permissions().mode() & 0o777, 0o600);
        let with = |value: Option<HeaderValue>| -> HeaderMap {
            value.map(|value| (KEY_HEADER, value)).into_iter().collect()
        };
        assert!(key.is_shown(&with(key_to(&socket))));
        for wrong in [None, Some(HeaderValue::from_static("")), Some(HeaderValue::from_static("guess"))] {
            assert!(!key.is_shown(&with(wrong)));
        }
        drop(key);
        assert_eq!(key_to(&socket), None);
        let _key = Key::lay(&socket, Some(nix::unistd::getegid())).unwrap();
        assert_eq!(fs::metadata(key_beside(&socket)).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[tokio::test]
    async fn the_kernel_says_how_free_a_caller_is() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let own = if status.contains("NoNewPrivs:\t0") { Bond::Free } else { Bond::Held };
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!((Bond::of(&ours), Bond::of_process(std::process::id().cast_signed())), (own, own));
        assert_eq!(Bond::of_process(0), Bond::Free);
        // Of nobody: it has ended.
        assert_eq!(Bond::of_process(i32::MAX), Bond::Held);
    }
}
