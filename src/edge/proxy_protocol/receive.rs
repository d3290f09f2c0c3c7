//! Takes the header off a socket. It must never take a byte more: what follows is TLS's or HTTP's, so the bytes are
//! looked at where they lie and taken only once their number is known.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use crate::metrics::CodeLabels;

use super::{
    super::{activity::now_ms, peer::Remote, settings::Settings, thread::Thread},
    Announced, HEADER_BYTES_MAX, Header, ProxyProtocol, parse,
};

/// A proxy that is set up wrongly is so for every connection; one line says it.
const TELL_EVERY_MS: u64 = 60_000;

/// When the last refusal was logged.
static TOLD_MS: AtomicU64 = AtomicU64::new(0);

/// What the socket held.
enum Taken {
    Header(Announced),
    Absent,
    Invalid(&'static str),
    /// It ended before anything was said: how many balancers look whether we are there.
    Gone,
}

/// Who is at the other end of a new connection; none when it must be closed. Nobody but a trusted proxy is listened
/// to, and nobody for longer than a handshake may take.
pub(crate) async fn remote(
    thread: &Thread,
    settings: &Settings,
    stream: &TcpStream,
    address: SocketAddr,
) -> Option<Remote> {
    let mode = settings.proxy_protocol;
    let direct = Remote::new(address, &settings.trusted_proxies);
    if mode == ProxyProtocol::Off || !direct.trusted {
        return Some(direct);
    }
    let refused = |code, reason| {
        refuse(thread, direct, code, reason);
        None
    };
    match tokio::time::timeout(settings.limits.handshake_timeout, take(stream)).await {
        Ok(Ok(Taken::Header(Announced::Client(client)))) => {
            Some(Remote::new(client, &settings.trusted_proxies))
        }
        Ok(Ok(Taken::Header(Announced::Itself))) => Some(direct),
        // Anyone may be behind it: no word of theirs about who they are is the proxy's.
        Ok(Ok(Taken::Header(Announced::Unknown))) => Some(Remote { trusted: false, ..direct }),
        Ok(Ok(Taken::Absent)) if mode == ProxyProtocol::Accept => Some(direct),
        Ok(Ok(Taken::Absent)) => refused("absent", "it sent none, and `edge.proxy_protocol` requires one"),
        Ok(Ok(Taken::Invalid(reason))) => refused("invalid", reason),
        Ok(Ok(Taken::Gone) | Err(_)) => None,
        Err(_) => refused("late", "it did not arrive within `edge.limits.handshake_timeout`"),
    }
}

fn refuse(thread: &Thread, proxy: Remote, code: &'static str, reason: &str) {
    thread.shared.metrics.proxy_headers_refused_total.get_or_create(&CodeLabels { code }).inc();
    let (now, told) = (now_ms(), TOLD_MS.load(Relaxed));
    if (told == 0 || now.saturating_sub(told) >= TELL_EVERY_MS)
        && TOLD_MS.compare_exchange(told, now, Relaxed, Relaxed).is_ok()
    {
        tracing::warn!(
            proxy = %proxy.address,
            reason,
            "a trusted proxy's connection was closed because of its PROXY header; further ones are only counted for a minute"
        );
    }
}

/// Cancel safe: nothing is taken before all of it is there.
async fn take(stream: &TcpStream) -> io::Result<Taken> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let looked = stream.try_io(Interest::READABLE, || {
            let mut bytes = [0; HEADER_BYTES_MAX];
            let count = recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK)?;
            match parse(&bytes[..count]) {
                Header::Incomplete if count > 0 && ready.is_read_closed() => {
                    Ok(Taken::Invalid("the connection ended within it"))
                }
                Header::Incomplete if count == 0 => Ok(Taken::Gone),
                // Said so, the socket is asked again only when more has come.
                Header::Incomplete => Err(io::ErrorKind::WouldBlock.into()),
                Header::Absent => Ok(Taken::Absent),
                Header::Invalid(reason) => Ok(Taken::Invalid(reason)),
                Header::Complete { announced, bytes: length } => {
                    let count = recv(stream.as_raw_fd(), &mut bytes[..length], MsgFlags::empty())?;
                    let whole = count == length;
                    Ok(if whole { Taken::Header(announced) } else { Taken::Invalid("it was taken away") })
                }
            }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
