//! The way from a command to the gateway. A running one is asked over its admin socket; one at rest has its
//! registry opened by this process, behind the same routes: a command is written once and never knows which.

use std::{
    io,
    os::unix::net::UnixStream as BlockingStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, sync::OnceCell};
use tower::ServiceExt;

use super::{Failure, failure::Exit, reach};
use crate::{admin, config::Config, pool::Pools, shutdown::Shutdown, state_lock::StateLock, tenant::Tenants};

/// A gateway that lives answers at once; this is for one that does not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Orders such as a migration or a rolling reload last as long as they last, but not for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Ten thousand tenants are a few MB of JSON.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the orders go.
pub(crate) enum Client {
    /// To a running gateway.
    Running(PathBuf),
    /// To the registry itself, held by this process alone.
    AtRest(AtRest),
}

/// A gateway at rest, opened with the first order and not before: a command that still waits for its input
/// (`gateway tenant export | gateway tenant apply -`) must not lock the other one out.
pub(crate) struct AtRest {
    config: Box<Config>,
    opened: OnceCell<Opened>,
}

/// What the first order opens.
pub(super) struct Opened {
    /// The same routes that a running gateway has.
    pub(super) router: Router,
    /// Closed when the command ends.
    pub(super) tenants: Arc<Tenants>,
    /// Closed when the command ends.
    pub(super) pools: Arc<Pools>,
    /// Ends what the pools started.
    pub(super) life: Shutdown,
    /// Nobody else works on the state directory.
    pub(super) lock: StateLock,
}

impl AtRest {
    /// The gateway with that configuration.
    pub(super) fn new(config: Config) -> Self {
        Self { config: Box::new(config), opened: OnceCell::new() }
    }

    /// Write everything out and let go of the state directory.
    pub(super) async fn close(self) {
        if let Some(opened) = self.opened.into_inner() {
            opened.pools.close().await;
            opened.tenants.close().await;
            opened.life.begin();
            drop(opened.lock);
        }
    }
}

/// Is somebody there?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A gateway answers.
    Running,
    /// None does.
    AtRest,
}

impl Presence {
    /// Knock at the admin socket. Blocking, since it decides who this process is before any thread starts.
    pub(crate) fn at(socket: &Path) -> Result<Self, Failure> {
        match BlockingStream::connect(socket) {
            Ok(_) => Ok(Self::Running),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(Self::AtRest)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(denied(socket)),
            Err(error) => Err(Failure::io("connect to", socket, &error)),
        }
    }
}

fn denied(socket: &Path) -> Failure {
    let mut failure =
        Failure::failed(format!("you may not give orders to the gateway at `{}`", socket.display()))
            .hint("become root (sudo), the gateway's own user, or a member of the group in `admin.group`");
    failure.exit = Exit::Denied;
    failure
}

impl Client {
    /// Tenants in the file of a gateway at rest: they come into the registry when it starts.
    pub(crate) fn declared(&self) -> usize {
        match self {
            Self::Running(_) => 0,
            Self::AtRest(rest) => rest.config.tenant.len(),
        }
    }

    /// Give an order with a JSON body (or none) and read the JSON answer.
    pub(crate) async fn order<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failure> {
        let unwritable = |error| Failure::failed(format!("the order cannot be written: {error}"));
        let body = match body {
            Some(value) => Body::from(serde_json::to_vec(value).map_err(unwritable)?),
            None => Body::empty(),
        };
        self.upload(method, path, body).await
    }

    /// Send a body as it is and read the JSON answer.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Failure> {
        let answer = self.send(method, path, body).await?;
        let bytes = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Failure::failed(format!("the answer broke off: {error}")))?
            .to_bytes();
        let bytes = if bytes.is_empty() { &b"null"[..] } else { &bytes };
        serde_json::from_slice(bytes).map_err(|error| {
            Failure::failed(format!("the gateway's answer cannot be read: {error}"))
                .hint("is the running gateway of another version than this program?")
        })
    }

    /// `order` with GET and no body.
    pub(crate) async fn show<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.order(Method::GET, path, None::<&()>).await
    }

    /// Send a body as it is and get the answer's stream; an answer that is no success becomes a failure.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::TE, "trailers")
            .body(body)
            .map_err(|error| Failure::usage(format!("`{path}` is no path: {error}")))?;
        let answer = match self {
            Self::Running(socket) => over(socket, request).await?,
            Self::AtRest(rest) => {
                let opened = rest.opened.get_or_try_init(|| reach::open(&rest.config)).await?;
                let mut request = request;
                request.extensions_mut().insert(admin::Peer::own());
                match opened.router.clone().oneshot(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            }
        };
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }
}

async fn over(socket: &Path, mut request: Request<Body>) -> Result<Response<Body>, Failure> {
    let timeout =
        |_| Failure::failed(format!("the gateway at `{}` does not answer in time", socket.display()));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await.map_err(timeout)?;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => denied(socket),
        _ => Failure::not_running(socket),
    })?;
    let broke = |error: hyper::Error| Failure::failed(format!("the gateway broke off: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.map_err(broke)?;
    // The command ends with its runtime, and this task with it: there is nothing to drain.
    Shutdown::new().spawn(connection);
    request.headers_mut().extend(admin::key_to(socket).map(|key| (admin::KEY_HEADER, key)));
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await.map_err(timeout)?;
    answer.map(|answer| answer.map(Body::new)).map_err(broke)
}

async fn refusal(answer: Response<Body>) -> Failure {
    let status = answer.status();
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let problem: Option<admin::Problem> =
        body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    match problem {
        Some(problem) => problem.into(),
        None => Failure::failed(format!("the gateway answered {status} without a reason")),
    }
}

impl From<admin::Problem> for Failure {
    fn from(problem: admin::Problem) -> Self {
        let exit = exit_of(&problem);
        Self { message: problem.detail, hint: problem.hint, exit }
    }
}

fn exit_of(problem: &admin::Problem) -> Exit {
    match (problem.status, problem.code.as_str()) {
        (_, admin::NOT_RUNNING) => Exit::NotRunning,
        (403, admin::NOT_PERMITTED) => Exit::Denied,
        (_, "backend-not-ready") => Exit::NotReady,
        (400 | 422, _) => Exit::Usage,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_follows_the_problem() {
        for (status, code, want) in [
            (503, admin::NOT_RUNNING, Exit::NotRunning),
            (403, admin::NOT_PERMITTED, Exit::Denied),
            (409, "tenant-declared", Exit::Failed),
            (404, "tenant-unknown", Exit::Failed),
            (409, "conflict", Exit::Failed),
            (422, "bad-body", Exit::Usage),
            (502, "backend-not-ready", Exit::NotReady),
            (500, "registry", Exit::Failed),
        ] {
            let problem = admin::Problem::new(status, code, "x");
            assert_eq!(exit_of(&problem), want, "{status} {code}");
        }
    }

    #[test]
    fn a_socket_that_is_not_there_or_left_behind_is_a_gateway_at_rest() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        assert_eq!(Presence::at(&socket), Ok(Presence::AtRest));
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(Presence::at(&socket), Ok(Presence::Running));
        drop(listener);
        assert_eq!(Presence::at(&socket), Ok(Presence::AtRest));
    }
}
