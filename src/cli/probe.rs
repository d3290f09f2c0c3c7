//! A client as the world has it: TCP, TLS with the certificate truly checked, one request. `tenant check` proves
//! tenants with it. It must never trust more than a browser would.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// One step: connecting, the handshake, or the answer. Longer than the gateway makes a request wait for a worker.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// Enough to tell what answered.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Where the system's list of authorities lies, on the systems that there are.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Whom to call and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its name, for SNI and the certificate.
    pub(super) host: String,
    /// What is trusted; none speaks plain HTTP.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body.
    pub(super) body: Bytes,
}

/// Which step failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProbeProblem {
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, String),
    /// No trust, or no TLS.
    #[error("{0}")]
    Tls(String),
    /// No answer.
    #[error("no answer: {0}")]
    Http(String),
}

/// The system's authorities and, where there is one, the local CA.
pub(super) fn trust(local_ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, ProbeProblem> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists())
        && let Ok(certificates) = CertificateDer::pem_file_iter(path)
    {
        // A system's list may hold oddities; one of them must not cost all the others.
        roots.add_parsable_certificates(certificates.flatten());
    }
    for certificate in local_ca_pem.into_iter().flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()))
    {
        let certificate = certificate.map_err(|error| ProbeProblem::Tls(error.to_string()))?;
        roots.add(certificate).map_err(|error| ProbeProblem::Tls(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeProblem::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Target {
    /// The handshake alone: is the certificate good for the host?
    pub(super) async fn handshake(&self) -> Result<(), ProbeProblem> {
        let stream = self.connect().await?;
        match &self.tls {
            Some(tls) => self.secure(tls, stream).await.map(drop),
            None => Ok(()),
        }
    }

    /// The certificate that it shows, if it is good for the host.
    pub(super) async fn leaf(&self) -> Result<Vec<u8>, ProbeProblem> {
        let Some(tls) = &self.tls else { return Err(ProbeProblem::Tls("there is no TLS".to_owned())) };
        let stream = self.secure(tls, self.connect().await?).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        leaf.map(|leaf| leaf.to_vec()).ok_or_else(|| ProbeProblem::Tls("no certificate is shown".to_owned()))
    }

    /// One request over a connection of its own.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, ProbeProblem> {
        let stream = self.connect().await?;
        match &self.tls {
            Some(tls) => exchange(self.secure(tls, stream).await?, request).await,
            None => exchange(stream, request).await,
        }
    }

    async fn connect(&self) -> Result<TcpStream, ProbeProblem> {
        let problem = |why: String| ProbeProblem::Connect(self.address, why);
        match tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(problem(error.to_string())),
            Err(_) => Err(problem("it takes too long".to_owned())),
        }
    }

    async fn secure(
        &self,
        tls: &Arc<ClientConfig>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ProbeProblem> {
        let name =
            ServerName::try_from(self.host.clone()).map_err(|error| ProbeProblem::Tls(error.to_string()))?;
        let handshake = TlsConnector::from(tls.clone()).connect(name, stream);
        match tokio::time::timeout(STEP_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(ProbeProblem::Tls(in_words(&error))),
            Err(_) => Err(ProbeProblem::Tls("the handshake takes too long".to_owned())),
        }
    }
}

/// Why a handshake failed, in the words of whoever has to mend it.
fn in_words(error: &std::io::Error) -> String {
    use rustls::CertificateError as Certificate;
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(problem)) = tls else { return error.to_string() };
    let words = match problem {
        Certificate::UnknownIssuer => "no CA that this machine knows has signed the certificate",
        Certificate::Expired | Certificate::ExpiredContext { .. } => "the certificate has expired",
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "the certificate is for other names"
        }
        // The verifier has no name of its own for it, and `openssl req -x509` makes such certificates.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the certificate is a CA's, which clients refuse from a server: make it with \
             `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`"
        }
        _ => return error.to_string(),
    };
    words.to_owned()
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Reply, ProbeProblem> {
    let broke = |error: &dyn std::fmt::Display| ProbeProblem::Http(error.to_string());
    let whole = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broke(&error))?;
        // Driven beside the request and dropped with it: no task is left behind.
        let answer = async {
            let (head, body) =
                sender.send_request(request).await.map_err(|error| broke(&error))?.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| broke(&error))?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let mut answer = std::pin::pin!(answer);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            answer = answer.as_mut() => answer,
            ended = connection.as_mut() => match ended {
                // The peer closed after its answer, which is read already or lost.
                Ok(()) => answer.await,
                Err(error) => Err(broke(&error)),
            },
        }
    };
    match tokio::time::timeout(STEP_TIMEOUT, whole).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProbeProblem::Http("it takes too long".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Shutdown;

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target { address: free, host: "localhost".to_owned(), tls: None };
        let problem = target.send(Request::new(Full::default())).await.unwrap_err();
        assert!(matches!(&problem, ProbeProblem::Connect(address, _) if *address == free), "{problem}");
    }

    /// A TLS server with that certificate and nothing behind it.
    async fn serve(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> (SocketAddr, Shutdown) {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        shutdown.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(acceptor.accept(stream).await);
            }
        });
        (address, shutdown)
    }

    #[tokio::test]
    async fn a_certificate_is_trusted_by_its_ca_and_its_name_alone_and_what_is_wrong_is_said_in_words() {
        let signed = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (address, _life) = serve(&signed.cert, &signed.signing_key).await;
        let pem = signed.cert.pem();
        for (host, ca, want) in [
            ("a.example", Some(pem.as_str()), None),
            ("b.example", Some(pem.as_str()), Some("for other names")),
            ("a.example", None, Some("no CA that this machine knows")),
        ] {
            let target = Target { address, host: host.to_owned(), tls: Some(trust(ca).unwrap()) };
            let said = target.handshake().await.err().map(|problem| problem.to_string());
            assert_eq!(said.is_none(), want.is_none(), "{host} {said:?}");
            assert!(said.unwrap_or_default().contains(want.unwrap_or_default()), "{host}");
        }
    }

    #[tokio::test]
    async fn a_certificate_of_another_time_is_told_as_what_it_is() {
        for (from, until, want) in
            [(2020, 2021, "the certificate has expired"), (4000, 4001, "the certificate is not valid yet")]
        {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
            let certificate = parameters.self_signed(&key).unwrap();
            let (address, _life) = serve(&certificate, &key).await;
            let tls = Some(trust(Some(&certificate.pem())).unwrap());
            let target = Target { address, host: "a.example".to_owned(), tls };
            let problem = target.handshake().await.unwrap_err().to_string();
            assert!(problem.contains(want), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_ca_that_serves_itself_is_named_as_what_it_is() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let (address, _life) = serve(&certificate, &key).await;
        let tls = Some(trust(Some(&certificate.pem())).unwrap());
        let problem = Target { address, host: "a.example".to_owned(), tls }.handshake().await.unwrap_err();
        assert!(problem.to_string().contains("CA:FALSE"), "{problem}");
    }
}
