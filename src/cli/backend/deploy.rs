//! `gateway backend deploy`: a directory or a package becomes the release that serves, or nothing changes. This is
//! what CI calls over SSH.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use axum::body::Body;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::{Stream, StreamExt};
use http::Method;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::{Client, Failure, out, path_of, progress, the_one};
use crate::{
    admin::{BackendStatus, Deployed},
    cli::failure::Exit,
};

/// Never part of a release.
const LEFT_OUT: &str = ".git";

/// Made by the install command, where there is one.
const DEPENDENCIES: &str = "node_modules";

/// Chunks on their way to the gateway.
const CHUNKS_UNDER_WAY_MAX: usize = 16;

/// One chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Unpack a release beside the others, install it, and reload to it; if anything fails, everything is as it was
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The backend's `directory` is a symbolic link; releases are put into `releases/` beside it.

Examples:
  gateway backend deploy ./dist
  gateway backend deploy api build.tgz
  gateway backend deploy api - < build.tgz")]
pub(crate) struct Deploy {
    /// The backend (not needed if there is only one), and a directory, a tar archive (.tgz, .tar), or `-`
    #[arg(num_args = 1..=2, required = true, value_names = ["NAME", "DIR|FILE"])]
    words: Vec<String>,
    #[command(flatten)]
    form: out::Form,
}

impl Deploy {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let (name, source) = match &self.words[..] {
            [source] => (None, source),
            [name, source, ..] => (Some(name.clone()), source),
            [] => return Err(Failure::usage("what is to be deployed?")),
        };
        let name = the_one(client, name).await?;
        let sent = Arc::new(AtomicBool::new(false));
        let (body, packing) = open(client, &name, Path::new(source), &sent).await?;
        let path = path_of(&name, "deploy");
        let deployed: Result<Deployed, _> =
            progress::watched(client, Some(&name), client.upload(Method::POST, &path, body)).await;
        if let Err(Failure { exit: Exit::Interrupted, .. }) = &deployed
            && !sent.load(Ordering::Relaxed)
        {
            let message = "interrupted: the package was not sent to its end, and nothing is deployed";
            return Err(Failure { exit: Exit::Interrupted, ..Failure::failed(message) });
        }
        // An archive that broke off here is the reason for what the gateway says.
        if let (Err(_), Some(packing)) = (&deployed, packing)
            && let Ok(Err(failure)) = packing.await
        {
            return Err(failure);
        }
        let deployed = deployed?;
        if self.form.json {
            return out::json(&deployed);
        }
        let Deployed { release, files, generation } = deployed;
        let release = release.display();
        out::line(format!("backend {name} deployed: {files} files in {release}, generation {generation}"));
        Ok(())
    }
}

type Packing = tokio::task::JoinHandle<Result<(), Failure>>;

async fn open(
    client: &Client,
    name: &str,
    source: &Path,
    sent: &Arc<AtomicBool>,
) -> Result<(Body, Option<Packing>), Failure> {
    if source.as_os_str() == "-" {
        return Ok((body(ReaderStream::new(tokio::io::stdin()), sent), None));
    }
    if !source.is_dir() {
        let file = tokio::fs::File::open(source).await;
        let file = file.map_err(|error| Failure::io("read", source, &error))?;
        return Ok((body(ReaderStream::new(file), sent), None));
    }
    let backend: BackendStatus = client.show(&path_of(name, "")).await?;
    let (chunks, mut stream) = mpsc::channel(CHUNKS_UNDER_WAY_MAX);
    let directory = source.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        let out = io::BufWriter::with_capacity(CHUNK_BYTES, Chunks(chunks.clone()));
        let packed = pack(&directory, backend.installs, out);
        // A gateway that takes no more has said why.
        if chunks.is_closed() {
            return Ok(());
        }
        packed.inspect_err(|failure| {
            // The gateway must not take half an archive for a whole one.
            drop(chunks.blocking_send(Err(io::Error::other(failure.message.clone()))));
        })
    });
    let stream = futures_util::stream::poll_fn(move |cx| stream.poll_recv(cx));
    Ok((body(stream, sent), Some(packing)))
}

/// The package on its way; `sent` is true once all of it has been taken.
fn body(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static, sent: &Arc<AtomicBool>) -> Body {
    let sent = Arc::clone(sent);
    let end = futures_util::stream::poll_fn(move |_| {
        sent.store(true, Ordering::Relaxed);
        Poll::Ready(None)
    });
    Body::from_stream(chunks.chain(end))
}

/// What is written goes to the gateway, piece by piece.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directory as a compressed archive.
fn pack(directory: &Path, installs: bool, out: impl Write) -> Result<(), Failure> {
    let unreadable = |error: io::Error| Failure::io("pack", directory, &error);
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
    archive.follow_symlinks(false);
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let place = directory.join(&below);
        let entries = std::fs::read_dir(&place).map_err(|error| Failure::io("read", &place, &error))?;
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if name == LEFT_OUT || (installs && name == DEPENDENCIES) {
                continue;
            }
            let (path, kind) = (below.join(&name), entry.file_type().map_err(unreadable)?);
            if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
                continue;
            }
            let added = archive.append_path_with_name(entry.path(), &path);
            added.map_err(|error| Failure::io("read", &entry.path(), &error))?;
            if kind.is_dir() {
                open.push(path);
            }
        }
    }
    let mut out = archive.into_inner().and_then(GzEncoder::finish).map_err(unreadable)?;
    out.flush().map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_directory_is_packed_without_git_and_without_what_is_installed() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["a/b/c.js", ".git/config", "node_modules/x/index.js", ".env"] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("a", directory.path().join("link")).unwrap();
        let packed = |installs| -> BTreeSet<String> {
            let mut bytes = Vec::new();
            pack(directory.path(), installs, &mut bytes).unwrap();
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
            let entries = archive.entries().unwrap();
            entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
        };
        let plain = BTreeSet::from(["a/", "a/b/", "a/b/c.js", ".env", "link"].map(str::to_owned));
        let trimmed = |names: BTreeSet<String>| -> BTreeSet<String> {
            names.into_iter().map(|name| name.trim_end_matches('/').to_owned()).collect()
        };
        assert_eq!(trimmed(packed(true)), trimmed(plain));
        assert!(packed(false).iter().any(|name| name.starts_with("node_modules/x/index.js")));
    }
}
