//! Requests to the authority: HTTP/1.1 over TLS, each with a time limit and a bound on its answer. It knows nothing of
//! ACME, runs on the runtime it is called on, and must never run on an edge thread.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::shutdown::Shutdown;

/// An answer's bytes: a chain of four certificates has some 8 KiB, a hundred names in an order some 20.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Idle connections kept: as many as orders are usually under way.
const IDLE_MAX: usize = 4;

const USER_AGENT: &str = concat!("gateway/", env!("CARGO_PKG_VERSION"), " hyper/1");

/// A client of one authority.
pub(crate) struct Http {
    tls: TlsConnector,
    timeout: Duration,
    idle: Arc<Mutex<Vec<(String, Sender)>>>,
    shutdown: Shutdown,
}

type Sender = SendRequest<Full<Bytes>>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is none, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpProblem {
    /// The URL is not one of https.
    #[error("`{0}` is no https URL")]
    Url(String),
    /// No connection.
    #[error("cannot reach {authority}: {reason}")]
    Unreachable { authority: String, reason: String },
    /// It broke off.
    #[error("{authority} broke off: {reason}")]
    Broken { authority: String, reason: String },
    /// It took too long; the request had gone out, or no connection had come about.
    #[error("{authority} did not answer within {} s", limit.as_secs())]
    Slow { authority: String, limit: Duration, sent: bool },
}

impl HttpProblem {
    /// May the other side have read the request, and acted on it?
    pub(crate) fn may_have_arrived(&self) -> bool {
        match self {
            Self::Url(_) | Self::Unreachable { .. } => false,
            Self::Broken { .. } => true,
            Self::Slow { sent, .. } => *sent,
        }
    }
}

/// On which connection a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// On one that is open, if there is one. Sent again on another when that one was closed under it: only for what
    /// may be done twice.
    Any,
    /// On one of its own, once.
    Fresh,
}

impl Http {
    /// A client that trusts the certificates in `ca_file`, or those that Mozilla trusts.
    pub(crate) fn new(ca_file: Option<&Path>, timeout: Duration, shutdown: Shutdown) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca_file {
            roots = RootCertStore::empty();
            for certificate in authorities(path)? {
                let added = roots.add(certificate);
                added.map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { tls, timeout, idle: Arc::default(), shutdown })
    }

    /// One request, whole. Cancel safe in that nothing is left behind; the authority may have acted on it.
    pub(crate) async fn send(
        &self,
        (method, way): (&Method, Way),
        url: &str,
        body: Option<&str>,
    ) -> Result<Answer, HttpProblem> {
        let uri: Uri = url.parse().map_err(|_| HttpProblem::Url(url.to_owned()))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if uri.scheme_str() != Some("https") || authority.is_empty() {
            return Err(HttpProblem::Url(url.to_owned()));
        }
        let until = Instant::now() + self.timeout;
        let slow = |sent| HttpProblem::Slow { authority: authority.clone(), limit: self.timeout, sent };
        let kept = (way == Way::Any).then(|| self.kept(&authority)).flatten();
        let was_kept = kept.is_some();
        let sender = match kept {
            Some(sender) => sender,
            None => timeout_at(until, self.connect(&uri, &authority)).await.map_err(|_| slow(false))??,
        };
        let exchange = self.exchange((method, &uri, &authority), body, (sender, was_kept));
        timeout_at(until, exchange).await.map_err(|_| slow(true))?
    }

