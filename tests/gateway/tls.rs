//! TLS and the protocols inside it: local CA, files that change, none at all, redirects, HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};

use crate::{Answer, BARBA, HOST, NAVAJA, STRANGER, TestGateway, Wire, certificates::TestCa, eventually};

/// Requests over one HTTP/2 connection, all at once; answers in their order.
fn over_h2(
    gateway: &TestGateway,
    config: Arc<ClientConfig>,
    requests: Vec<Request<Full<bytes::Bytes>>>,
) -> Vec<Answer> {
    let address = gateway.https();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let answers = async move {
            let answers = requests.into_iter().map(|request| {
                let mut sender = sender.clone();
                async move {
                    let response = sender.send_request(request).await.unwrap();
                    let headers = response.headers().iter().map(|(name, value)| {
                        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                    });
                    let mut answer = Answer {
                        status: response.status().as_u16(),
                        headers: headers.collect(),
                        ..Answer::default()
                    };
                    answer.body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
                    answer
                }
            });
            futures_util::future::join_all(answers).await
        };
        // The connection ends when its last sender is gone.
        let (answers, ended) = tokio::join!(answers, connection);
        ended.unwrap();
        answers
    })
}

fn h2_request(
    method: &str,
    path: &str,
    origin: Option<&str>,
    body: &'static [u8],
) -> Request<Full<bytes::Bytes>> {
    let mut request =
        Request::builder().method(method).uri(format!("https://{HOST}{path}")).version(Version::HTTP_2);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.body(Full::from(body)).unwrap()
}

#[test]
fn http_2_carries_many_requests_of_two_tenants_at_once() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let mut requests = Vec::new();
    for number in 0..40 {
        let origin = if number % 2 == 0 { NAVAJA } else { BARBA };
        requests.push(h2_request("POST", &format!("/{number}"), Some(origin), b"hello"));
    }
    for (number, answer) in over_h2(&gateway, gateway.tls(&["h2"]), requests).into_iter().enumerate() {
        let (origin, tenant) = if number % 2 == 0 { (NAVAJA, "navaja") } else { (BARBA, "barba") };
        let json = answer.is(200).readable_from(origin).json();
        assert_eq!((&json["url"], &json["body"]), (&format!("/{number}").into(), &"hello".into()));
        assert_eq!(json["headers"]["x-gateway-tenant"], tenant);
        assert_eq!(json["headers"]["host"], HOST);
        assert_eq!(json["headers"]["x-forwarded-proto"], "https");
    }
}

#[test]
fn http_2_is_judged_like_http_1() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let elsewhere = Request::builder().uri("https://unknown.example/x").body(Full::default()).unwrap();
    let mut preflight = h2_request("OPTIONS", "/x", Some(NAVAJA), b"");
    preflight.headers_mut().insert("access-control-request-method", "PUT".parse().unwrap());
    let mut twice = h2_request("GET", "/x", Some(NAVAJA), b"");
    twice.headers_mut().append("origin", BARBA.parse().unwrap());
    let mut forged = h2_request("GET", "/x", Some(NAVAJA), b"");
    forged.headers_mut().insert("x-gateway-tenant", "barba".parse().unwrap());
    let mut cookies = h2_request("GET", "/x", Some(NAVAJA), b"");
    cookies.headers_mut().append("cookie", "a=1".parse().unwrap());
    cookies.headers_mut().append("cookie", "b=2".parse().unwrap());
    let requests = vec![
        h2_request("GET", "/x", Some(STRANGER), b""),
        h2_request("GET", "/x", None, b""),
        elsewhere,
        preflight,
        twice,
        forged,
        cookies,
    ];
    let answers = over_h2(&gateway, gateway.tls(&["h2"]), requests);
    answers[0].clone().problem(403).readable_by_nobody();
    assert_eq!(answers[1].clone().is(200).seen_header("x-gateway-tenant"), None);
    answers[2].clone().problem(421);
    answers[3].clone().is(204).readable_from(NAVAJA);
    assert!(matches!(answers[4].status, 400 | 403), "{}", answers[4].status);
    assert_eq!(answers[5].clone().is(200).seen_header("x-gateway-tenant").as_deref(), Some("navaja"));
    // RFC 9113 8.2.3: several cookie fields become one before HTTP/1.1.
    assert_eq!(answers[6].clone().is(200).seen_header("cookie").as_deref(), Some("a=1; b=2"));
}

