//! To a worker and back: pick one, send the rebuilt request, stream the answer. It retries exactly where that is
//! safe, and a request is never sent twice once its worker may have begun to act on it, unless its method says
//! that twice is as good as once.

mod answer;
mod attempt;
mod connection;
mod framing;
mod fuzzed;
mod head;
mod lines;
mod request;
mod sending;
mod socket;
mod sticky;
mod upstream;
mod wait;

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Response, StatusCode, header, request::Parts};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::{
    backend::{Home, Turn, WorkerLease},
    tenant::{LiveTicket, TicketMode},
};

use super::{
    admit::Place,
    body::{Body, RequestBody, WorkerBody},
    cache,
    identify::Caller,
    refusal::Refusal,
    serve::Exchange,
    settings::Route,
    thread::{Drained, Thread},
    upgrade::{self, Upgrade},
};

pub(crate) use self::fuzzed::sent;
pub use self::fuzzed::{Answered, answered};
pub(crate) use self::{
    answer::strip as strip_answer, connection::Broken, socket::Switched, upstream::Upstreams,
};
use self::{
    attempt::{Failure, Outgoing, Sent},
    connection::Connection,
    request::Sender,
};

/// A request that is at a worker. Dropped, it closes the connection; completed, the connection is kept for the next
/// request.
#[derive(Debug)]
pub(crate) struct Flight {
    connection: Box<Connection>,
    keep_alive: Duration,
    held: Held,
    /// The answer has no end of its own, and so ends when the gateway drains.
    until: Option<Drained>,
}

/// What is held all the while, whatever the connection speaks.
#[derive(Debug)]
pub(crate) struct Held {
    lease: WorkerLease,
    thread: Rc<Thread>,
    _place: Place,
    _ticket: Option<LiveTicket>,
}

impl Held {
    /// Takes its worker no more requests?
    pub(crate) fn worker_leaves(&self) -> bool {
        self.lease.is_closed()
    }
}

impl Flight {
    /// The next piece of the answer's body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.until.as_ref().is_some_and(|until| until.poll_begun(cx).is_ready()) {
            return Poll::Ready(None);
        }
        self.connection.poll_frame(cx, idle)
    }

    /// Has the body ended?
    pub(crate) fn is_done(&self) -> bool {
        self.connection.is_done()
    }

    /// What is known of the rest of the body's size.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.connection.size_hint()
    }

    /// The answer has passed whole.
    pub(crate) fn complete(self) {
        let thread = &self.held.thread;
        // The drain closes the idle ones, so none is kept any more.
        if thread.drain.has_begun() {
            return;
        }
        let idle_max = thread.shared.settings.load().limits.upstream_idle_max;
        thread.upstreams.give_back(self.held.lease.key(), self.connection, self.keep_alive, idle_max);
    }

    /// The worker speaks another protocol now.
    pub(crate) fn switch(self) -> Option<(Switched, Held)> {
        Some((self.connection.switch()?, self.held))
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
    /// The worker it belongs to, for a backend that is sticky.
    home: Option<Home>,
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
    let of_backend = || exchange.settings.route(tenant, caller.authority.name());
    let route = caller.site.as_ref().or_else(of_backend).ok_or(Refusal::NoBackend)?;
    // Only a request's own ticket has an end, and so needs the clock.
    let now = match route.ticket {
        TicketMode::Tenant => Duration::ZERO,
        TicketMode::Request => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    };
    let tickets = &exchange.thread.shared.tickets;
    let issued = tenant.and_then(|tenant| tickets.issue(tenant, route.ticket, now.as_secs()));
    let url = issued.as_ref().map(|issued| &issued.url);
    let mut body = Some(body);
    let lane = tenant.map_or("", |tenant| tenant.id.as_str());
    let bound = sticky::bound(route, exchange, lane, &head.headers);
    let mut tries = Tries::new(exchange, route, &place, lane);
    tries.home = bound.as_ref().map(|bound| bound.home);
    let (sent, lease) = loop {
        let lease = tries.worker().await?;
        // Built from the original each time: nothing of a failed try can leak into the next.
        let mut lines = exchange.thread.upstreams.space();
        request::rebuild(Sender::of(exchange), caller, head, (url, upgrade.is_some()), &mut lines);
        let request = Outgoing { head, lines, upgrade: upgrade.is_some() };
        match attempt::send(exchange, &lease, request, body.take(), tries.fresh).await {
            Ok(sent) => break (sent, lease),
            Err(failure) => body = Some(tries.judge(failure, head, &lease)?),
        }
    };
    lease.answered();
    let Sent { connection, response } = sent;
    let ticket = issued.and_then(|issued| issued.live);
    let held = Held { lease, thread: exchange.thread.clone(), _place: place, _ticket: ticket };
    let flight = Flight { connection, keep_alive: route.roster.keep_alive(), held, until: None };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let both = upgrade.zip(flight.switch());
        let (upgrade, switched) =
            both.ok_or_else(|| Refusal::WorkerFailed("it switched protocols unasked".into()))?;
        switched.1.lease.lasts();
        return upgrade::relay(exchange, caller, upgrade, response, switched);
    }
    if let Some(upgrade) = &upgrade {
        upgrade.check_refused(response.status())?;
    }
    let mut answer = stream(exchange, caller, response, flight);
    // What a cache gives to others would send them all to one worker, and give one visitor's cookie to the next.
    if let Some(cookie) = bound.and_then(|bound| bound.cookie)
        && !cache::is_for_others(exchange.terms.cache, answer.headers())
    {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}

fn stream(
    exchange: &Exchange,
    caller: &Caller,
    response: Response<()>,
    mut flight: Flight,
) -> Response<Body> {
    let (mut parts, ()) = response.into_parts();
    answer::rebuild(exchange.terms.cache, caller, &mut parts.headers);
    let limits = &exchange.settings.limits;
    let media_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    // Server-sent events pause like WebSockets do, not like downloads.
    let events = media_type.starts_with(b"text/event-stream");
    let idle = if events { limits.upgrade_idle_timeout } else { exchange.terms.body_idle_timeout };
    // And go on for ever: a drain ends them in good order, and the page comes back by itself.
    if events {
        flight.held.lease.lasts();
        flight.until = Some(Drained::new(&exchange.thread));
    }
    let mut answer = Response::new(Body::Worker(WorkerBody::new(idle, flight)));
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
            home: None,
        }
    }

    /// May it be tried again, and with which body?
    fn judge(&mut self, failure: Failure, head: &Parts, lease: &WorkerLease) -> Result<RequestBody, Refusal> {
        let again = match failure {
            Failure::Final(refusal) => {
                if refusal == Refusal::WorkerSlow {
                    lease.timed_out();
                }
                return Err(refusal);
            }
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
            Failure::Died { reused: true, again: Some(body), .. } if head.method.is_idempotent() => {
                self.fresh = true;
                body
            }
            Failure::Died { again: Some(body), reason, .. }
                if head.method.is_idempotent() && self.retries > 0 =>
            {
                self.retries -= 1;
                self.died.push(lease.key());
                self.last_death = Some((Instant::now(), reason));
                body
            }
            Failure::Died { reason, .. } => return Err(Refusal::WorkerFailed(reason)),
        };
        attempt::count_retry(self.exchange, self.route.roster.backend());
        Ok(again)
    }
}
