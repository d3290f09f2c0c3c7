//! Is it well? It accepts a connection, and answers the health path with 2xx if there is one. A real request
//! over the worker's own socket; it must never wait longer than it was told.

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::error::is_out_of_descriptors;

use super::roster::Address;

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
    NotHttp(hyper::Error),
    /// The health path can not be asked for.
    BadPath(http::Error),
    /// What answers on its port is another program.
    Foreign(u16),
}

impl Unwell {
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
            Self::Foreign(port) => write!(f, "another program listens on its port ({port})"),
            Self::BadPath(error) => write!(f, "health.path can not be asked for ({error})"),
        }
    }
}

/// Ask once, for at most `timeout`. Cancel safe.
pub(super) async fn check(address: &Address, path: Option<&str>, timeout: Duration) -> Result<(), Unwell> {
    let asking = async {
        match address {
            Address::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(Unwell::NoConnection)?;
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

async fn ask<S>(stream: S, path: Option<&str>) -> Result<(), Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Some(path) = path else { return Ok(()) };
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, "gateway-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(Unwell::BadPath)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Unwell::NotHttp)?;
    // Driven here and dropped here: a health check leaves no task behind, and the body interests nobody.
    let answer = sender.send_request(request);
    let response = tokio::select! {
        response = answer => response.map_err(Unwell::NotHttp)?,
        Err(error) = connection => return Err(Unwell::NotHttp(error)),
    };
    if response.status().is_success() { Ok(()) } else { Err(Unwell::Status(response.status())) }
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
    async fn silence_and_noise_are_told_apart() {
        let error = check_peer(None, Some("/health")).await.unwrap_err();
        assert_eq!(error, "the health path did not answer within 300ms");
        let error = check_peer(Some("SSH-2.0-OpenSSH_9.2\r\n"), Some("/health")).await.unwrap_err();
        assert!(error.contains("something else than HTTP"), "{error}");
    }

    #[tokio::test]
    async fn without_a_path_a_connection_is_enough() {
        assert_eq!(check_peer(None, None).await, Ok(()));
        let nobody = Address::Unix("/nowhere/at/all.sock".into());
        let error = check(&nobody, None, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, Unwell::NoConnection(_)), "{error}");
    }
}
