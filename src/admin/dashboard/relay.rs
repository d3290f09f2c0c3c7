//! What the dashboard reads of the gateway: GETs over its admin socket, one connection each. It must never send
//! anything else, nor hold so many connections that an order finds none.

use std::{io, path::PathBuf, time::Duration};

use axum::body::{Body, Bytes};
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, sync::Semaphore};

use crate::{
    admin::{KEY_HEADER, NOT_RUNNING, Problem, key_to, problem::NOT_PERMITTED},
    shutdown::Shutdown,
};

/// A gateway that lives answers a read at once, and the page asks again.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads under way; the socket takes `admin.connections_max`, 128 if nothing else is said.
const READS_MAX: usize = 4;

/// Ten thousand tenants are a few MB of JSON.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The way to one gateway.
pub(super) struct Relay {
    socket: PathBuf,
    life: Shutdown,
    turns: Semaphore,
}

impl Relay {
    /// To the gateway at `socket`.
    pub(super) fn new(socket: PathBuf, life: Shutdown) -> Self {
        Self { socket, life, turns: Semaphore::new(READS_MAX) }
    }

    /// A read's answer as a value.
    pub(super) async fn show<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        serde_json::from_slice(&self.read(path).await?).map_err(|error| {
            Problem::new(502, "answer-unreadable", format!("the gateway's answer cannot be read: {error}"))
                .hint("is the running gateway of another version than this program? start `gateway dashboard` again")
        })
    }

    /// A read's answer; a gateway that is not there or says no is a problem.
    pub(super) async fn read(&self, path: &str) -> Result<Bytes, Problem> {
        let read = async {
            let Ok(_turn) = self.turns.acquire().await else { return Err(self.gone()) };
            self.ask(path).await
        };
        tokio::time::timeout(READ_TIMEOUT, read).await.unwrap_or_else(|_| {
            let detail = format!("the gateway at `{}` does not answer in time", self.socket.display());
            Err(Problem::new(504, "gateway-silent", detail).hint("`journalctl -u gateway` may say why"))
        })
    }

    async fn ask(&self, path: &str) -> Result<Bytes, Problem> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        // A gateway that ends in the middle of it is one that has gone.
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| self.gone())?;
        self.life.spawn(connection);
        let mut request = Request::get(path)
            .header(header::HOST, "gateway")
            .body(Body::empty())
            .map_err(|error| Problem::new(400, "bad-query", error.to_string()))?;
        // Anew for each life of the gateway.
        request.headers_mut().extend(key_to(&self.socket).map(|key| (KEY_HEADER, key)));
        let answer = sender.send_request(request).await.map_err(|_| self.gone())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.broken(&*error))?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            Problem::new(502, "answer-unreadable", format!("the gateway answered {status} without a reason"))
        }))
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> Problem {
        if error.is::<http_body_util::LengthLimitError>() {
            return Problem::new(502, "answer-too-large", "the gateway's answer is too large for a page");
        }
        self.gone()
    }

    fn unreachable(&self, error: &io::Error) -> Problem {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Problem::new(403, NOT_PERMITTED, "you may not read from this gateway").hint(
                "start `gateway dashboard` as root (sudo) or as a member of the group in `admin.group`",
            );
        }
        self.gone()
    }

    fn gone(&self) -> Problem {
        let socket = self.socket.display();
        Problem::new(503, NOT_RUNNING, format!("the gateway is not running: nothing answers at `{socket}`"))
            .hint("`systemctl status gateway` tells more; this page goes on by itself when it is back")
    }
}
