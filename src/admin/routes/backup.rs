//! A backup of everything, streamed while the gateway runs.

use std::{
    io::{self, Write},
    path::Path as FilePath,
};

use axum::{Extension, body::Body, extract::State, response::Response};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, sync::mpsc};
use zeroize::Zeroizing;

use super::{Desk, Order};
use crate::{
    admin::{
        Parts, Problem,
        archive::{self, Contents},
        audit::{Entry, ToldLater},
        scratch::Scratch,
    },
    pool::{self, PoolError},
};

/// The trailer in which a stream that cannot be ended well says why: a problem, as JSON.
pub(crate) const PROBLEM_TRAILER: HeaderName = HeaderName::from_static("gateway-problem");

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

/// What goes to the caller, in order.
enum Piece {
    Chunk(Bytes),
    /// The end, before its time.
    Failed(Problem),
}

/// The archive as a stream. What goes wrong after its beginning is said in a trailer to callers that take them; to
/// others the stream is cut. Either way the archive's last entry is missing.
pub(super) async fn backup(
    State(desk): State<Desk>,
    Extension(entry): Extension<Entry>,
    headers: HeaderMap,
    Order(order): Order<BackupOrder>,
) -> Response {
    let passphrase = Zeroizing::new(order.passphrase);
    let contents = contents(&desk);
    let (pieces, stream) = mpsc::channel(CHUNKS_UNDER_WAY_MAX);
    let (parts, runtime) = (desk.parts.clone(), Handle::current());
    let work = move || {
        let writer = Chunks { pieces: pieces.clone() };
        let out = io::BufWriter::with_capacity(CHUNK_BYTES, writer);
        let copy = |from: &FilePath| runtime.block_on(copy(&parts, from));
        let written = archive::write(contents, &passphrase, copy, out);
        let problem = written.err().map(|problem| Problem::of(&problem));
        entry.tell(problem.as_ref().map_or(200, |problem| problem.status), problem.as_ref());
        if let Some(problem) = problem {
            // A caller that is gone needs no telling.
            let _gone = pieces.blocking_send(Piece::Failed(problem));
        }
    };
    // The thread ends with the stream: a caller that goes away makes the next chunk fail.
    drop(tokio::task::spawn_blocking(work));
    let takes_trailers = headers.get(header::TE).is_some_and(|te| te == "trailers");
    let frames = futures_util::stream::unfold(stream, move |mut stream| async move {
        let frame = match stream.recv().await? {
            Piece::Chunk(bytes) => Ok(Frame::data(bytes)),
            Piece::Failed(problem) if takes_trailers => Ok(Frame::trailers(trailers(&problem))),
            Piece::Failed(problem) => Err(io::Error::other(problem.detail)),
        };
        Some((frame, stream))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(header::TRAILER, PROBLEM_TRAILER.into());
    response.extensions_mut().insert(ToldLater);
    response
}

fn contents(desk: &Desk) -> Contents {
    let snapshot = desk.tenants.registry().snapshot();
    let tenants = snapshot.tenants().filter_map(|tenant| {
        let database = tenant.database.as_ref()?;
        Some((tenant.id.clone(), database.path().to_owned(), desk.pools.path_of(database)))
    });
    let key = base64::engine::general_purpose::STANDARD.encode(desk.tenants.seal_key().expose());
    Contents {
        places: desk.places.clone(),
        seal_key: Zeroizing::new(format!("{key}\n").into_bytes()),
        certificates: (desk.certificates)(),
        tenants: tenants.collect(),
    }
}

/// A copy that is whole and sound: a restore would refuse the whole archive for one that is not.
async fn copy(parts: &Parts, from: &FilePath) -> Result<Scratch, Problem> {
    let scratch = Scratch::new(&parts.scratch_dir()).map_err(|e| Problem::machine("make a file", &e))?;
    if from == parts.places.registry_db {
        parts.tenants.copy_to(scratch.path()).await.map_err(|error| Problem::of(&error))?;
        return Ok(scratch);
    }
    pool::online_copy(from, scratch.path()).await.map_err(|error| Problem::of(&error))?;
    pool::check(scratch.path()).await.map_err(|error| match error {
        // The copy has the damage of what was copied, and goes away with its name.
        PoolError::Damaged { finding, .. } => {
            Problem::of(&PoolError::Damaged { path: from.to_owned(), finding })
        }
        other => Problem::of(&other),
    })?;
    Ok(scratch)
}

fn trailers(problem: &Problem) -> HeaderMap {
    let value = serde_json::to_vec(problem).ok().and_then(|json| HeaderValue::from_bytes(&json).ok());
    // A name with a control character in it: that there was a problem must get through all the same.
    HeaderMap::from_iter([(PROBLEM_TRAILER, value.unwrap_or(HeaderValue::from_static("{}")))])
}

/// A writer's bytes as chunks of a stream.
struct Chunks {
    pieces: mpsc::Sender<Piece>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the caller has gone away");
        self.pieces.blocking_send(Piece::Chunk(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
