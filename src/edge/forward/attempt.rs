//! One try at one worker. It must say truly how far the request got: everything about retries hangs on it.

use std::pin::pin;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::{backend::WorkerLease, metrics::BackendLabels};

use super::{
    super::{
        body::{RequestBody, Upload},
        refusal::Refusal,
        serve::Exchange,
    },
    upstream::Connection,
};

/// A worker has begun its answer.
pub(super) struct Sent {
    pub(super) connection: Connection,
    pub(super) response: Response<Incoming>,
}

/// How far a failed try got.
pub(super) enum Failure {
    /// No connection to this worker can be made.
    NotConnected(RequestBody),
    /// An idle connection turned out to be closed before anything was written.
    NotSent(RequestBody),
    /// It was written, perhaps in part, and not a byte came back.
    Died { reused: bool, empty: bool, reason: String },
    /// No other try can do better.
    Final(Refusal),
}

/// Send a request, and wait for the answer's head.
pub(super) async fn send(
    exchange: &Exchange,
    lease: &WorkerLease,
    mut request: Request<()>,
    body: Option<RequestBody>,
    fresh: bool,
) -> Result<Sent, Failure> {
    let body = body.unwrap_or(RequestBody::Empty);
    let empty = matches!(body, RequestBody::Empty);
    let thread = &exchange.thread;
    let limits = &exchange.settings.limits;
    let idle = if fresh { None } else { thread.upstreams.take(lease.key()) };
    let reused = idle.is_some();
    let mut connection = match idle {
        Some(connection) => connection,
        None => {
            let connecting = Connection::open(lease, &thread.shared.shutdown);
            match tokio::time::timeout(limits.connect_timeout, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    tracing::debug!(worker = lease.name(), %error, "cannot connect");
                    return Err(Failure::NotConnected(body));
                }
                Err(_) => return Err(Failure::NotConnected(body)),
            }
        }
    };
    exchange.record.sent(connection.worker());
    let answered_bytes = connection.read_bytes();
    let (parts, ()) = std::mem::take(&mut request).into_parts();
    let answer = connection.send(Request::from_parts(parts, body));
    let Some(outcome) = first_byte(exchange, answer).await else {
        return Err(Failure::Final(Refusal::WorkerSlow));
    };
    let mut error = match outcome {
        Ok(response) => return Ok(Sent { connection, response }),
        Err(error) => error,
    };
    if let Some(unsent) = error.take_message() {
        return Err(Failure::NotSent(unsent.into_body()));
    }
    Err(match exchange.record.uploaded() {
        Upload::TooLarge => Failure::Final(Refusal::BodyTooLarge { bytes_max: limits.body_bytes_max }),
        Upload::Stalled => Failure::Final(Refusal::BodyStalled),
        Upload::Broken => Failure::Final(Refusal::BodyBroken),
        _ => {
            let reason = format!("{}: {}", lease.name(), error.error());
            let began = connection.read_bytes() != answered_bytes;
            if began {
                Failure::Final(Refusal::WorkerFailed(reason))
            } else {
                Failure::Died { reused, empty, reason }
            }
        }
    })
}

/// Wait for the head; the clock starts when the request's body has been passed on, so that slow uploads are not
/// the worker's fault. `None` when it took too long.
async fn first_byte<T>(exchange: &Exchange, answer: impl Future<Output = T>) -> Option<T> {
    let patience = exchange.settings.limits.first_byte_timeout;
    let mut answer = pin!(answer);
    let mut wait = patience;
    loop {
        match tokio::time::timeout(wait, answer.as_mut()).await {
            Ok(outcome) => return Some(outcome),
            Err(_) => match exchange.record.uploaded() {
                Upload::Running => wait = patience,
                Upload::Done(at) if at.elapsed() < patience => wait = patience - at.elapsed(),
                _ => return None,
            },
        }
    }
}

/// One more try.
pub(super) fn count_retry(exchange: &Exchange, backend: &str) {
    let labels = BackendLabels { backend: backend.to_owned() };
    exchange.thread.shared.metrics.retries_total.get_or_create(&labels).inc();
}
