//! What some certificate authorities want or offer beyond the usual, and hosts that are reached in unusual ways.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    thread,
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use x509_parser::{extensions::ParsedExtension, prelude::FromDer};

use crate::{
    Answer, TestGateway, Wire,
    acme::{attempts, host_until, ledger, names, soon_served},
    client::trusting,
    eventually,
    pebble::{Pebble, Settings},
};

/// The id and the key of an account elsewhere.
const EXTERNAL: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

#[test]
fn an_account_is_bound_to_one_elsewhere_with_a_key_that_nobody_sees() {
    let pebble = Pebble::start(Settings { external: Some(EXTERNAL), ..Settings::default() });
    let gateway = pebble.builder().config("edge.hosts = [\"a.example.com\"]").start();
    eventually("without it the log and the list say what is missing", || {
        let missing = "tls.acme.external_account_id";
        let listed = gateway.cli(&["cert", "list", "--json"]).ok().stdout;
        (gateway.log().contains(missing) && listed.contains(missing)).then_some(())
    });
    let (id, key) = EXTERNAL;
    let file = gateway.site().write("external.key", format!("{key}\n"));
    let bound = format!("[tls.acme]\nexternal_account_id = {id:?}\nexternal_account_key_file = {file:?}");
    gateway.site().configure(&bound);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    gateway.cli(&["check"]).says(&["every user of this machine can use this key", "chmod 600"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    gateway.cli(&["reload"]).ok();
    soon_served(&gateway, "a.example.com", &pebble.root());
    let metrics = gateway.admin("GET", "/metrics").unwrap().text();
    let status = gateway.status().to_string();
    let told = ["status", "check", "cert list --json", "cert show a.example.com"].map(|words| {
        let words: Vec<_> = words.split(' ').collect();
        gateway.cli(&words).ok().all()
    });
    let state = text_below(&gateway.site().state());
    for (what, text) in
        [("log", &gateway.log()), ("metrics", &metrics), ("status", &status), ("state", &state)]
    {
        assert!(!text.contains(key), "the key is in the {what}");
    }
    assert!(told.iter().all(|text| !text.contains(key)), "{told:?}");
}

#[test]
fn a_wrong_key_of_an_account_elsewhere_is_told_and_never_shown() {
    let pebble = Pebble::start(Settings { external: Some(EXTERNAL), ..Settings::default() });
    let wrong = EXTERNAL.1.replace('z', "A");
    let site = pebble.builder().config("edge.hosts = [\"a.example.com\"]").site();
    let file = site.write("external.key", &wrong);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    site.configure(&format!(
        "[tls.acme]\nexternal_account_id = {:?}\nexternal_account_key_file = {file:?}",
        EXTERNAL.0
    ));
    let gateway = site.start();
    let why = eventually("the failure is written down", || {
        let ledger = ledger(gateway.site())?;
        ledger["authority"]["last_error"].as_str().map(str::to_owned)
    });
    let told = gateway.cli(&["cert", "list"]).ok().all() + &gateway.log();
    assert!(!why.contains(&wrong) && !told.contains(&wrong), "{why}\n{told}");
    assert_eq!(
        attempts(&ledger(gateway.site()).unwrap()["hosts"]["a.example.com"]),
        0,
        "it is no host's fault"
    );
}

#[test]
fn a_certificate_is_renewed_when_its_authority_says_so_and_the_order_names_the_one_it_replaces() {
    // An order that is sent again for its nonce would be seen twice.
    let pebble = Pebble::start(Settings { nonces_refused: 0, ..Settings::default() });
    let front = Front::start(&pebble);
    let directory = format!("tls.acme.directory = \"https://localhost:{}/dir\"", front.address.port());
    let gateway = pebble.builder().config(&directory).config("edge.hosts = [\"a.example.com\"]").start();
    let root = pebble.root();
    let first = soon_served(&gateway, "a.example.com", &root);
    // It has 90 days to live, and its authority wants it replaced at once.
    let second = eventually("it is renewed", || {
        let now = soon_served(&gateway, "a.example.com", &root);
        (now != first).then_some(now)
    });
    eventually("the new one is asked about", || {
        front.asked().contains(&certificate_id(&second)).then_some(())
    });
    let orders = front.orders();
    assert_eq!((orders.len(), &orders[0]["replaces"]), (2, &Value::Null), "{orders:?}");
    assert_eq!(orders[1]["replaces"], certificate_id(&first));
    let ledger = ledger(gateway.site()).unwrap();
    assert_eq!(ledger["issued"][1]["renewal"], true);
    // Its own turn comes in the window that was named for it.
    let (start, end) = front.later;
    eventually("the list says when it is renewed", || {
        let listed = gateway.cli(&["cert", "list", "--json"]).ok().json();
        let turn: jiff::Timestamp = listed[0]["order"]["next_try"].as_str()?.parse().unwrap();
        (start..=end).contains(&turn).then_some(())
    });
    assert_eq!(front.orders().len(), 2);
}

#[test]
fn a_sites_host_gets_its_certificate_whatever_the_site_does() {
    let pebble = Pebble::start(Settings::default());
    let site = pebble.builder().site();
    let root = site.path().join("www");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("index.html"), "hello").unwrap();
    site.configure(&format!("[[edge.site]]\nhost = \"www.example.com\"\nroot = {root:?}"));
    site.configure("[[edge.site]]\nhost = \"example.org\"\nredirect = \"https://www.example.com{path}\"");
    let gateway = site.start();
    let ca = pebble.root();
    for (host, status) in [("www.example.com", 200), ("example.org", 308)] {
        assert_eq!(names(&soon_served(&gateway, host, &ca)), [host]);
        let mut wire = Wire::tls(gateway.https(), host, trusting(&ca, &["http/1.1"]));
        wire.send(gateway.get("/").host(host).bytes());
        wire.answer().is(status);
    }
    // One more, by a reload.
    gateway.site().configure("[[edge.site]]\nhost = \"blog.example.net\"\nupstream = \"http://127.0.0.1:9\"");
    gateway.cli(&["reload"]).ok();
    soon_served(&gateway, "blog.example.net", &ca);
}

#[test]
fn a_host_whose_address_is_not_ours_is_ordered_once_a_request_to_it_comes_back() {
    let pebble = Pebble::start(Settings::default());
    let (http, https) = pebble.looks_at();
    // Loopback does not count as ours where the authority has a name of the internet: the host seems to lead elsewhere.
    let [low, high] = u16::try_from(std::process::id() % 60_000).unwrap().to_be_bytes();
    let outside = Ipv4Addr::new(127, 80, low, high);
    pebble.lead("a.example.com", &outside.to_string());
    let site = pebble.builder().config("edge.hosts = [\"a.example.com\"]").site();
    let at = |port: u16| SocketAddr::from((outside, port)).to_string();
    site.configure(&format!(
        "edge.http = [{:?}]\nedge.https = [{:?}]\ntls.acme.directory = \"https://ca.example:{}/dir\"",
        at(http),
        at(https),
        pebble.address().port()
    ));
    // The name stands in a list of hosts that only this gateway sees.
    let hosts = site.write("hosts", "127.0.0.1 localhost ca.example\n").display().to_string();
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let gateway = TestGateway::start_through(site, &["unshare", "--mount", "sh", "-c", script, &hosts]);
    let history =
        host_until(gateway.site(), "a.example.com", |history| history["strays"].as_u64() >= Some(1));
    let why = history["last_error"].as_str().unwrap();
    assert!(why.contains(&format!("does not lead here: resolves to {outside}")), "{why}");
    assert_eq!(attempts(&history), 0);
    // Port 80 is where authorities come, and where the gateway looks for itself.
    gateway.site().configure(&format!("edge.http = [{:?}, {:?}]", at(http), at(80)));
    gateway.cli(&["reload"]).ok();
    soon_served(&gateway, "a.example.com", &pebble.root());
}

/// In front of an authority that has no word on renewals (RFC 9773): everything is passed on, the directory gets one
/// more entry, and what that leads to is answered here.
#[derive(Debug)]
struct Front {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    /// The window of every certificate but the first, whose own is over.
    later: Window,
}

type Window = (jiff::Timestamp, jiff::Timestamp);

#[derive(Debug, Default)]
struct Heard {
    asked: Vec<String>,
    orders: Vec<Value>,
}

impl Front {
    /// It ends with the test's process.
    fn start(pebble: &Pebble) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Heard>>::default();
        let chain =
            CertificateDer::pem_file_iter(pebble.file("pebble.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(pebble.file("pebble.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let (behind, ca) = (pebble.address(), std::fs::read(pebble.file("ca.pem")).unwrap());
        let notes = heard.clone();
        let hours = |hours| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let later = (hours(240), hours(241));
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let session = ServerConnection::new(config.clone()).unwrap();
                // Who connects and goes is no fault.
                let _gone =
                    serve(StreamOwned::new(session, tcp), (behind, &ca[..]), (address, later), &notes);
            }
        });
        Self { address, heard, later }
    }

    /// The certificates that were asked about.
    fn asked(&self) -> Vec<String> {
        self.heard.lock().unwrap().asked.clone()
    }

    /// What was ordered.
    fn orders(&self) -> Vec<Value> {
        self.heard.lock().unwrap().orders.clone()
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    (behind, ca): (SocketAddr, &[u8]),
    (own, later): (SocketAddr, Window),
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    let request = request(&mut stream)?;
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = if let Some(id) = path.strip_prefix("/renewal-info/") {
        let mut heard = heard.lock().unwrap();
        heard.asked.push(id.to_owned());
        let over = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
        let (start, end) = if heard.asked[0] == id { over } else { later };
        let window = json!({ "start": start.to_string(), "end": end.to_string() });
        Answer {
            status: 200,
            body: json!({ "suggestedWindow": window }).to_string().into(),
            ..Answer::default()
        }
    } else {
        let order = payload(&request).filter(|said| said["identifiers"].is_array());
        heard.lock().unwrap().orders.extend(order);
        let mut wire = Wire::tls(behind, "localhost", trusting(ca, &["http/1.1"]));
        wire.send(&request);
        let mut answer = wire.answer();
        if path == "/dir" {
            let mut directory = answer.json();
            directory["renewalInfo"] = json!(format!("https://localhost:{}/renewal-info", own.port()));
            answer.body = directory.to_string().into();
        }
        answer
    };
    let mut head = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", answer.body.len()));
    stream.write_all(head.as_bytes())?;
    if !request.starts_with(b"HEAD ") {
        stream.write_all(&answer.body)?;
    }
    stream.conn.send_close_notify();
    stream.flush()
}

/// One whole request.
fn request(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Ok(bytes);
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// What a signed request says.
fn payload(request: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(request);
    let signed: BTreeMap<String, String> = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(&signed["payload"]).ok()?).ok()
}

/// A certificate's name in RFC 9773.
fn certificate_id(leaf: &[u8]) -> String {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(leaf).unwrap();
    let key_id = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
        _ => None,
    });
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}", encode(key_id.unwrap().0), encode(certificate.raw_serial()))
}

/// All that is written below a directory, as text.
fn text_below(directory: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            text.push_str(&text_below(&entry.path()));
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text
}
