//! A Unix socket that a process of another user has made, in a directory that is that user's to write. It must never
//! speak to anybody but that user: a link in the socket's place would lead to whatever the gateway alone may reach.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

/// Where it is, and who has to listen there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UnixSocket {
    path: PathBuf,
    /// The user's id; none where whoever set it up answers for it.
    owner: Option<u32>,
}

impl UnixSocket {
    /// One on which this user listens.
    pub(in crate::backend) fn of(path: PathBuf, uid: u32) -> Self {
        Self { path, owner: Some(uid) }
    }

    /// One whose maker answers for it.
    pub(super) fn of_anybody(path: PathBuf) -> Self {
        Self { path, owner: None }
    }

    /// Its name in the file system.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Connect, and see who has taken it: the kernel keeps who called `listen` (unix(7), `SO_PEERCRED`), whatever lies at
    /// the path. Cancel safe: a half-made connection is closed.
    ///
    /// # Errors
    /// Nobody listens there, or somebody else does (`PermissionDenied`).
    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path).await?;
        if let Some(owner) = self.owner {
            let listens = stream.peer_cred()?.uid();
            if listens != owner {
                let what = format!("user {listens} listens on the socket, and not user {owner}, whose it is");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
            }
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn nobody_is_spoken_to_but_the_user_whose_socket_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        let _listener = UnixListener::bind(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let own = nix::unistd::getuid().as_raw();
        for path in [real, link] {
            UnixSocket::of(path.clone(), own).connect().await.unwrap();
            UnixSocket::of_anybody(path.clone()).connect().await.unwrap();
            let error = UnixSocket::of(path, own + 1).connect().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        }
    }
}
