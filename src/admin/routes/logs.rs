//! What the workers wrote: one JSON object a line, the past first, then (if asked) each new line.

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{Desk, Query};
use crate::{
    admin::Problem,
    backend::{Backend, OutputLine},
    job::Jobs,
    shutdown::Shutdown,
};

/// Lines under way to a terminal that is slower than the workers; a follower that falls behind further misses
/// lines and is told so.
const LINES_UNDER_WAY_MAX: usize = 1024;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// `api/0`, `api`, or none for all.
    worker: Option<String>,
    #[serde(default)]
    lines: usize,
    #[serde(default)]
    follow: bool,
}

impl Wanted {
    fn wants(&self, worker: &str) -> bool {
        self.worker.as_deref().is_none_or(|name| {
            worker == name || worker.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

/// The lines as a stream.
pub(super) async fn logs(
    State(desk): State<Desk>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let house = &desk.live("`logs`")?.house;
    let (backends, jobs) = (house.backends(), house.jobs());
    if let Some(name) = &wanted.worker {
        let mut steps = name.split('/');
        let backend = steps.next().unwrap_or_default();
        if backend == "job" {
            // All jobs, or this one.
            steps
                .next()
                .map_or(Ok(()), |job| jobs.show(job).map(drop))
                .map_err(|error| Problem::of(&error))?;
        } else if !backends.contains_key(backend) {
            return Err(Problem::new(404, "no-such-backend", format!("there is no backend `{backend}`"))
                .hint("`gateway backend list` shows the names of all workers"));
        }
    }
    // Followers subscribe before the past is read: a line between the two comes twice rather than never.
    let (lines, stream) = mpsc::channel(LINES_UNDER_WAY_MAX);
    if wanted.follow {
        for backend in backends.values() {
            let (wanted, lines, life) = (wanted.worker.clone(), lines.clone(), desk.life.clone());
            let receiver = backend.follow();
            desk.life.spawn(async move { follow(receiver, wanted, lines, &life).await });
        }
    }
    drop(lines);
    let past: Vec<u8> = past(&backends, &jobs, &wanted).iter().flat_map(encoded).collect();
    let first = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(past))]);
    let rest = futures_util::stream::unfold(stream, |mut stream| async {
        stream.recv().await.map(|line| (Ok(line), stream))
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    let mut response = Response::new(body);
    let kind = http::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}

fn past(backends: &BTreeMap<String, Arc<Backend>>, jobs: &Jobs, wanted: &Wanted) -> Vec<OutputLine> {
    let mut lines: Vec<OutputLine> = backends
        .values()
        .flat_map(|backend| backend.output(None, usize::MAX))
        .chain(jobs.output())
        .filter(|line| wanted.wants(&line.worker))
        .collect();
    lines.sort_by_key(|line| line.at);
    let surplus = lines.len().saturating_sub(wanted.lines);
    lines.split_off(surplus)
}

async fn follow(
    mut receiver: tokio::sync::broadcast::Receiver<OutputLine>,
    worker: Option<String>,
    lines: mpsc::Sender<Bytes>,
    life: &Shutdown,
) {
    let wanted = Wanted { worker, lines: 0, follow: true };
    loop {
        let received = tokio::select! {
            received = receiver.recv() => received,
            () = lines.closed() => return,
            () = life.begun() => return,
        };
        let bytes = match received {
            Ok(line) if wanted.wants(&line.worker) => Bytes::from(encoded(&line)),
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => Bytes::from(format!("[{missed} lines missed: too slow]\n")),
            Err(RecvError::Closed) => return,
        };
        let sent = tokio::select! {
            sent = lines.send(bytes) => sent,
            () = life.begun() => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn encoded(line: &OutputLine) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_worker_or_all_of_a_backend() {
        for (name, worker, want) in [
            (None, "api/0", true),
            (Some("api"), "api/0", true),
            (Some("api/0"), "api/0", true),
            (Some("api/0"), "api/01", false),
            (Some("ap"), "api/0", false),
            (Some("api/1"), "api/0", false),
        ] {
            let wanted = Wanted { worker: name.map(str::to_owned), lines: 0, follow: false };
            assert_eq!(wanted.wants(worker), want, "{name:?} {worker}");
        }
    }
}