    async fn exchange(
        &self,
        (method, uri, authority): (&Method, &Uri, &str),
        body: Option<&str>,
        (mut sender, was_kept): (Sender, bool),
    ) -> Result<Answer, HttpProblem> {
        let broken = |error: hyper::Error| HttpProblem::Broken {
            authority: authority.to_owned(),
            reason: error.to_string(),
        };
        let request = || request(method, uri, authority, body);
        let answer = match sender.send_request(request()?).await {
            // A kept connection may have been closed under us.
            Err(error)
                if was_kept
                    && (error.is_closed() || error.is_canceled() || error.is_incomplete_message()) =>
            {
                sender = self.connect(uri, authority).await?;
                sender.send_request(request()?).await
            }
            answer => answer,
        };
        let (head, incoming) = answer.map_err(broken)?.into_parts();
        let collected = Limited::new(incoming, ANSWER_BYTES_MAX).collect().await;
        let body = collected.map_err(|error| HttpProblem::Broken {
            authority: authority.to_owned(),
            reason: error.to_string(),
        })?;
        self.keep(authority, sender);
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    async fn connect(&self, uri: &Uri, authority: &str) -> Result<Sender, HttpProblem> {
        let failed = |reason: String| HttpProblem::Unreachable { authority: authority.to_owned(), reason };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(443);
        let tcp = TcpStream::connect((host, port)).await.map_err(|error| failed(error.to_string()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| failed(error.to_string()))?;
        let handshake = http1::handshake(TokioIo::new(tls)).await;
        let (sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
        let (shutdown, idle, limit) = (self.shutdown.clone(), self.idle.clone(), self.timeout);
        // The drain waits for requests, never for an idle connection: one without a sender ends.
        self.shutdown.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ended = &mut connection => return,
                () = shutdown.begun() => {}
            }
            idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let _ended = tokio::time::timeout(limit, connection).await;
        });
        Ok(sender)
    }

    fn kept(&self, authority: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, sender)| !sender.is_closed());
        let at = idle.iter().position(|(theirs, sender)| theirs == authority && sender.is_ready())?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, authority: &str, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !sender.is_closed() && !self.shutdown.has_begun() {
            idle.push((authority.to_owned(), sender));
        }
    }
}

fn request(
    method: &Method,
    uri: &Uri,
    authority: &str,
    body: Option<&str>,
) -> Result<Request<Full<Bytes>>, HttpProblem> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT);
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/jose+json");
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
    request.body(body).map_err(|_| HttpProblem::Url(uri.to_string()))
}

/// The certificates of a PEM file.
pub(crate) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("there is no certificate in {}", path.display()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{} is no PEM file: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::{StreamExt, stream::FuturesUnordered};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Answers `/fine` on a connection that stays, and closes it when anything else is asked for.
    async fn fickle(tcp: TcpStream, acceptor: TlsAcceptor, heard: Arc<Mutex<BTreeMap<String, u32>>>) {
        let mut stream = acceptor.accept(tcp).await.unwrap();
        let mut head = [0; 2048];
        while let Ok(bytes @ 1..) = stream.read(&mut head).await {
            let head = String::from_utf8_lossy(&head[..bytes]).into_owned();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            *heard.lock().unwrap().entry(path.clone()).or_default() += 1;
            if path != "/fine" {
                return stream.shutdown().await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_must_not_be_done_twice_goes_out_once_on_a_connection_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<BTreeMap<String, u32>>>::default();
        let http = Http::new(Some(&ca_file), Duration::from_secs(20), Shutdown::new()).unwrap();
        let requests = async {
            for (path, way) in [("once", Way::Fresh), ("again", Way::Any)] {
                let url = |path: &str| format!("https://localhost:{port}/{path}");
                // From now on a connection is kept.
                http.send((&Method::GET, Way::Any), &url("fine"), None).await.unwrap();
                let broken = http.send((&Method::POST, way), &url(path), Some("{}")).await.unwrap_err();
                assert!(broken.may_have_arrived(), "{broken}");
            }
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut open = FuturesUnordered::new();
        let mut requests = std::pin::pin!(requests);
        loop {
            tokio::select! {
                () = &mut requests => break,
                accepted = listener.accept() => {
                    open.push(fickle(accepted.unwrap().0, acceptor.clone(), heard.clone()));
                }
                Some(()) = open.next() => {}
            }
        }
        let heard = heard.lock().unwrap();
        assert_eq!((heard["/once"], heard["/again"]), (1, 2), "{heard:?}");
    }
}
