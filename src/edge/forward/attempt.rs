//! One try at one worker. It must say truly how far the request got: everything about retries hangs on it.

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Response, request::Parts};

use crate::{backend::WorkerLease, error::is_out_of_descriptors, metrics::BackendLabels};

use super::{
    super::{
        body::{RequestBody, Upload},
        refusal::Refusal,
        serve::Exchange,
    },
    connection::{Broken, Connection},
    head::{Asked, Head},
    sending::{Cut, Sending},
    socket::Writer,
};

/// A request's head, ready to be sent.
pub(super) struct Outgoing<'a> {
    /// As it came.
    pub(super) head: &'a Parts,
    /// As the worker gets it, from `request::rebuild`.
    pub(super) lines: Vec<u8>,
    /// It asks for another protocol.
    pub(super) upgrade: bool,
}

/// A worker has begun its answer.
pub(super) struct Sent {
    pub(super) connection: Box<Connection>,
    pub(super) response: Response<()>,
}

/// How far a failed try got.
pub(super) enum Failure {
    /// This worker takes no connection, or closed it without reading.
    NotConnected(RequestBody),
    /// An idle connection turned out to be closed, and nothing of the request was read.
    NotSent(RequestBody),
    /// It may have been read, and not a byte came back. `again`: the body, if it can be sent again.
    Died { reused: bool, again: Option<RequestBody>, reason: String },
    /// No other try can do better.
    Final(Refusal),
}

/// Send a request, and wait for the answer's head. Cancel safe: dropped, it closes the connection.
pub(super) async fn send(
    exchange: &Exchange,
    lease: &WorkerLease,
    request: Outgoing<'_>,
    body: Option<RequestBody>,
    fresh: bool,
) -> Result<Sent, Failure> {
    let body = body.unwrap_or(RequestBody::Empty);
    let empty = matches!(body, RequestBody::Empty);
    // What can be sent again needs no certainty that the connection lives.
    let careful = !empty || !request.head.method.is_idempotent();
    let thread = &exchange.thread;
    let idle = if fresh { None } else { thread.upstreams.take(lease.key(), careful) };
    let reused = idle.is_some();
    let mut connection = match idle {
        Some(connection) => connection,
        None => match open(exchange, lease).await {
            Ok(connection) => connection,
            // Every other worker would take a descriptor, too.
            Err(Unopened::Here) => return Err(Failure::Final(Refusal::NoDescriptor)),
            Err(Unopened::There) => return Err(Failure::NotConnected(body)),
        },
    };
    exchange.record.sent(connection.worker());
    connection.begin();
    let asked = Asked { head: request.head.method == Method::HEAD, upgrade: request.upgrade };
    let mut sending = Sending::new(request.head, body, request.lines);
    let mut waiting = Waiting { exchange, asked, whole: false, taken: 0 };
    let outcome = poll_fn(|cx| waiting.poll(cx, &mut connection, &mut sending)).await;
    let whole = waiting.whole;
    let broken = match outcome {
        Outcome::Answer(head) => {
            if !whole || sending.refused().is_some() {
                // Whether all of it arrives or not, nobody can tell any more where the next request would begin.
                let writer = connection.split_off();
                let idle = exchange.terms.body_idle_timeout;
                let finish = writer.map(|writer| finish(sending, writer, idle));
                drop(finish.map(|finish| thread.shared.shutdown.spawn_local(finish)));
            } else {
                thread.upstreams.keep_space(sending.into_space());
            }
            return Ok(Sent { connection, response: head.response });
        }
        Outcome::Slow => return Err(Failure::Final(Refusal::WorkerSlow)),
        Outcome::Cut => return Err(Failure::Final(cut(exchange))),
        Outcome::Broken(broken) => broken,
    };
    // What came and made no sense is an answer, too.
    let began = connection.has_begun_to_answer() || !matches!(broken, Broken::HungUp | Broken::Io(_));
    let never_read = sending.taken() == 0 || (sending.is_one_piece() && connection.was_never_read(&broken));
    let reason = format!("{}: {broken}", lease.name());
    Err(match sending.into_body() {
        _ if began => Failure::Final(Refusal::WorkerFailed(reason)),
        Some(body) if never_read && reused => Failure::NotSent(body),
        Some(body) if never_read => Failure::NotConnected(body),
        again => Failure::Died { reused, again, reason },
    })
}

