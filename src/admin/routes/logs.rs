//! What the workers wrote: one JSON object a line, the past first, then (if asked) each new line.

mod wanted;

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{broadcast::error::RecvError, mpsc};

use self::wanted::Wanted;
use super::{Desk, Query};
use crate::{
    admin::Problem,
    backend::{Backend, OutputLine},
    shutdown::Shutdown,
};

/// Lines under way to a terminal that is slower than the workers; a follower that falls behind further misses
/// lines and is told so.
const LINES_UNDER_WAY_MAX: usize = 1024;

/// A line on its way out: what is JSON stays JSON.
#[derive(Debug, Serialize)]
struct Sent<'a> {
    #[serde(flatten)]
    line: &'a OutputLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Map<String, Value>>,
}

/// The lines as a stream.
pub(super) async fn logs(
    State(desk): State<Desk>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let backends = desk.live("`logs`")?.house.backends();
    if let Some(name) = &wanted.worker {
        let backend = name.split('/').next().unwrap_or_default();
        if !backends.contains_key(backend) {
            return Err(Problem::new(404, "no-such-backend", format!("there is no backend `{backend}`"))
                .hint("`gateway backend list` shows the names of all workers"));
        }
    }
    // Followers subscribe before the past is read: a line between the two comes twice rather than never.
    let (lines, stream) = mpsc::channel(LINES_UNDER_WAY_MAX);
    if wanted.follow {
        for backend in backends.values() {
            let (wanted, lines, life) = (wanted.clone(), lines.clone(), desk.life.clone());
            let receiver = backend.follow();
            desk.life.spawn(async move { follow(receiver, wanted, lines, &life).await });
        }
    }
    drop(lines);
    let past: Vec<u8> = past(&backends, &wanted).iter().flat_map(encoded).collect();
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

fn past(backends: &BTreeMap<String, Arc<Backend>>, wanted: &Wanted) -> Vec<OutputLine> {
    let mut lines: Vec<OutputLine> = backends
        .values()
        .flat_map(|backend| backend.output(None, usize::MAX))
        .filter(|line| wanted.wants(line))
        .collect();
    lines.sort_by_key(|line| line.at);
    let surplus = lines.len().saturating_sub(wanted.lines);
    lines.split_off(surplus)
}

async fn follow(
    mut receiver: tokio::sync::broadcast::Receiver<OutputLine>,
    wanted: Wanted,
    lines: mpsc::Sender<Bytes>,
    life: &Shutdown,
) {
    loop {
        let received = tokio::select! {
            received = receiver.recv() => received,
            () = lines.closed() => return,
            () = life.begun() => return,
        };
        let bytes = match received {
            Ok(line) if wanted.wants(&line) => Bytes::from(encoded(&line)),
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
    let mut bytes = serde_json::to_vec(&Sent { line, json: wanted::fields(&line.text) }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
