//! A backup of everything, streamed while the gateway runs.

use std::{
    io::{self, Write},
    path::Path as FilePath,
};

use axum::{body::Body, extract::State, response::Response};
use base64::Engine as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Desk, Order};
use crate::{
    admin::{
        Problem,
        archive::{self, Contents},
        scratch::Scratch,
    },
    pool,
};

/// Chunks on their way out; a slow disk of the caller's holds the copying back.
const CHUNKS_UNDER_WAY_MAX: usize = 16;

/// One chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// What opens the backup's secrets again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupOrder {
    /// The passphrase.
    pub(crate) passphrase: String,
}

/// The archive as a stream. An error after its beginning cuts the stream, which the caller notices: its end is
/// missing.
pub(super) async fn backup(
    State(desk): State<Desk>,
    Order(order): Order<BackupOrder>,
) -> Result<Response, Problem> {
    let passphrase = Zeroizing::new(order.passphrase);
    let snapshot = desk.tenants.registry().snapshot();
    let tenants = snapshot.tenants().filter_map(|tenant| {
        let database = tenant.database.as_ref()?;
        Some((tenant.id.clone(), database.path().to_owned(), desk.pools.path_of(database)))
    });
    let key = base64::engine::general_purpose::STANDARD.encode(desk.tenants.seal_key().expose());
    let contents = Contents {
        places: desk.places.clone(),
        seal_key: Zeroizing::new(format!("{key}\n").into_bytes()),
        tenants: tenants.collect(),
    };
    drop(snapshot);
    let (chunks, stream) = mpsc::channel(CHUNKS_UNDER_WAY_MAX);
    let parts = desk.parts.clone();
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let copy = |from: &FilePath| {
            let scratch = Scratch::new(&parts.scratch_dir()).map_err(|error| error.to_string())?;
            let copied = runtime.block_on(async {
                if from == parts.places.registry_db {
                    parts.tenants.copy_to(scratch.path()).await.map_err(|error| Problem::of(&error))
                } else {
                    pool::online_copy(from, scratch.path()).await.map_err(|error| Problem::of(&error))
                }
            });
            copied.map(|()| scratch).map_err(|problem| problem.detail)
        };
        let writer = Chunks { chunks: chunks.clone() };
        let out = io::BufWriter::with_capacity(CHUNK_BYTES, writer);
        if let Err(problem) = archive::write(contents, &passphrase, copy, out) {
            tracing::error!(%problem, "the backup failed");
            // A caller that is gone needs no telling.
            let _gone = chunks.blocking_send(Err(io::Error::other(problem.to_string())));
        }
    };
    // The thread ends with the stream: a caller that goes away makes the next chunk fail.
    drop(tokio::task::spawn_blocking(work));
    let body = futures_util::stream::unfold(stream, |mut stream| async {
        stream.recv().await.map(|chunk| (chunk, stream))
    });
    Ok(Response::new(Body::from_stream(body)))
}

/// A writer's bytes as chunks of a stream.
struct Chunks {
    chunks: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the caller has gone away");
        self.chunks.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
