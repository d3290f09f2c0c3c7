//! The jobs: how they are, and the order to run one now. A run that was ordered is told as it goes on, one JSON object a
//! line; it goes on to its end when nobody listens any more.

use std::{convert::Infallible, ops::ControlFlow};

use axum::{Extension, Json, body::Body, extract::State, response::Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{
    broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    mpsc,
};

use super::{Desk, Order, Path};
use crate::{
    admin::{
        Problem,
        audit::{Entry, ToldLater},
    },
    backend::OutputLine,
    job::{JobView, Outcome, RunView, UnderWay, Verdict, Watching},
    tenant::TenantId,
};

/// Events on their way to a terminal that is slower than the job.
const EVENTS_UNDER_WAY_MAX: usize = 1024;

/// For whom to run it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JobOrder {
    /// All that the job is for, if none is named.
    pub(crate) tenant: Option<TenantId>,
}

/// What is told of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobEvent {
    /// It has begun.
    Begun(UnderWay),
    /// It wrote a line.
    Line(OutputLine),
    /// One process has ended.
    Verdict(Verdict),
    /// So many lines or verdicts went by too fast.
    Missed(u64),
    /// It is over.
    Over(RunView),
}

/// Every job.
pub(super) async fn list(State(desk): State<Desk>) -> Result<Json<Vec<JobView>>, Problem> {
    Ok(Json(desk.live("`job list`")?.house.jobs().list()))
}

/// One job.
pub(super) async fn show(
    State(desk): State<Desk>,
    Path(name): Path<String>,
) -> Result<Json<JobView>, Problem> {
    let jobs = desk.live("`job list`")?.house.jobs();
    jobs.show(&name).map(Json).map_err(|error| Problem::of(&error))
}

/// End the run that is under way.
pub(super) async fn stop(
    State(desk): State<Desk>,
    Path(name): Path<String>,
) -> Result<Json<RunView>, Problem> {
    let jobs = desk.live("`job stop`")?.house.jobs();
    jobs.stop(&name).await.map(Json).map_err(|error| Problem::of(&error))
}

/// Run one now, and tell of it until it is over.
pub(super) async fn run(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Extension(entry): Extension<Entry>,
    Order(order): Order<JobOrder>,
) -> Result<Response, Problem> {
    let jobs = desk.live("`job run`")?.house.jobs();
    let watching = jobs.run(&name, order.tenant).await.map_err(|error| Problem::of(&error))?;
    let (events, stream) = mpsc::channel(EVENTS_UNDER_WAY_MAX);
    desk.life.spawn(async move {
        let outcome = tell(&name, watching, &events).await;
        let problem = outcome.filter(|outcome| !outcome.is_good()).map(|outcome| {
            Problem::new(502, "job-failed", format!("the run of job `{name}` {}", outcome.told()))
        });
        entry.tell(problem.as_ref().map_or(200, |problem| problem.status), problem.as_ref());
    });
    let lines = futures_util::stream::unfold(stream, |mut stream| async {
        stream.recv().await.map(|line| (Ok::<_, Infallible>(line), stream))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let kind = http::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response.extensions_mut().insert(ToldLater);
    Ok(response)
}

/// Until it is over. A listener that has gone away is not waited for, but the outcome is.
async fn tell(job: &str, mut watching: Watching, events: &mpsc::Sender<Bytes>) -> Option<Outcome> {
    send(events, &JobEvent::Begun(watching.run.clone())).await;
    let over = loop {
        tokio::select! {
            biased;
            over = &mut watching.over => break over.ok(),
            event = heard(job, &mut watching.lines) => send(events, &event).await,
            Ok(verdict) = watching.verdicts.recv() => send(events, &JobEvent::Verdict(verdict)).await,
        }
    };
    // What it wrote and how its processes ended was told before it was over.
    while let ControlFlow::Continue(line) = next(watching.lines.try_recv()) {
        if let Some(line) = line.filter(|line| is_of(job, line)) {
            send(events, &JobEvent::Line(line)).await;
        }
    }
    while let ControlFlow::Continue(verdict) = next(watching.verdicts.try_recv()) {
        if let Some(verdict) = verdict {
            send(events, &JobEvent::Verdict(verdict)).await;
        }
    }
    let run = over?;
    let outcome = run.outcome;
    send(events, &JobEvent::Over(run)).await;
    Some(outcome)
}

/// The next line of the job's, or how many lines were missed. Cancel safe.
async fn heard(job: &str, lines: &mut Receiver<OutputLine>) -> JobEvent {
    loop {
        match lines.recv().await {
            Ok(line) if is_of(job, &line) => return JobEvent::Line(line),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => return JobEvent::Missed(missed),
            // The run's end is heard of elsewhere.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// One more, none for those that were missed, or the end.
fn next<T>(received: Result<T, TryRecvError>) -> ControlFlow<(), Option<T>> {
    match received {
        Ok(one) => ControlFlow::Continue(Some(one)),
        Err(TryRecvError::Lagged(_)) => ControlFlow::Continue(None),
        Err(TryRecvError::Empty | TryRecvError::Closed) => ControlFlow::Break(()),
    }
}

fn is_of(job: &str, line: &OutputLine) -> bool {
    let mut steps = line.worker.split('/');
    steps.next() == Some("job") && steps.next() == Some(job)
}

async fn send(events: &mpsc::Sender<Bytes>, event: &JobEvent) {
    let mut bytes = serde_json::to_vec(event).unwrap_or_default();
    bytes.push(b'\n');
    // A caller that has gone away needs no telling.
    let _gone = events.send(bytes.into()).await;
}