#[test]
fn the_client_chooses_the_protocol_and_old_tls_is_refused() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let mut wire = Wire::tls(gateway.https(), HOST, gateway.tls(&["http/1.1"]));
    wire.send(gateway.get("/x").origin(NAVAJA).bytes());
    wire.answer().is(200);
    // Without ALPN it is HTTP/1.1.
    let mut wire = Wire::tls(gateway.https(), HOST, gateway.tls(&[]));
    wire.send(gateway.get("/x").origin(NAVAJA).bytes());
    wire.answer().is(200);
    // Plain HTTP on the HTTPS port is no reason to die.
    let mut wire = Wire::tcp(gateway.https());
    wire.send(gateway.get("/x").origin(NAVAJA).bytes());
    assert!(wire.try_head().map_or(true, |answer| answer.status == 400));
    gateway.get("/x").origin(NAVAJA).secure().send().is(200);
}

#[test]
fn the_local_ca_certifies_hosts_that_are_served_and_no_others() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("edge.hosts = [\"www.example\"]").start();
    gateway.cli(&["tenant", "add", "late", "--host", "api.late.example"]).ok();
    for host in [HOST, "www.example", "api.late.example"] {
        Wire::tls(gateway.https(), host, gateway.tls(&["http/1.1"]));
    }
    for host in ["unknown.example", "example", "x.api.example"] {
        let refused = Wire::try_tls(gateway.https(), host, gateway.tls(&["http/1.1"])).unwrap_err();
        // The one alert that a browser shows as what it is.
        assert!(refused.to_string().contains("UnrecognisedName"), "{host}: {refused}");
    }
    // The CA survives a restart, and its key is nobody else's to read.
    let before = gateway.tls(&["http/1.1"]);
    let gateway = gateway.stop().start();
    Wire::tls(gateway.https(), HOST, before);
    let mut keys = Vec::new();
    private_keys(&gateway.site().state(), &mut keys);
    assert!(!keys.is_empty(), "the CA's key is not in the state directory");
    for (path, mode) in keys {
        assert_eq!(mode & 0o077, 0, "{path} can be read by others: {mode:o}");
    }
}

/// PEM files with private keys below `directory`, and their modes.
fn private_keys(directory: &std::path::Path, found: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            private_keys(&entry.path(), found);
        } else if std::fs::read(entry.path())
            .is_ok_and(|bytes| bytes.windows(11).any(|window| window == b"PRIVATE KEY"))
        {
            use std::os::unix::fs::PermissionsExt;
            found.push((entry.path().display().to_string(), entry.metadata().unwrap().permissions().mode()));
        }
    }
}

#[test]
fn certificates_from_files_are_taken_anew_when_the_files_change() {
    let (first, second) = (TestCa::new(), TestCa::new());
    let site = TestGateway::builder().shops().worker("echo.mjs").config("tls.mode = \"files\"").site();
    let (certificate, key) = first.certify(HOST);
    let (cert_path, key_path) = (site.write("api.crt", certificate), site.write("api.key", key));
    site.configure(&format!("[[tls.certificate]]\ncert = {cert_path:?}\nkey = {key_path:?}"));
    let gateway = site.start();
    let mut kept = Wire::tls(gateway.https(), HOST, first.trusted());
    kept.send(gateway.get("/x").origin(NAVAJA).bytes());
    kept.answer().is(200);
    // In the middle of the change the two files do not fit: the old pair is served on.
    let (certificate, key) = second.certify(HOST);
    gateway.site().write("api.crt", certificate);
    Wire::tls(gateway.https(), HOST, first.trusted());
    gateway.site().write("api.key", key);
    eventually("the new certificate is served", || {
        Wire::try_tls(gateway.https(), HOST, second.trusted()).ok()
    });
    assert!(Wire::try_tls(gateway.https(), HOST, first.trusted()).is_err());
    kept.send(gateway.get("/x").origin(NAVAJA).bytes());
    kept.answer().is(200);
    gateway.site().write("api.crt", "junk");
    std::thread::sleep(std::time::Duration::from_millis(500));
    Wire::tls(gateway.https(), HOST, second.trusted());
}

