//! One line a request, written when its answer has passed. Never a header's value but Origin and Host, never a
//! query, a ticket or a key: those may hold secrets.

mod line;
mod writer;

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};

use crate::{error::Fault, metrics::CodeLabels, tenant::TenantId};

use super::{
    activity::Activity, body::Upload, connection::HTTP_1, peer::Peer, refusal::Refusal,
    request_id::RequestId, thread::Thread,
};

use self::line::name;
pub(crate) use self::{
    line::Lines,
    writer::{AccessLog, Opened},
};

/// Client closed the request before we answered; nginx's word for it, and what dashboards know.
const CLIENT_CLOSED: u16 = 499;

/// The code of an answer that its client did not take to the end.
pub(crate) const CLIENT_GONE: &str = "client-gone";
/// The client took no more of its answer for too long.
pub(crate) const CLIENT_STALLED: &str = "client-stalled";

/// What is known of one request, filled in along the way and written at its end.
#[derive(Debug)]
pub(crate) struct Record {
    thread: Rc<Thread>,
    activity: Arc<Activity>,
    id: RequestId,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    origin: Option<HeaderValue>,
    client: IpAddr,
    protocol: &'static str,
    started: Instant,
    tenant: RefCell<Option<TenantId>>,
    site: RefCell<Option<Arc<str>>>,
    worker: RefCell<Option<Rc<str>>>,
    code: Cell<Option<&'static str>>,
    status: Cell<u16>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    upload: Cell<Upload>,
    sent: Cell<Option<Instant>>,
    answered: Cell<Option<Instant>>,
    switched: Cell<bool>,
    ended: Cell<bool>,
}

impl Record {
    /// A request begins.
    pub(crate) fn begin(
        thread: &Rc<Thread>,
        peer: &Peer,
        client: IpAddr,
        (id, head): (RequestId, &Parts),
    ) -> Rc<Self> {
        peer.activity.request_begins();
        Rc::new(Self {
            thread: thread.clone(),
            activity: peer.activity.clone(),
            id,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
            origin: head.headers.get(header::ORIGIN).cloned(),
            client,
            protocol: peer.protocol,
            started: Instant::now(),
            tenant: RefCell::default(),
            site: RefCell::default(),
            worker: RefCell::default(),
            code: Cell::default(),
            status: Cell::new(CLIENT_CLOSED),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            upload: Cell::default(),
            sent: Cell::default(),
            answered: Cell::default(),
            switched: Cell::default(),
            ended: Cell::default(),
        })
    }

    /// The thread that serves it.
    pub(crate) fn thread(&self) -> &Rc<Thread> {
        &self.thread
    }

    /// Did it come over HTTP/1?
    pub(crate) fn is_http1(&self) -> bool {
        self.protocol == HTTP_1
    }

    /// The request's id.
    pub(crate) fn id(&self) -> &RequestId {
        &self.id
    }

    /// When it came.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Whose request it is.
    pub(crate) fn tenant(&self, tenant: &TenantId) {
        *self.tenant.borrow_mut() = Some(tenant.clone());
    }

    /// It is for a site, and so for no tenant.
    pub(crate) fn site(&self, name: &Arc<str>) {
        *self.site.borrow_mut() = Some(name.clone());
    }

    /// It goes to this worker now.
    pub(crate) fn sent(&self, worker: &Rc<str>) {
        self.sent.set(Some(Instant::now()));
        *self.worker.borrow_mut() = Some(worker.clone());
    }

