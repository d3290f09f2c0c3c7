//! Reading from a mirror: HTTPS, a directory, or plain HTTP on this machine alone. Piece by piece, each with a time
//! limit. It must never follow a mirror to where the configuration would not let it point.

use std::{fs::File, io::Read, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{super::config::NodeConfig, super::config::is_local, problem::NodeProblem};
use crate::shutdown::Shutdown;

/// Mirrors lead to a storage of theirs, and that to one near by.
const REDIRECTS_MAX: usize = 5;

/// What is read of a file at a time.
const PIECE_BYTES: usize = 64 * 1024;

const USER_AGENT: &str = concat!("gateway/", env!("CARGO_PKG_VERSION"), " hyper/1");

/// A mirror to read from.
pub(super) struct Fetch {
    base: Url,
    tls: TlsConnector,
    idle: Duration,
    /// For one download in all.
    limit: Duration,
}

/// Something on its way.
pub(super) struct Download {
    source: Pieces,
    /// Where it really comes from.
    pub(super) url: String,
    /// Its bytes, if that was said.
    pub(super) bytes: Option<u64>,
    /// How many have come.
    pub(super) read: u64,
    idle: Duration,
    limit: Duration,
    deadline: Instant,
}

enum Pieces {
    Http(Incoming),
    File(File),
}

impl Fetch {
    /// From the configured mirror.
    pub(super) fn new(config: &NodeConfig) -> Result<Self, NodeProblem> {
        let wrong = |reason: String| NodeProblem::Setting { key: "node.mirror", reason };
        let mut base = Url::parse(&config.mirror).map_err(|error| wrong(error.to_string()))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let tls = trust(config.ca_file.as_deref())
            .map_err(|reason| NodeProblem::Setting { key: "node.ca_file", reason })?;
        Ok(Self { base, tls, idle: config.idle_timeout, limit: config.download_timeout })
    }

    /// The mirror, as people read it.
    pub(super) fn mirror(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Begin to read what lies there.
    pub(super) async fn open(&self, path: &str) -> Result<Download, NodeProblem> {
        let answer = |url: &Url, reason: String| NodeProblem::Answer { url: url.to_string(), reason };
        let mut url = self.base.join(path).map_err(|error| answer(&self.base, error.to_string()))?;
        let (idle, limit, deadline) = (self.idle, self.limit, Instant::now() + self.limit);
        if url.scheme() == "file" {
            let (source, bytes) = open_file(&url)?;
            return Ok(Download { source, url: url.to_string(), bytes, read: 0, idle, limit, deadline });
        }
        for _ in 0..=REDIRECTS_MAX {
            let response = tokio::time::timeout(self.idle, self.ask(&url)).await;
            let response = response.unwrap_or_else(|_| {
                Err(unreachable(&url, format!("no answer within {}", humantime::format_duration(self.idle))))
            })?;
            let status = response.status();
            if status == StatusCode::OK {
                let length = response.headers().get(header::CONTENT_LENGTH);
                let bytes = length.and_then(|length| length.to_str().ok()?.parse().ok());
                let (source, url) = (Pieces::Http(response.into_body()), url.to_string());
                return Ok(Download { source, url, bytes, read: 0, idle, limit, deadline });
            }
            let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let Some(location) = location.filter(|_| status.is_redirection()) else {
                return Err(answer(&url, format!("the mirror answered {status}")));
            };
            let next = url.join(location).map_err(|error| answer(&url, error.to_string()))?;
            if !(next.scheme() == "https" || (next.scheme() == "http" && is_local(&next) && is_local(&url))) {
                return Err(answer(&url, format!("it leads to {next}, which is not HTTPS")));
            }
            url = next;
        }
        Err(answer(&url, format!("it leads on more than {REDIRECTS_MAX} times")))
    }

    async fn ask(&self, url: &Url) -> Result<http::Response<Incoming>, NodeProblem> {
        let failed = |reason: String| unreachable(url, reason);
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let tcp =
            TcpStream::connect((host.as_str(), port)).await.map_err(|error| failed(error.to_string()))?;
        if url.scheme() == "http" {
            return exchange(url, tcp).await;
        }
        let name = ServerName::try_from(host).map_err(|error| failed(error.to_string()))?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| failed(error.to_string()))?;
        exchange(url, tls).await
    }
}

/// A file, and its bytes.
fn open_file(url: &Url) -> Result<(Pieces, Option<u64>), NodeProblem> {
    let answer = |reason: String| NodeProblem::Answer { url: url.to_string(), reason };
    let path = url.to_file_path().map_err(|()| answer("this is no path".to_owned()))?;
    let file = File::open(&path).map_err(|error| answer(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| answer(error.to_string()))?;
    if !metadata.is_file() {
        return Err(answer("it is no file".to_owned()));
    }
    Ok((Pieces::File(file), Some(metadata.len())))
}

/// One request on a connection of its own.
async fn exchange(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<http::Response<Incoming>, NodeProblem> {
    let failed = |error: hyper::Error| unreachable(url, error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It ends with the request's answer, or with the command.
    Shutdown::new().spawn(connection);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unreachable(url, error.to_string()))?;
    sender.send_request(request).await.map_err(failed)
}

fn unreachable(url: &Url, reason: String) -> NodeProblem {
    let authority = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    NodeProblem::Unreachable { authority, reason }
}

impl Download {
    /// The next piece; none at the end, which is only reached if nothing is missing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, NodeProblem> {
        let piece = match &mut self.source {
            Pieces::File(file) => read_piece(file).map_err(|error| error.to_string()),
            // One that drips is never idle, and never done.
            Pieces::Http(_) if Instant::now() >= self.deadline => {
                let limit = humantime::format_duration(self.limit);
                Err(format!("it took longer than {limit} (node.download_timeout)"))
            }
            Pieces::Http(body) => match tokio::time::timeout(self.idle, body.frame()).await {
                Err(_) => Err(format!("nothing came for {}", humantime::format_duration(self.idle))),
                Ok(None) => Ok(None),
                Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
                Ok(Some(Err(error))) => Err(error.to_string()),
            },
        };
        let broken = |reason| NodeProblem::Broken { url: self.url.clone(), bytes: self.read, reason };
        let piece = piece.map_err(broken)?;
        match &piece {
            Some(piece) => self.read += piece.len() as u64,
            None if self.bytes.is_some_and(|bytes| bytes != self.read) => {
                return Err(broken("the rest is missing".to_owned()));
            }
            None => {}
        }
        Ok(piece)
    }

    /// All of something small.
    pub(super) async fn whole(mut self, max: u64) -> Result<Vec<u8>, NodeProblem> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if self.read > max {
                return Err(NodeProblem::NoList { url: self.url, max });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

fn read_piece(file: &mut File) -> std::io::Result<Option<Bytes>> {
    let mut piece = vec![0; PIECE_BYTES];
    let read = file.read(&mut piece)?;
    piece.truncate(read);
    Ok((read > 0).then(|| piece.into()))
}

/// Mozilla's authorities, or those in the file.
fn trust(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        roots = RootCertStore::empty();
        let text = std::fs::read(path).map_err(|error| wrong(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
