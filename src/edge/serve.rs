//! The line outside, once per request, top to bottom. It decides the order and nothing else: each step is a file
//! of its own.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use http::{Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use crate::{error::Fault, metrics::CodeLabels, tenant};

use super::{
    access_log::Record,
    authority::Scheme,
    body::{Body, RequestBody},
    compress::{self, Holds},
    cors::{self, Page},
    forward,
    identify::{self, Caller},
    limits,
    peer::{Client, Peer},
    recorded::Recorded,
    redirect,
    refusal::Refusal,
    request_id::REQUEST_ID,
    rescue,
    settings::Settings,
    shape,
    site::{self, Site},
    status,
    terms::Terms,
    thread::Thread,
    upgrade::Upgrade,
};

/// One request and what surrounds it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// This core.
    pub(crate) thread: Rc<Thread>,
    /// The other end of the connection.
    pub(crate) peer: Rc<Peer>,
    /// The client behind it.
    pub(crate) client: Client,
    /// The configuration in force when the request came.
    pub(crate) settings: Arc<Settings>,
    /// What holds for its path.
    pub(crate) terms: Terms,
    /// The site that it is for, if it is for one: then no tenant and no CORS policy of ours.
    pub(crate) site: Option<Arc<Site>>,
    /// What is known of it so far.
    pub(crate) record: Rc<Record>,
}

/// One request, from its head to its answer's head.
pub(crate) async fn serve(
    thread: Rc<Thread>,
    peer: Rc<Peer>,
    mut request: Request<Incoming>,
) -> Result<Response<Recorded>, Infallible> {
    let upgrade = Upgrade::asked(&mut request);
    let (mut head, body) = request.into_parts();
    let settings = thread.shared.settings.load_full();
    let client = peer.client(settings.proxies(), &head.headers);
    // Request id: first, so that whatever happens has a name.
    let id = thread.ids.of(peer.trusted, &head.headers);
    // Access log: begun before anything can refuse; the line is written when the answer has passed.
    let record = Record::begin(&thread, &peer, client.address, (id, &head));
    if let Some(upgrade) = &upgrade {
        upgrade.level(&mut head);
    }
    let tunnel = upgrade.as_ref().is_some_and(Upgrade::is_tunnel);
    let terms = settings.terms.of(&head);
    let body = RequestBody::new(body, &head, &terms, &record);
    let site = site_of(&thread, &settings, &head, &record);
    let exchange = Exchange { thread, peer, client, settings, terms, site, record };
    // Rescue: the one place where a refusal becomes an answer.
    let mut answer = match line(&exchange, &head, (body, upgrade)).await {
        // Files and the like answer 200, which over HTTP/2 would open a tunnel to nowhere.
        Ok(answer) if tunnel && answer.status().is_success() && !exchange.record.has_switched() => {
            refused(&exchange, &head, &Refusal::Malformed("no WebSocket is spoken here"))
        }
        Ok(answer) => answer,
        Err(refusal) => refused(&exchange, &head, &refusal),
    };
    let (record, activity) = (exchange.record, &exchange.peer.activity);
    answer.headers_mut().insert(REQUEST_ID, record.id().header.clone());
    // Hsts: a promise for hosts of ours, over https alone; what the backend says of its own stands.
    if let Some(hsts) = exchange.settings.hsts.as_ref().filter(|_| exchange.client.scheme == Scheme::Https)
        && answer.status() != StatusCode::MISDIRECTED_REQUEST
    {
        answer.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
    }
    record.answered(answer.status());
    // A switched connection's record ends with the relay, not with the empty body of its answer.
    let switched = record.has_switched();
    if switched {
        activity.heads.switch();
    }
    Ok(answer.map(|body| Recorded::new(body, (!switched).then_some(record))))
}

