//! The admin side over its real listeners, on a gateway at rest. It must never need a worker.

use http::{Method, StatusCode};
use http_body_util::BodyExt;

use super::*;
use crate::{
    admin::{Places, Problem},
    metrics::Metrics,
    pool::{self, Pools},
    tenant::{self, TenantPaths, Tenants},
};

/// The parts of a gateway at rest in a directory of its own.
async fn parts(directory: &Path) -> Parts {
    let registry = tenant::Config::default();
    let tenants = Tenants::open(TenantPaths::below(directory, &registry, None)).await.unwrap();
    let pools = Pools::new(
        pool::Config::default(),
        directory.to_owned(),
        tenants.registry().clone(),
        Shutdown::new(),
        Metrics::new(),
    );
    let places = Places::of(&registry, directory, &pool::Config::default());
    Parts { tenants: Arc::new(tenants), pools, places, certificates: Box::new(Vec::new), live: None }
}

async fn ask(socket: &Path, method: Method, path: &str, body: &str) -> (StatusCode, Vec<u8>) {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let life = Shutdown::new();
    life.spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gateway")
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_over_the_socket_change_the_registry_and_problems_have_codes() {
    let directory = tempfile::tempdir().unwrap();
    let parts = parts(directory.path()).await;
    let registry = parts.tenants.registry().clone();
    let admin = Admin::start(&Config::default(), directory.path(), parts).unwrap();
    let socket = admin.socket().to_owned();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let body = r#"{"id": "acme", "origins": ["https://acme.example"]}"#;
    let (status, _) = ask(&socket, Method::POST, "/tenants", body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(registry.snapshot().by_origin("https://acme.example").is_some());
    let (status, _) = ask(&socket, Method::POST, "/tenants/acme/suspend", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(registry.snapshot().by_id("acme").unwrap().status, tenant::Status::Suspended);

    for (method, path, body, status, code) in [
        (Method::GET, "/tenants/other", "", 404, "tenant-unknown"),
        (Method::POST, "/tenants/acme/ticket", "", 503, "gateway-not-running"),
        (Method::POST, "/tenants/acme/migrate", r#"{"migrations":[]}"#, 409, "no-database"),
        (Method::POST, "/tenants", r#"{"id": "acme", "frob": 1}"#, 422, "bad-order"),
        (Method::POST, "/tenants", "{", 400, "bad-order"),
        (Method::GET, "/tenants/NOT_AN_ID", "", 404, "bad-path"),
        (Method::GET, "/frob", "", 404, "no-such-order"),
        (Method::GET, "/status", "", 503, "gateway-not-running"),
        (Method::POST, "/reload", "", 503, "gateway-not-running"),
    ] {
        let (got, answer) = ask(&socket, method, path, body).await;
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        assert_eq!((got.as_u16(), problem.status, problem.code.as_str()), (status, status, code), "{path}");
    }
    admin.stop().await;
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_listener_knows_no_orders() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { metrics_listen: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
    let admin = Admin::start(&config, directory.path(), parts(directory.path()).await).unwrap();
    let address = admin.metrics().unwrap();
    let get = async |path: &str| {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        Shutdown::new().spawn(connection);
        let request = Request::builder().uri(path).header("host", "x").body(Body::empty()).unwrap();
        sender.send_request(request).await.unwrap().status().as_u16()
    };
    // At rest there is nothing to be healthy; the point is that the route is there and the others are not.
    assert_eq!(get("/healthz").await, 503);
    for path in ["/tenants", "/status", "/export"] {
        assert_eq!(get(path).await, 404, "{path}");
    }
    admin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_metrics_address_and_an_unknown_group_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { metrics_listen: Some(([0, 0, 0, 0], 0).into()), ..Config::default() };
    let refused = Admin::start(&config, directory.path(), parts(directory.path()).await);
    assert!(matches!(refused.err(), Some(AdminError::NotLoopback(_))));
    let config = Config { group: Some("no-such-group".to_owned()), ..Config::default() };
    let refused = Admin::start(&config, directory.path(), parts(directory.path()).await);
    assert!(matches!(refused.err(), Some(AdminError::NoGroup(_))));
}
