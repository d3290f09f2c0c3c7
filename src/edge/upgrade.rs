//! WebSockets: once both sides have switched, bytes pass until one side ends, nothing moves for too long, the tenant
//! may no longer, or the gateway drains. The request's place and its worker's lease are held all the while. No byte
//! of a frame is ever changed, and none of ours comes between those of one.

mod ending;
mod frames;
mod handshake;
mod lane;
mod relay;
mod sockets;

use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::metrics::ReasonLabels;

use super::{
    body::Body,
    forward::{Held, Switched, strip_answer},
    identify::Caller,
    listen::Open,
    refusal::Refusal,
    serve::Exchange,
};

pub(crate) use self::{ending::Ending, handshake::Upgrade, sockets::Sockets};
use self::{
    relay::{Patience, Relay},
    sockets::OpenSocket,
};

/// Tell the client that its worker has switched, and pass bytes from then on.
pub(crate) fn relay(
    exchange: &Exchange,
    caller: &Caller,
    upgrade: Upgrade,
    response: Response<()>,
    (worker, held): (Switched, Held),
) -> Result<Response<Body>, Refusal> {
    let (mut parts, _) = response.into_parts();
    strip_answer(&mut parts.headers);
    let (status, client) = upgrade.accept(&mut parts.headers)?;
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = status;
    *answer.headers_mut() = parts.headers;
    let (thread, record) = (exchange.thread.clone(), exchange.record.clone());
    record.switch();
    let limits = &exchange.settings.limits;
    let switch_timeout = limits.header_timeout;
    let patience = Patience { idle: limits.upgrade_idle_timeout, closing: limits.upgrade_close_timeout };
    // Over HTTP/2 the connection stays and counts itself.
    let open = (status == StatusCode::SWITCHING_PROTOCOLS).then(|| Open::new(&thread.shared));
    let socket = OpenSocket::new(&thread, caller);
    thread.shared.clone().shutdown.spawn_local(async move {
        let ending = match tokio::time::timeout(switch_timeout, client).await {
            Ok(Ok(client)) => {
                let worker_leaves = || held.worker_leaves();
                let ends = (TokioIo::new(client), worker);
                let mut relay = Relay::new(ends, &socket, &worker_leaves);
                let ending = relay.run(patience).await;
                let (bytes_in, bytes_out) = relay.bytes();
                record.bytes_in(bytes_in);
                record.bytes_out(bytes_out);
                ending
            }
            _ => Ending::ClientGone,
        };
        let labels = ReasonLabels { reason: ending.code() };
        thread.shared.metrics.websockets_closed_total.get_or_create(&labels).inc();
        record.closed(ending.code());
        record.end();
        drop((held, open, socket));
    });
    Ok(answer)
}
