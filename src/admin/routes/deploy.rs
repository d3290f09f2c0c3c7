//! A release on its way to a backend: received whole, then deployed to the end, whoever waits for it.

use std::{path::Path as FilePath, time::Duration};

use axum::{Extension, Json, body::Body, extract::State};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{Desk, Path, backends};
use crate::{
    admin::{Peer, Problem, scratch::Scratch},
    backend::Deployed,
};

/// Whoever sends nothing for so long holds up the next deploy for nothing.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Receive, unpack, install, reload.
pub(super) async fn deploy(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<Deployed>, Problem> {
    let backend = backends::find(&desk, &name)?;
    let pid = peer.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let by = format!("{}{pid}", peer.name());
    let deploy = backend.begin_deploy(by).map_err(|error| Problem::of(&error))?;
    let scratch = Scratch::new(&desk.scratch_dir()).map_err(|e| Problem::machine("make a file", &e))?;
    let bytes_max = backend.package_bytes_max().map_err(|error| Problem::of(&error))?;
    receive(body, scratch.path(), bytes_max).await?;
    // A caller that goes away from here on must not leave a deploy half done.
    let life = desk.life.clone();
    let work = desk.life.spawn(async move {
        let stopping = || Problem::new(503, "stopping", "the gateway is stopping");
        tokio::select! {
            done = backend.deploy(deploy, scratch.path()) => done.map_err(|error| Problem::of(&error)),
            () = life.begun() => Err(stopping()),
        }
    });
    work.await.map_err(|error| Problem::machine("finish the deploy", &error))?.map(Json)
}

async fn receive(body: Body, path: &FilePath, bytes_max: u64) -> Result<(), Problem> {
    let unwritable = |error: std::io::Error| Problem::machine("keep the package", &error);
    let mut options = tokio::fs::File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).await.map_err(unwritable)?;
    let mut chunks = body.into_data_stream();
    let mut length = 0_u64;
    let silent = |_| {
        let seconds = SILENCE_MAX.as_secs();
        Problem::new(408, "upload-stalled", format!("nothing of the package came for {seconds} s"))
    };
    while let Some(chunk) = tokio::time::timeout(SILENCE_MAX, chunks.next()).await.map_err(silent)? {
        let chunk = chunk.map_err(|error| Problem::new(400, "upload-broken", error.to_string()))?;
        length += chunk.len() as u64;
        if length > bytes_max {
            let detail = format!("the package is larger than {bytes_max} bytes");
            return Err(Problem::new(413, "too-large", detail).hint("raise `release_bytes_max`"));
        }
        file.write_all(&chunk).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_package_that_stops_coming_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("half a package") });
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        let problem = receive(body, &directory.path().join("package"), 1000).await.unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (408, "upload-stalled"));
    }
}
