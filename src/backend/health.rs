//! Is it well? It accepts a connection, and answers the health path with 2xx if there is one. A real request
//! over the worker's own socket; it must never wait longer than it was told.

use std::{fmt, io, time::Duration};

use http::{StatusCode, uri::PathAndQuery};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::error::is_out_of_descriptors;

use super::roster::Address;

/// The longest head of an answer that is read. The body interests nobody.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Its headers.
const HEADERS_MAX: usize = 100;

/// Read at a time: most heads at once.
const CHUNK_BYTES: usize = 1024;

/// Unwell answers of one that starts before it is asked more seldom.
const ANSWERS_SOON: u32 = 10;

/// The longest pause then, unless the interval is longer: it delays whoever is ready at last.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why something is not well.
#[derive(Debug)]
pub(super) enum Unwell {
    /// It takes no connection (yet).
    NoConnection(io::Error),
    /// It took the connection and did not answer in time.
    NoAnswer(Duration),
    /// It answered, and not with 2xx.
    Status(StatusCode),
    /// What it answered is no HTTP.
    NotHttp(String),
    /// The connection did not last until the answer.
    Broken(io::Error),
    /// The health path can not be asked for.
    BadPath(http::uri::InvalidUri),
    /// What answers on its port is another program.
    Foreign(u16),
}

impl Unwell {
    /// Did nobody hear the question?
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self, Self::NoConnection(_) | Self::BadPath(_) | Self::Foreign(_))
    }

    /// Does nobody listen there?
    pub(super) fn is_nobody(&self) -> bool {
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::NoConnection(error) if kinds.contains(&error.kind()))
    }

    /// Is it the gateway that could not ask?
    pub(super) fn is_our_own(&self) -> bool {
        matches!(self, Self::NoConnection(error) if is_out_of_descriptors(error))
    }
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(error) => write!(f, "it accepts no connection ({error})"),
            Self::NoAnswer(timeout) => write!(f, "the health path did not answer within {timeout:?}"),
            Self::Status(status) => write!(f, "the health path answered {status}"),
            Self::NotHttp(error) => write!(f, "the health path answered something else than HTTP ({error})"),
            Self::Broken(error) => {
                write!(f, "the connection broke before the health path answered ({error})")
            }
            Self::Foreign(port) => write!(f, "another program listens on its port ({port})"),
            Self::BadPath(error) => write!(f, "health.path can not be asked for ({error})"),
        }
    }
}

/// The pause before one that starts is asked again: after many answers (each may be lines of its log) a longer one.
/// Where nobody has heard the question it costs nothing, and who has just begun to listen is often ready a moment later.
pub(super) fn pause(interval: Duration, unwell_answers: u32) -> Duration {
    let doubled = unwell_answers.saturating_sub(ANSWERS_SOON).min(16);
    interval.saturating_mul(1 << doubled).min(interval.max(PAUSE_MAX))
}

/// Ask once, for at most `timeout`. Cancel safe.
pub(super) async fn check(address: &Address, path: Option<&str>, timeout: Duration) -> Result<(), Unwell> {
    let asking = async {
        match address {
            Address::Unix(socket) => {
                let stream = socket.connect().await.map_err(Unwell::NoConnection)?;
                ask(stream, path).await
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Unwell::NoConnection)?;
                ask(stream, path).await
            }
        }
    };
    tokio::time::timeout(timeout, asking).await.unwrap_or(Err(Unwell::NoAnswer(timeout)))
}

/// One request by hand: a client for every kind of answer would take several times as long as this.
async fn ask<S>(mut stream: S, path: Option<&str>) -> Result<(), Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(path) = path else { return Ok(()) };
    // Nothing that could end the line comes in.
    let path: PathAndQuery = path.parse().map_err(Unwell::BadPath)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: gateway-health\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(Unwell::Broken)?;
    let status = answered(&mut stream).await?;
    if status.is_success() { Ok(()) } else { Err(Unwell::Status(status)) }
}