    /// The answer's head is there.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.set(status.as_u16());
        self.answered.set(Some(Instant::now()));
    }

    /// From here on it is a WebSocket.
    pub(crate) fn switch(&self) {
        self.switched.set(true);
    }

    /// Is it a WebSocket now?
    pub(crate) fn has_switched(&self) -> bool {
        self.switched.get()
    }

    /// Why a WebSocket ended.
    pub(crate) fn closed(&self, reason: &'static str) {
        self.code.set(Some(reason));
    }

    /// The answer is ours.
    pub(crate) fn refused(&self, code: &'static str) {
        self.code.set(Some(code));
    }

    /// The answer did not pass whole. What is ours has its code already, and HEAD takes no body at all.
    pub(crate) fn broke_off(&self, code: &'static str) {
        if self.code.get().is_some() || self.method == Method::HEAD {
            return;
        }
        self.code.set(Some(code));
        let labels = CodeLabels { code };
        self.thread.shared.metrics.answers_broken_total.get_or_create(&labels).inc();
        // What clients do is counted, not told.
        if code != CLIENT_GONE && code != CLIENT_STALLED {
            let worker = self.worker.borrow();
            tracing::warn!(
                code,
                request_id = self.id.as_str(),
                worker = worker.as_deref().unwrap_or("-"),
                "the answer broke off"
            );
        }
    }

    /// Bytes of the request's body.
    pub(crate) fn bytes_in(&self, bytes: u64) {
        self.bytes_in.set(self.bytes_in.get() + bytes);
    }

    /// Bytes of the answer's body.
    pub(crate) fn bytes_out(&self, bytes: u64) {
        self.bytes_out.set(self.bytes_out.get() + bytes);
    }

    /// How far the request's body has come.
    pub(crate) fn upload(&self, upload: Upload) {
        self.upload.set(upload);
    }

    /// How far the request's body has come.
    pub(crate) fn uploaded(&self) -> Upload {
        self.upload.get()
    }

    /// The answer has passed, or was given up. Only the first call counts.
    pub(crate) fn end(&self) {
        if self.ended.replace(true) {
            return;
        }
        let now = Instant::now();
        self.activity.request_ends(now);
        if self.answered.get().is_none() {
            self.broke_off(CLIENT_GONE);
        }
        self.thread.stir();
        let first_byte = self.answered.get().map(|answered| answered.duration_since(self.started));
        self.thread.tally.count(&self.tenant.borrow(), self.status.get(), first_byte);
        if self.thread.writes_log() {
            self.thread.lines.push(now, |line| self.write(now, line));
        }
    }

    fn write(&self, now: Instant, line: &mut line::Line<'_>) {
        let between = |from: Instant, to: Option<Instant>| to.map(|to| to.duration_since(from));
        line.text(name!("tenant"), self.tenant.borrow().as_ref().map(TenantId::as_str));
        line.text(name!("site"), self.site.borrow().as_deref());
        line.bytes(name!("origin"), self.origin.as_ref().map(HeaderValue::as_bytes));
        let host = self.host.as_ref().map(HeaderValue::as_bytes);
        line.bytes(
            name!("host"),
            host.or(self.uri.authority().map(|authority| authority.as_str().as_bytes())),
        );
        line.text(name!("method"), Some(self.method.as_str()));
        line.text(name!("path"), Some(self.uri.path()));
        line.number(name!("status"), self.status.get().into());
        line.text(name!("code"), self.code.get());
        line.number(name!("bytes_in"), self.bytes_in.get());
        line.number(name!("bytes_out"), self.bytes_out.get());
        line.text(name!("worker"), self.worker.borrow().as_deref());
        line.text(name!("request_id"), Some(self.id.as_str()));
        line.address(name!("client"), self.client);
        line.text(name!("protocol"), Some(self.protocol));
        line.time(name!("queue_ms"), between(self.started, self.sent.get()));
        let worker = self.sent.get().and_then(|sent| between(sent, self.answered.get()));
        line.time(name!("worker_ms"), worker);
        line.time(name!("first_byte_ms"), between(self.started, self.answered.get()));
        line.time(name!("total_ms"), between(self.started, Some(now)));
    }
}

/// The line of a request that could not be read: the same fields, most of them empty.
pub(crate) fn unreadable(thread: &Thread, peer: &Peer, id: &RequestId, refusal: &Refusal) {
    thread.stir();
    thread.tally.count(&None, refusal.status().as_u16(), None);
    if !thread.writes_log() {
        return;
    }
    thread.lines.push(Instant::now(), |line| {
        for name in
            [name!("tenant"), name!("site"), name!("origin"), name!("host"), name!("method"), name!("path")]
        {
            line.text(name, None);
        }
        line.number(name!("status"), refusal.status().as_u16().into());
        line.text(name!("code"), Some(refusal.code()));
        line.number(name!("bytes_in"), 0);
        line.number(name!("bytes_out"), 0);
        line.text(name!("worker"), None);
        line.text(name!("request_id"), Some(id.as_str()));
        line.address(name!("client"), peer.address);
        line.text(name!("protocol"), Some(peer.protocol));
        for name in [name!("queue_ms"), name!("worker_ms"), name!("first_byte_ms"), name!("total_ms")] {
            line.time(name, None);
        }
    });
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end();
    }
}

/// How long finished lines and counts may stay in a thread's own memory.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
