//! A client of one gateway: requests in a line, over HTTP/1.1, with exactly the headers that the test gives.

use std::{net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};

use crate::{Answer, HOST, Wire};

/// Knows where the gateway listens and whom to trust. Cheap to clone into a thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    ca_pem: Option<Arc<Vec<u8>>>,
}

impl Client {
    pub(crate) fn new(http: Option<SocketAddr>, https: Option<SocketAddr>, ca_pem: Option<Vec<u8>>) -> Self {
        Self { http, https, ca_pem: ca_pem.map(Arc::new) }
    }

    /// Where it speaks HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http.expect("the gateway listens for HTTP")
    }

    /// Where it speaks HTTPS.
    pub(crate) fn https(&self) -> SocketAddr {
        self.https.expect("the gateway listens for HTTPS")
    }

    /// A TLS configuration that trusts the gateway's own CA.
    pub(crate) fn tls(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        trusting(self.ca_pem.as_ref().expect("the gateway has a local CA"), alpn)
    }

    /// A plain connection.
    pub(crate) fn wire(&self) -> Wire {
        Wire::tcp(self.http())
    }

    /// A TLS connection to the test host.
    pub(crate) fn tls_wire(&self) -> Wire {
        Wire::tls(self.https(), HOST, self.tls(&["http/1.1"]))
    }

    /// A request in the making.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request {
            client: self.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: vec![("host".to_owned(), HOST.to_owned())],
            body: None,
            secure: false,
        }
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// POST with a body.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Request {
        self.request("POST", path).body(body)
    }

    /// The preflight that a browser sends before `method` with `headers`.
    pub(crate) fn preflight(&self, path: &str, origin: &str, method: &str, headers: &str) -> Request {
        let request = self.request("OPTIONS", path).origin(origin);
        let request = request.header("access-control-request-method", method);
        if headers.is_empty() { request } else { request.header("access-control-request-headers", headers) }
    }
}

/// A TLS configuration that trusts the certificates in `pem` alone.
pub(crate) fn trusting(pem: &[u8], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    client: Client,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    secure: bool,
}

impl Request {
    /// Add a header; duplicates are sent as given.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The page that calls.
    pub(crate) fn origin(self, origin: &str) -> Self {
        self.header("origin", origin)
    }

    /// Call another host than the test backend's.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.headers.retain(|(name, _)| name != "host");
        self.headers.insert(0, ("host".to_owned(), host.to_owned()));
        self
    }

    /// A body with its length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// A JSON body.
    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Over TLS.
    pub(crate) fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// The bytes of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut bytes = format!("{text}\r\n").into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }

    /// Send it on a connection of its own and leave the answer to be read.
    #[track_caller]
    pub(crate) fn open(&self) -> Wire {
        let mut wire = if self.secure { self.client.tls_wire() } else { self.client.wire() };
        wire.send(self.bytes());
        wire
    }

    /// Send it and read the answer.
    #[track_caller]
    pub(crate) fn send(&self) -> Answer {
        self.open().answer()
    }
}
