//! What the workers wrote: one JSON object a line, the past first, then (if asked) each new line.

mod wanted;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{broadcast::error::RecvError, mpsc};

pub(in crate::admin) use self::wanted::Level;
use self::wanted::Wanted;
use super::{Desk, Query};
use crate::{
    admin::Problem,
    backend::{Backend, OutputLine, Record, Stream},
    error::{names_shown_by, nearest},
    job::Jobs,
    shutdown::Shutdown,
};

/// Lines under way to a terminal that is slower than the workers; a follower that falls behind further misses
/// lines and is told so.
const LINES_UNDER_WAY_MAX: usize = 1024;

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
            let near = nearest(backend, backends.keys().map(String::as_str));
            return Err(Problem::new(404, "no-such-backend", format!("there is no backend `{backend}`"))
                .hint(names_shown_by("gateway backend list", near)));
        }
    }
    // Followers subscribe before the past is read, and leave out what is part of it: no line is missing or comes twice.
    let receivers: Vec<_> = match wanted.follow {
        true => backends.iter().map(|(name, backend)| (name.clone(), backend.follow())).collect(),
        false => Vec::new(),
    };
    let (past, seen) = past(&backends, &jobs, &wanted);
    let seen = Arc::new(seen);
    let (lines, stream) = mpsc::channel(LINES_UNDER_WAY_MAX);
    for (backend, receiver) in receivers {
        let follower =
            Follower { backend, wanted: wanted.clone(), seen: Arc::clone(&seen), lines: lines.clone() };
        let life = desk.life.clone();
        desk.life.spawn(async move { follower.follow(receiver, &life).await });
    }
    drop(lines);
    let past: Vec<u8> = past.iter().flat_map(|line| Record::of(line).encoded()).collect();
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

/// The number of the last line of each worker that the past has had.
type Seen = HashMap<String, u64>;

fn past(backends: &BTreeMap<String, Arc<Backend>>, jobs: &Jobs, wanted: &Wanted) -> (Vec<OutputLine>, Seen) {
    let mut seen = Seen::new();
    let all = backends.values().flat_map(|backend| backend.output(None, usize::MAX)).chain(jobs.output());
    let mut lines: Vec<OutputLine> = all
        .inspect(|line| {
            let last = seen.entry(line.worker.clone()).or_default();
            *last = line.number.max(*last);
        })
        .filter(|line| wanted.wants(line))
        .collect();
    lines.sort_by_key(|line| (line.at, line.number));
    let surplus = lines.len().saturating_sub(wanted.lines);
    (lines.split_off(surplus), seen)
}

/// Somebody who wants new lines of a backend.
#[derive(Debug)]
struct Follower {
    backend: String,
    wanted: Wanted,
    seen: Arc<Seen>,
    lines: mpsc::Sender<Bytes>,
}

impl Follower {
    async fn follow(self, mut receiver: tokio::sync::broadcast::Receiver<OutputLine>, life: &Shutdown) {
        loop {
            let received = tokio::select! {
                received = receiver.recv() => received,
                () = self.lines.closed() => return,
                () = life.begun() => return,
            };
            let bytes = match received {
                Ok(line) if self.wants(&line) => Record::of(&line).encoded(),
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => Record::of(&self.missed(missed)).encoded(),
                Err(RecvError::Closed) => return,
            };
            let sent = tokio::select! {
                sent = self.lines.send(Bytes::from(bytes)) => sent,
                () = life.begun() => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn wants(&self, line: &OutputLine) -> bool {
        self.wanted.wants(line) && self.seen.get(&line.worker).is_none_or(|seen| line.number > *seen)
    }

    fn missed(&self, lines: u64) -> OutputLine {
        OutputLine {
            number: 0,
            worker: self.backend.clone(),
            pid: std::process::id(),
            stream: Stream::Gateway,
            at: Timestamp::now(),
            text: format!("{lines} lines missed: whoever follows is too slow"),
        }
    }
}
