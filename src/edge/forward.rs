//! To a worker and back: pick one, send the rebuilt request, stream the answer. It retries exactly where that is
//! safe, and a request is never sent twice once its worker may have begun to act on it, unless its method says
//! that twice is as good as once.

mod answer;
mod attempt;
mod request;
mod upstream;
mod wait;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    backend::{Turn, WorkerLease},
    tenant::LiveTicket,
};

use super::{
    admit::Place,
    body::{Body, RequestBody, WorkerBody},
    identify::Caller,
    refusal::Refusal,
    serve::Exchange,
    settings::Route,
    thread::Thread,
    upgrade::{self, Upgrade},
};

pub(crate) use self::{answer::strip as strip_answer, upstream::Upstreams};
use self::{
    attempt::{Failure, Sent},
    upstream::Connection,
};

/// Everything held while a request is at a worker. Dropped, it closes the connection; completed, the connection
/// is kept for the next request.
#[derive(Debug)]
pub(crate) struct Flight {
    connection: Connection,
    lease: WorkerLease,
    keep_alive: Duration,
    thread: Rc<Thread>,
    _place: Place,
    _ticket: Option<LiveTicket>,
}

impl Flight {
    /// Takes its worker no more requests?
    pub(crate) fn worker_leaves(&self) -> bool {
        self.lease.is_closed()
    }

    /// The answer has passed whole.
    pub(crate) fn complete(self) {
        // The drain waits for the connections' tasks, so none is kept any more.
        if self.thread.drain.has_begun() {
            return;
        }
        let idle_max = self.thread.shared.settings.load().limits.upstream_idle_max;
        self.thread.upstreams.give_back(self.lease.key(), self.connection, self.keep_alive, idle_max);
    }
}

/// What the tries of one request share.
struct Tries<'a> {
    exchange: &'a Exchange,
    route: &'a Arc<Route>,
    place: &'a Place,
    /// Workers that could not be reached; asked again after a pause.
    avoid: Vec<u64>,
    /// Workers that took this request and hung up; never asked again.
    died: Vec<u64>,
    /// When the last of those did, and what it said.
    last_death: Option<(Instant, String)>,
    /// Only connections made for it: an idle one has failed it already.
    fresh: bool,
    /// Times it may still be given to another worker after one took it and died.
    retries: u32,
    pause: Duration,
    give_up: Option<Instant>,
    /// Its place in the order of those that wait, kept when it must wait again.
    turn: Option<Turn>,
    /// Those of one tenant wait in one lane; the lanes take turns.
    lane: &'a str,
}

/// Pass a request on and its answer back.
pub(crate) async fn forward(
    exchange: &Exchange,
    caller: &Caller,
    place: Place,
    head: &Parts,
    (body, upgrade): (RequestBody, Option<Upgrade>),
) -> Result<Response<Body>, Refusal> {
    if upgrade.is_some() && !matches!(body, RequestBody::Empty) {
        // Its bytes would be taken for the first frames, or the other way round.
        return Err(Refusal::Malformed("a WebSocket handshake has no body"));
    }
    let tenant = caller.tenant.as_deref();
    let route = exchange.settings.route(tenant, caller.authority.name()).ok_or(Refusal::NoBackend)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let issued = tenant.and_then(|tenant| exchange.thread.shared.tickets.issue(tenant, route.ticket, now));
    let url = issued.as_ref().map(|issued| &issued.url);
    let mut body = Some(body);
    let lane = tenant.map_or("", |tenant| tenant.id.as_str());
    let mut tries = Tries::new(exchange, route, &place, lane);
    let (sent, lease) = loop {
        let lease = tries.worker().await?;
        // Built from the original each time: nothing of a failed try can leak into the next.
        let request = request::rebuild(exchange, caller, head, url, upgrade.as_ref());
        match attempt::send(exchange, &lease, request, body.take(), tries.fresh).await {
            Ok(sent) => break (sent, lease),
            Err(failure) => body = Some(tries.judge(failure, head, &lease)?),
        }
    };
    lease.answered();
    let Sent { connection, response } = sent;
    let flight = Flight {
        connection,
        keep_alive: route.roster.keep_alive(),
        thread: exchange.thread.clone(),
        lease,
        _place: place,
        _ticket: issued.and_then(|issued| issued.live),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = upgrade.ok_or_else(|| Refusal::WorkerFailed("it switched protocols unasked".into()))?;
        return upgrade::relay(exchange, caller, upgrade, response, flight);
    }
    if let Some(upgrade) = &upgrade {
        upgrade.check_refused(response.status())?;
    }
    Ok(stream(exchange, caller, head, response, flight))
}

fn stream(
    exchange: &Exchange,
    caller: &Caller,
    head: &Parts,
    response: Response<Incoming>,
    flight: Flight,
) -> Response<Body> {
    let (mut parts, incoming) = response.into_parts();
    answer::rebuild(&exchange.settings, caller, head, &mut parts.headers);
    let limits = &exchange.settings.limits;
    let media_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    // Server-sent events pause like WebSockets do, not like downloads.
    let events = media_type.starts_with(b"text/event-stream");
    let idle = if events { limits.upgrade_idle_timeout } else { limits.body_idle_timeout };
    let mut answer = Response::new(Body::Worker(WorkerBody::new(incoming, idle, flight)));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    answer
}

impl<'a> Tries<'a> {
    fn new(exchange: &'a Exchange, route: &'a Arc<Route>, place: &'a Place, lane: &'a str) -> Self {
        let retries = exchange.settings.limits.retries_max;
        Self {
            exchange,
            route,
            place,
            avoid: Vec::new(),
            died: Vec::new(),
            last_death: None,
            fresh: false,
            retries,
            pause: wait::PAUSE_MIN,
            give_up: None,
            turn: None,
            lane,
        }
    }

    /// May it be tried again, and with which body?
    fn judge(&mut self, failure: Failure, head: &Parts, lease: &WorkerLease) -> Result<RequestBody, Refusal> {
        let again = match failure {
            Failure::Final(refusal) => return Err(refusal),
            // It never reached a worker, so it is as good as new.
            Failure::NotConnected(body) => {
                self.avoid.push(lease.key());
                body
            }
            Failure::NotSent(body) => {
                self.fresh = true;
                body
            }
            // Idle connections die of old age; that says nothing about the worker.
            Failure::Died { reused: true, empty: true, .. } if head.method.is_idempotent() => {
                self.fresh = true;
                RequestBody::Empty
            }
            Failure::Died { empty: true, reason, .. } if head.method.is_idempotent() && self.retries > 0 => {
                self.retries -= 1;
                self.died.push(lease.key());
                self.last_death = Some((Instant::now(), reason));
                RequestBody::Empty
            }
            Failure::Died { reason, .. } => return Err(Refusal::WorkerFailed(reason)),
        };
        attempt::count_retry(self.exchange, self.route.roster.backend());
        Ok(again)
    }
}