/// The status of the final answer, whose head must be there as a whole.
async fn answered(stream: &mut (impl AsyncRead + Unpin)) -> Result<StatusCode, Unwell> {
    let mut head = Vec::with_capacity(CHUNK_BYTES);
    loop {
        match parse(&head)? {
            // Interim answers come before it.
            Some((status, used))
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS =>
            {
                head.drain(..used);
                continue;
            }
            Some((status, _)) => return Ok(status),
            None if head.len() >= HEAD_BYTES_MAX => {
                return Err(Unwell::NotHttp(format!("no end of its head within {HEAD_BYTES_MAX} bytes")));
            }
            None => {}
        }
        head.reserve(CHUNK_BYTES);
        if stream.read_buf(&mut head).await.map_err(Unwell::Broken)? == 0 {
            return Err(Unwell::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Status and length of a whole head; none, if more of it must come.
fn parse(head: &[u8]) -> Result<Option<(StatusCode, usize)>, Unwell> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let not_http = |error: httparse::Error| Unwell::NotHttp(error.to_string());
    let httparse::Status::Complete(used) = answer.parse(head).map_err(not_http)? else { return Ok(None) };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    status.map(|status| Some((status, used))).ok_or_else(|| Unwell::NotHttp("no status".to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A peer that reads one request and answers with these bytes, or never.
    async fn check_peer(answer: Option<&'static str>, path: Option<&str>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let peer = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
            drop(stream);
            String::from_utf8_lossy(&head[..read]).into_owned()
        };
        let (result, _) = tokio::join!(
            check(&address, path, Duration::from_millis(300)),
            tokio::time::timeout(Duration::from_millis(400), peer)
        );
        result.map_err(|unwell| unwell.to_string())
    }

    #[tokio::test]
    async fn only_2xx_is_well() {
        let ok = Some("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(check_peer(ok, Some("/health")).await, Ok(()));
        let unready = Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        let error = check_peer(unready, Some("/health")).await.unwrap_err();
        assert_eq!(error, "the health path answered 503 Service Unavailable");
        let moved = Some("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n");
        assert!(check_peer(moved, Some("/health")).await.unwrap_err().contains("302"));
    }

    #[tokio::test]
    async fn interim_answers_are_none_and_half_a_head_is_none_either() {
        let late = Some("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(check_peer(late, Some("/health")).await, Ok(()));
        let half = Some("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n");
        let error = check_peer(half, Some("/health")).await.unwrap_err();
        assert!(error.starts_with("the connection broke before the health path answered"), "{error}");
    }

    #[tokio::test]
    async fn a_head_without_end_is_read_to_its_bound() {
        let (mut peer, stream) = tokio::io::duplex(4096);
        let endless = async move {
            peer.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
            while peer.write_all(&[b'a'; 1024]).await.is_ok() {}
        };
        let (asked, ()) = tokio::join!(ask(stream, Some("/health")), endless);
        assert!(matches!(asked, Err(Unwell::NotHttp(_))), "{asked:?}");
    }

    #[tokio::test]
    async fn a_path_cannot_say_more_than_a_path() {
        for path in ["/a b", "/a\r\nx: y", "/a HTTP/1.1\r\n\r\n"] {
            let (_peer, stream) = tokio::io::duplex(4096);
            assert!(matches!(ask(stream, Some(path)).await, Err(Unwell::BadPath(_))), "{path:?}");
        }
    }

    #[tokio::test]
    async fn silence_and_noise_are_told_apart() {
        let error = check_peer(None, Some("/health")).await.unwrap_err();
        assert_eq!(error, "the health path did not answer within 300ms");
        let error = check_peer(Some("SSH-2.0-OpenSSH_9.2\r\n"), Some("/health")).await.unwrap_err();
        assert!(error.contains("something else than HTTP"), "{error}");
    }

    #[test]
    fn one_that_goes_on_to_be_unwell_is_asked_ever_more_seldom() {
        let pauses_ms = |interval_ms, answers: [u32; 5]| {
            answers.map(|answers| pause(Duration::from_millis(interval_ms), answers).as_millis())
        };
        assert_eq!(pauses_ms(100, [0, 10, 11, 13, 14]), [100, 100, 200, 800, 1000]);
        assert_eq!(pauses_ms(5000, [0, 10, 11, 100, u32::MAX]), [5000; 5]);
    }

    #[tokio::test]
    async fn without_a_path_a_connection_is_enough() {
        assert_eq!(check_peer(None, None).await, Ok(()));
        let nobody = Address::unix("/nowhere/at/all.sock");
        let error = check(&nobody, None, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, Unwell::NoConnection(_)), "{error}");
    }
}
