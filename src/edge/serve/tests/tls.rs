//! Handshakes, protocols and certificates.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    edge::{
        EdgeSettings, HttpMode,
        config::{TlsConfig, TlsMode},
    },
    tenant::{Snapshot, Status},
};

use super::{
    OK,
    kit::{House, header, tenant},
};

fn with_tls(settings: &mut EdgeSettings) {
    settings.config.https = vec![([127, 0, 0, 1], 0).into()];
    settings.config.http_mode = HttpMode::Redirect;
    settings.tls = TlsConfig { mode: TlsMode::Local, ..TlsConfig::default() };
}

struct Browser {
    config: Arc<ClientConfig>,
    address: std::net::SocketAddr,
}

impl Browser {
    fn new(house: &House, protocols: &[&[u8]]) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = std::fs::read(house.edge.certificate_store().local_ca().unwrap()).unwrap();
        roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let (_, address) = *house.addresses.iter().find(|(kind, _)| *kind == "https").unwrap();
        Self { config: Arc::new(config), address }
    }

    async fn connect(&self, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(self.config.clone()).connect(name, tcp).await
    }
}

#[tokio::test]
async fn http2_is_served_under_a_certificate_made_for_the_name_that_was_asked_for() {
    let house = House::with(with_tls);
    let worker = house.answering(OK);
    let tls = Browser::new(&house, &[b"h2", b"http/1.1"]).connect("api.acme.example").await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let group = tls.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768, "post-quantum is preferred");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    let connection = tokio::task::spawn_blocking(|| tokio::runtime::Handle::current().block_on(connection));
    for _ in 0..3 {
        let request = Request::get("https://api.acme.example/x")
            .header("origin", "https://acme.example")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://acme.example");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");
    }
    let head = worker.head();
    assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("api.acme.example"));
    assert_eq!(header(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(&head, "cookie"), Some("a=1; b=2"));
    drop(sender);
    connection.await.unwrap().unwrap();
    assert!(house.edge.certificates().iter().any(|one| one.host == "api.acme.example"));
}

#[tokio::test]
async fn a_name_that_is_not_ours_gets_no_certificate_until_a_tenant_has_it() {
    let house = House::with(with_tls);
    let browser = Browser::new(&house, &[b"http/1.1"]);
    assert!(browser.connect("api.new.example").await.is_err());
    house.registry.replace(Snapshot::build([tenant("new", Status::Active)]).unwrap());
    assert!(browser.connect("api.new.example").await.is_ok());
}

#[tokio::test]
async fn sessions_are_resumed() {
    let house = House::with(with_tls);
    house.answering(OK);
    let browser = Browser::new(&house, &[b"http/1.1"]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let tls = browser.connect("shared.example").await.unwrap();
        kinds.push(tls.get_ref().1.handshake_kind().unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        let request = Request::get("/").header("host", "shared.example").header("connection", "close");
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
        let (answer, _) = tokio::join!(answer, connection);
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(kinds[1], HandshakeKind::Resumed, "{kinds:?}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_and_plain_http_is_sent_to_https() {
    let house = House::with(|settings| {
        with_tls(settings);
        settings.config.limits.handshake_timeout = Duration::from_millis(200);
    });
    let (_, https) = *house.addresses.iter().find(|(kind, _)| *kind == "https").unwrap();
    let (_, http) = *house.addresses.iter().find(|(kind, _)| *kind == "http").unwrap();
    tokio::task::spawn_blocking(move || {
        let mut silent = super::kit::Client::connect(https);
        assert!(silent.is_closed());
        let mut plain = super::kit::Client::connect(http);
        plain.write(&format!("GET /a?b HTTP/1.1\r\nhost: shared.example:{}\r\n\r\n", http.port()));
        let answer = plain.answer();
        assert_eq!(answer.status(), 308);
        let want = format!("https://shared.example:{}/a?b", https.port());
        assert_eq!(answer.header("location"), Some(want.as_str()));
        plain.write("GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n");
        assert_eq!(plain.answer().status(), 421);
    })
    .await
    .unwrap();
}