#[test]
fn certificates_in_the_state_directory_are_backed_up_and_broken_ones_leave_the_gateway_reachable() {
    let ca = TestCa::new();
    let (certificate, key) = ca.certify(HOST);
    let files =
        "tls.mode = \"files\"\n[[tls.certificate]]\ncert = \"state/api.crt\"\nkey = \"state/api.key\"";
    let build = || TestGateway::builder().shops().worker("echo.mjs").config(files).site();
    let site = build();
    site.write("state/api.crt", certificate);
    site.write("state/api.key", &key);
    let gateway = site.start();
    let file = gateway.site().path().join("x.tar");
    let passphrase = [("GATEWAY_BACKUP_PASSPHRASE", "correct horse battery staple")];
    gateway.site().cli_with(&["backup", file.to_str().unwrap()], "", &passphrase).ok();
    gateway.site().write("state/api.crt", "junk");
    gateway.cli(&["status"]).ok().says(&["warning: ", HOST]);
    gateway.cli(&["reload"]).fails(2).says(&["api.crt"]);

    let archive = std::fs::read(&file).unwrap();
    assert!(!String::from_utf8_lossy(&archive).contains("PRIVATE KEY"));
    let other = build();
    other.cli(&["check"]).fails(2).says(&["api.crt"]);
    let file = other.write("x.tar", archive);
    other.cli_with(&["restore", file.to_str().unwrap()], "", &passphrase).ok();
    assert_eq!(std::fs::read_to_string(other.state().join("api.key")).unwrap(), key);
    Wire::tls(other.start().https(), HOST, ca.trusted());
}

#[test]
fn certificate_files_that_cannot_be_used_are_told_before_anything_starts() {
    let ca = TestCa::new();
    let (certificate, _) = ca.certify(HOST);
    let (_, other_key) = ca.certify(HOST);
    for (cert, key) in [("", ""), ("junk", "junk"), (&*certificate, "junk"), (&*certificate, &*other_key)] {
        let site = TestGateway::builder().worker("echo.mjs").config("tls.mode = \"files\"").site();
        let (cert_path, key_path) = (site.write("api.crt", cert), site.write("api.key", key));
        site.configure(&format!("[[tls.certificate]]\ncert = {cert_path:?}\nkey = {key_path:?}"));
        let output = site.cli(&["run"]);
        assert!(matches!(output.code, 1 | 2), "{}", output.all());
        assert!(output.stderr.contains("api.crt") || output.stderr.contains("api.key"), "{}", output.stderr);
    }
}

#[test]
fn without_tls_every_listener_speaks_plain_http() {
    let site =
        TestGateway::builder().shops().worker("echo.mjs").config("tls.mode = \"off\"\nedge.http = []").site();
    let gateway = site.start();
    let listeners = gateway.status()["listeners"].clone();
    let address = listeners[0]["address"].as_str().unwrap().parse().unwrap();
    let mut wire = Wire::tcp(address);
    wire.send(gateway.get("/x").origin(NAVAJA).bytes());
    let answer = wire.answer().is(200).readable_from(NAVAJA);
    assert_eq!(answer.seen_header("x-forwarded-proto").as_deref(), Some("http"));
}

#[test]
fn plain_http_sends_known_hosts_to_https_and_no_others() {
    let gateway =
        TestGateway::builder().shops().worker("echo.mjs").config("edge.http_mode = \"redirect\"").start();
    for method in ["GET", "POST", "HEAD"] {
        let answer = gateway.request(method, "/a/b?c=d").origin(NAVAJA).send();
        assert!(matches!(answer.status, 301 | 307 | 308), "{}", answer.status);
        let location = answer.header("location").unwrap();
        assert!(
            location.starts_with(&format!("https://{HOST}")) && location.ends_with("/a/b?c=d"),
            "{location}"
        );
    }
    for host in ["unknown.example", "evil.example:80", "127.0.0.1", "api.example.evil.example"] {
        let answer = gateway.get("/x").host(host).send();
        assert_eq!((answer.status, answer.header("location")), (421, None), "{host}");
    }
    for target in ["//evil.example/x", "/\\evil.example", "/x\u{b}y"] {
        let answer = gateway.get(target).send();
        let location = answer.header("location").unwrap_or("https://api.example/").to_owned();
        assert!(location.starts_with(&format!("https://{HOST}")), "{location}");
    }
    gateway.get("/x").origin(NAVAJA).secure().send().is(200);
}

#[test]
fn an_empty_request_body_over_http_2_stays_empty() {
    let gateway = TestGateway::builder().shops().worker("echo.mjs").start();
    let answers = over_h2(&gateway, gateway.tls(&["h2"]), vec![h2_request("GET", "/x", Some(NAVAJA), b"")]);
    let json = answers[0].clone().is(200).json();
    assert_eq!(json["body"], "");
    assert!(json["headers"]["transfer-encoding"].is_null(), "a GET without body got one: {json}");
}
