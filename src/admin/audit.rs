//! Who may come in, and the line that every order leaves: who, what, outcome. Applied to all routes at once, so
//! that none can be forgotten. It must never log a body: bodies hold URLs and passphrases.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::Method;

use super::{
    Problem,
    peer::{OperatorGroup, Peer},
    problem::NOT_PERMITTED,
};

/// Who may give orders.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    /// `admin.group`.
    pub(super) group: Option<String>,
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
}

/// Let operators in, and write down what they ordered.
pub(super) async fn audit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        // No connection comes here without a peer; if one ever did, it would be nobody's.
        return Problem::new(403, NOT_PERMITTED, "the caller is not known").into_response();
    };
    let order = format!("{} {}", request.method(), request.uri().path());
    let changes = request.method() != Method::GET;
    let (user, pid) = (peer.name(), peer.pid.unwrap_or(0));
    if !gate.lets_in(&peer) {
        tracing::warn!(target: "audit", user, uid = peer.uid, pid, order, "order refused: not permitted");
        return Problem::new(
            403,
            NOT_PERMITTED,
            format!("user `{user}` may not give orders to this gateway"),
        )
        .hint("become root (sudo), the gateway's own user, or a member of the group in `admin.group`")
        .into_response();
    }
    let response = next.run(request).await;
    if changes {
        let status = response.status().as_u16();
        match response.extensions().get::<Problem>() {
            None => {
                tracing::info!(target: "audit", user, uid = peer.uid, pid, order, status, "order carried out")
            }
            Some(Problem { code, detail, .. }) => tracing::info!(
                target: "audit", user, uid = peer.uid, pid, order, status, code, detail, "order failed"
            ),
        }
    }
    response
}