/// Whose fault it is that there is no connection.
enum Unopened {
    Here,
    There,
}

async fn open(exchange: &Exchange, lease: &WorkerLease) -> Result<Box<Connection>, Unopened> {
    let timeout = exchange.settings.limits.connect_timeout;
    match tokio::time::timeout(timeout, Connection::open(lease)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if is_out_of_descriptors(&error) => Err(Unopened::Here),
        Ok(Err(error)) => {
            tracing::debug!(worker = lease.name(), %error, "cannot connect");
            Err(Unopened::There)
        }
        Err(_) => Err(Unopened::There),
    }
}

/// Why the request's body ended early.
fn cut(exchange: &Exchange) -> Refusal {
    match exchange.record.uploaded() {
        Upload::TooLarge => Refusal::BodyTooLarge { bytes_max: exchange.terms.body_bytes_max },
        Upload::Stalled => Refusal::BodyStalled,
        _ => Refusal::BodyBroken,
    }
}

/// A request under way: sent and listened for at the same time, because a worker may answer early.
struct Waiting<'a> {
    exchange: &'a Exchange,
    asked: Asked,
    /// The request has been passed on, as far as the worker takes it.
    whole: bool,
    /// What the worker had taken of it when the clock was last looked at.
    taken: u64,
}

enum Outcome {
    Answer(Head),
    Broken(Broken),
    /// The client's body broke off.
    Cut,
    /// The answer took too long.
    Slow,
}

impl Waiting<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        sending: &mut Sending,
    ) -> Poll<Outcome> {
        if !self.whole {
            match connection.poll_send(cx, sending) {
                Poll::Ready(Ok(())) => self.whole = true,
                Poll::Ready(Err(Cut)) => return Poll::Ready(Outcome::Cut),
                Poll::Pending => {}
            }
            if sending.taken() == 0 && sending.refused().is_some() {
                return Poll::Ready(Outcome::Broken(Broken::HungUp));
            }
        }
        let limits = &self.exchange.settings.limits;
        match connection.poll_head(cx, self.asked, limits.answer_header_bytes_max) {
            Poll::Ready(Ok(head)) => Poll::Ready(Outcome::Answer(head)),
            Poll::Ready(Err(broken)) => Poll::Ready(Outcome::Broken(broken)),
            Poll::Pending => loop {
                if !connection.is_over(cx, self.exchange.terms.first_byte_timeout) {
                    return Poll::Pending;
                }
                match self.patience(sending) {
                    Some(patience) => connection.wait_on(patience),
                    None => return Poll::Ready(Outcome::Slow),
                }
            },
        }
    }

    /// Its time is up: how much more has it? The clock starts when the request's body has been passed on, so that
    /// slow uploads are not the worker's fault, unless it does not take them.
    fn patience(&mut self, sending: &Sending) -> Option<Duration> {
        let patience = self.exchange.terms.first_byte_timeout;
        let moved = std::mem::replace(&mut self.taken, sending.taken()) != sending.taken();
        match self.exchange.record.uploaded() {
            Upload::Running if sending.refused().is_none() && (moved || !sending.is_blocked()) => {
                Some(patience)
            }
            Upload::Done(at) => patience.checked_sub(at.elapsed()).filter(|left| !left.is_zero()),
            _ => None,
        }
    }
}

/// Pass on the rest of a request whose answer has begun. On its own, because its client may take the answer only
/// after it has sent everything.
async fn finish(mut sending: Sending, mut writer: Writer, idle: Duration) {
    loop {
        let taken = sending.taken();
        match tokio::time::timeout(idle, poll_fn(|cx| sending.poll(cx, &mut writer))).await {
            // Not closed: Node takes that for a client that left, and forgets its answer.
            Ok(Ok(())) => return writer.leave(),
            // The worker must not take what it has for all there is.
            Ok(Err(Cut)) => return writer.cut(),
            Err(_) if sending.is_blocked() && sending.taken() == taken => return writer.cut(),
            Err(_) => {}
        }
    }
}

/// One more try.
pub(super) fn count_retry(exchange: &Exchange, backend: &str) {
    let labels = BackendLabels { backend: backend.to_owned() };
    exchange.thread.shared.metrics.retries_total.get_or_create(&labels).inc();
}