/// The steps that may refuse.
async fn line(
    exchange: &Exchange,
    head: &Parts,
    (body, upgrade): (RequestBody, Option<Upgrade>),
) -> Result<Response<Body>, Refusal> {
    let (settings, shared) = (&exchange.settings, &exchange.thread.shared);
    // Limits: before the request is looked at, because looking costs.
    limits::check(&settings.limits, exchange.terms.body_bytes_max, head)?;
    // Shape: what the worker could read otherwise than we do goes no further.
    shape::check(head)?;
    // Challenges: a certificate authority is no tenant's caller.
    if let Some(answer) = redirect::challenge(&exchange.thread, head) {
        return Ok(answer);
    }
    // Site: a landing page, a second application, a redirect. No tenant there, no ticket, no policy of ours.
    if let Some(site) = &exchange.site {
        return site::serve(exchange, site, head, (body, upgrade)).await;
    }
    // Identify: who calls? Unlisted origins end here; the backend never sees them.
    let caller = identify(exchange, head)?;
    // Cors: preflights are answered here whatever comes below, or the page could never read the real answer.
    if let Some(answer) = cors::preflight(settings, &caller, head) {
        return Ok(answer);
    }
    // Status: suspended and paused tenants; only now, so that the page can read it.
    status::check(caller.tenant.as_deref())?;
    // Admit: is there room for this tenant and this client? The place is held until the answer has passed.
    let place = shared.admit.enter(&settings.admit, caller.tenant.as_deref(), exchange.client.address)?;
    // Forward: ticket, headers, worker, and back.
    let mut answer = forward::forward(exchange, &caller, place, head, (body, upgrade)).await?;
    cors::announce(settings, caller.page.as_ref(), answer.headers_mut());
    // Compress: last, when everything is known of the answer. A listed page is no stranger who measures it.
    let holds = if caller.page.is_some() { Holds::Nothing } else { Holds::Secrets };
    Ok(compress::apply(exchange, head, holds, answer))
}

/// The site that a request is for, noted in its record.
fn site_of(thread: &Thread, settings: &Settings, head: &Parts, record: &Record) -> Option<Arc<Site>> {
    if settings.sites.is_empty() {
        return None;
    }
    let site = site::of(settings, &thread.shared.registry.snapshot(), head)?;
    record.site(&site.name);
    Some(site)
}

/// The look-up, and what the operator wants to know of its outcome.
fn identify(exchange: &Exchange, head: &Parts) -> Result<Caller, Refusal> {
    let (settings, shared) = (&exchange.settings, &exchange.thread.shared);
    let caller = {
        let snapshot = shared.registry.snapshot();
        identify::identify(settings, &snapshot, exchange.client.scheme, head)
    };
    let reason = match &caller {
        Ok(caller) => cors::doomed(settings, caller, head),
        Err(refusal) => identify::lesson(refusal, head),
    };
    if let Some(reason) = reason {
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let host = head.uri.authority().map_or_else(|| text(header::HOST), |authority| authority.as_str());
        let (origin, path) = (text(header::ORIGIN), head.uri.path());
        shared.refusals.record(tenant::Refusal { origin, host, path, reason });
    }
    if let Ok(Caller { tenant: Some(tenant), .. }) = &caller {
        exchange.record.tenant(&tenant.id);
    }
    caller
}

/// The answer to a refused request, readable by the page that asked whichever step refused it.
fn refused(exchange: &Exchange, head: &Parts, refusal: &Refusal) -> Response<Body> {
    let (record, shared) = (&exchange.record, &exchange.thread.shared);
    record.refused(refusal.code());
    shared.metrics.refusals_total.get_or_create(&CodeLabels { code: refusal.code() }).inc();
    let mut answer = rescue::answer(refusal, record.id());
    // What a site says about CORS is its own business.
    if exchange.site.is_none() {
        let page = Page::of_refused(&exchange.settings, &shared.registry.snapshot(), head);
        cors::announce(&exchange.settings, page.as_ref(), answer.headers_mut());
    }
    if refusal.ends_connection() && record.is_http1() {
        rescue::end(&exchange.peer, answer.headers_mut());
    }
    answer
}

#[cfg(test)]
mod tests;
