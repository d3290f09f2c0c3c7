//! Who may come in, and the line that every order leaves: who, what, outcome. Applied to all routes at once, so
//! that none can be forgotten. It must never log a body: bodies hold URLs and passphrases.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, header};

use super::{
    Problem, browser,
    key::{Bond, Key},
    peer::{OperatorGroup, Peer},
    problem::NOT_PERMITTED,
};

/// Who may give orders.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    /// `admin.group`.
    pub(super) group: Option<String>,
    /// What a caller shows that could be a worker.
    pub(super) key: Option<Key>,
}

impl Gate {
    fn lets_in(&self, peer: &Peer) -> bool {
        // Root's and the own user's orders need no look-up of the group.
        let own = Peer::own().uid;
        peer.may_order(own, None)
            || self
                .group
                .as_deref()
                .and_then(OperatorGroup::named)
                .is_some_and(|group| peer.may_order(own, Some(&group)))
    }

    /// Could it be a worker, or be started by one? Also one whose user is in the group.
    fn takes_for_a_worker(&self, request: &Request) -> bool {
        let held = request.extensions().get::<Bond>() == Some(&Bond::Held);
        held && !self.key.as_ref().is_some_and(|key| key.is_shown(request.headers()))
    }
}

/// Who ordered what: in every request, for handlers whose outcome comes later than their answer's head.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    user: String,
    uid: u32,
    pid: i32,
    order: String,
}

/// In an answer whose handler writes the line itself, once the body has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToldLater;

impl Entry {
    /// Write down how it ended.
    pub(super) fn tell(&self, status: u16, problem: Option<&Problem>) {
        let Self { user, uid, pid, order } = self;
        match problem {
            None => tracing::info!(target: "audit", user, uid, pid, order, status, "order carried out"),
            Some(Problem { code, detail, .. }) => {
                tracing::info!(target: "audit", user, uid, pid, order, status, code, detail, "order failed");
            }
        }
    }
}

/// The answer to who may not ask, and whose connection is not kept for another try: there are not many.
pub(super) fn refused(problem: Problem) -> Response {
    let mut answer = problem.into_response();
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Let operators in, and write down what they ordered.
pub(super) async fn audit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        // No connection comes here without a peer; if one ever did, it would be nobody's.
        return Problem::new(403, NOT_PERMITTED, "the caller is not known").into_response();
    };
    let order = format!("{} {}", request.method(), request.uri().path());
    let changes = request.method() != Method::GET;
    let entry = Entry { user: peer.name(), uid: peer.uid, pid: peer.pid.unwrap_or(0), order };
    if !gate.lets_in(&peer) {
        let Entry { user, uid, pid, order } = entry;
        tracing::warn!(target: "audit", user, uid, pid, order, "order refused: not permitted");
        let detail = format!("user `{user}` may not give orders to this gateway");
        return refused(
            Problem::new(403, NOT_PERMITTED, detail).hint(
                "become root (sudo), the gateway's own user, or a member of the group in `admin.group`",
            ),
        );
    }
    if let Some(problem) = browser::refusal(request.headers()) {
        let Entry { user, uid, pid, order } = entry;
        tracing::warn!(target: "audit", user, uid, pid, order, "order refused: from a browser");
        return refused(problem);
    }
    if gate.takes_for_a_worker(&request) {
        let Entry { user, uid, pid, order } = entry;
        tracing::warn!(target: "audit", user, uid, pid, order, "order refused: it shows no key");
        let detail =
            "a process that is kept from new privileges, as workers are, has to show the gateway's key";
        let hint = "use the `gateway` command, or the header `gateway-key: KEY` (in `admin.sock.key`, beside the socket)";
        return refused(Problem::new(403, NOT_PERMITTED, detail).hint(hint));
    }
    request.extensions_mut().insert(entry.clone());
    let response = next.run(request).await;
    if changes && response.extensions().get::<ToldLater>().is_none() {
        entry.tell(response.status().as_u16(), response.extensions().get::<Problem>());
    }
    response
}
