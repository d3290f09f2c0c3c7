//! A stream from the gateway into a file of the caller's: readable by the caller alone, whole or not at all.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::Failure;
use crate::admin;

/// Where the stream goes.
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// Into `partial`, which becomes `file` when it is whole.
    File {
        /// What was asked for.
        file: PathBuf,
        /// Beside it, and gone if anything fails.
        partial: Partial,
    },
}

/// A file that is removed unless it was kept.
pub(crate) struct Partial {
    path: PathBuf,
    handle: std::fs::File,
    kept: bool,
}

impl Target {
    /// Make sure of the place before anything is ordered.
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        if file.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        if file.exists() {
            return Err(Failure::failed(format!("`{}` exists already", file.display()))
                .hint("move it away or choose another name: nothing is overwritten"));
        }
        let mut path = file.as_os_str().to_owned();
        path.push(format!(".partial-{}", std::process::id()));
        let path = PathBuf::from(path);
        let handle =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(
                |error| {
                    let failure = Failure::io("write", &path, &error);
                    match error.kind() {
                        std::io::ErrorKind::PermissionDenied => failure.hint(
                            "without a running gateway this works as the state directory's owner: write to \
                         `-` and redirect",
                        ),
                        _ => failure,
                    }
                },
            )?;
        Ok(Self::File { file: file.to_owned(), partial: Partial { path, handle, kept: false } })
    }

    /// Write the whole stream; says how many bytes.
    pub(crate) async fn fill(self, body: Body) -> Result<u64, Failure> {
        let (mut body, mut bytes) = (body, 0);
        match self {
            Self::Stdout => {
                while let Some(chunk) = next(&mut body).await? {
                    std::io::stdout()
                        .write_all(&chunk)
                        .map_err(|error| Failure::failed(format!("cannot write: {error}")))?;
                    bytes += chunk.len() as u64;
                }
                std::io::stdout().flush().map_err(|e| Failure::failed(format!("cannot write: {e}")))?;
            }
            Self::File { file, mut partial } => {
                let unwritable = |error: std::io::Error| Failure::io("write", &file, &error);
                while let Some(chunk) = next(&mut body).await? {
                    partial.handle.write_all(&chunk).map_err(unwritable)?;
                    bytes += chunk.len() as u64;
                }
                partial.handle.sync_all().map_err(unwritable)?;
                std::fs::rename(&partial.path, &file).map_err(unwritable)?;
                partial.kept = true;
            }
        }
        Ok(bytes)
    }
}

/// The next bytes. A stream that could not be ended well says so in a trailer.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    let Some(frame) = body.frame().await else { return Ok(None) };
    let trailers = match frame.map_err(|error| broken(&error))?.into_data() {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(other) => other.into_trailers().unwrap_or_default(),
    };
    let Some(said) = trailers.get(admin::PROBLEM_TRAILER) else { return Ok(None) };
    let problem = serde_json::from_slice::<admin::Problem>(said.as_bytes());
    Err(problem.map_or_else(|_| broken(&"without a reason that can be read"), Failure::from))
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the stream broke off before its end: {error}"))
        .hint("the gateway's log says why; nothing was kept")
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_whole_and_0600_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("backup.tar");
        let chunks: [Result<&str, std::io::Error>; 2] = [Ok("half"), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        assert!(Target::open(&file).unwrap().fill(body).await.is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(Target::open(&file).unwrap().fill(Body::from("whole")).await.unwrap(), 5);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert!(Target::open(&file).is_err(), "nothing is overwritten");
    }
}
