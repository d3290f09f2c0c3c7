//! What stands between a gateway and its certificate authority in some tests: it passes everything on, and can do what
//! the authority itself cannot be asked to do.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};

use crate::{Answer, Wire, client::trusting, pebble::Pebble};

/// In front of an authority that has no word on renewals (RFC 9773): everything is passed on, the directory gets one
/// more entry, and what that leads to is answered here.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    /// The window of every certificate but the first, whose own is over.
    pub(crate) later: Window,
}

/// What it does besides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// It has a word on renewals: the first certificate is to be renewed at once.
    pub(crate) says_when: bool,
    /// Orders that replace something are refused, as Boulder does when another account has ordered it.
    pub(crate) refuses_replacing: bool,
}

/// An answer that it gives itself: the authority hears nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    /// To requests below this path
    pub(crate) path: &'static str,
    /// that say this somewhere.
    pub(crate) about: &'static str,
    pub(crate) status: u16,
    /// `Retry-After`.
    pub(crate) retry_after: Option<&'static str>,
    /// With a problem document of this kind, or with none.
    pub(crate) kind: Option<&'static str>,
}

type Window = (jiff::Timestamp, jiff::Timestamp);

#[derive(Debug, Default)]
struct Heard {
    asked: Vec<String>,
    orders: Vec<Value>,
    /// The paths of all requests.
    paths: Vec<String>,
    refusal: Option<Refusal>,
    /// Requests below this path are lost.
    stopped_path: Option<String>,
    /// Answers to requests below this path are held back, though the authority has seen to them.
    held_path: Option<String>,
    /// There is one.
    holds: bool,
}

impl Front {
    /// It ends with the test's process.
    pub(crate) fn start(pebble: &Pebble, manners: Manners) -> Self {
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
                // Each by itself: one that is held back must hold up no other. Who connects and goes is no fault.
                let stream = StreamOwned::new(session, tcp);
                let (ca, notes) = (ca.clone(), notes.clone());
                thread::spawn(move || serve(stream, (behind, &ca[..]), (address, later, manners), &notes));
            }
        });
        Self { address, heard, later }
    }

    /// What leads a gateway here.
    pub(crate) fn config(&self) -> String {
        format!("tls.acme.directory = \"https://localhost:{}/dir\"", self.address.port())
    }

    /// Hold the answer to the next request below this path back, until the next is held.
    pub(crate) fn hold(&self, path: Option<&str>) {
        let mut heard = self.heard.lock().unwrap();
        (heard.held_path, heard.holds) = (path.map(str::to_owned), false);
    }

    /// The next requests below this path never come to the authority, and have no answer.
    pub(crate) fn stop(&self, path: Option<&str>) {
        let mut heard = self.heard.lock().unwrap();
        (heard.stopped_path, heard.holds) = (path.map(str::to_owned), false);
    }

    /// Answer so from now on.
    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        self.heard.lock().unwrap().refusal = refusal;
    }

    /// How many requests below this path there were.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.heard.lock().unwrap().paths.iter().filter(|heard| heard.starts_with(path)).count()
    }

    /// The orders with this host.
    pub(crate) fn orders_of(&self, host: &str) -> usize {
        self.orders().iter().filter(|order| order["identifiers"].to_string().contains(host)).count()
    }

    /// Is one held back?
    pub(crate) fn holds(&self) -> bool {
        self.heard.lock().unwrap().holds
    }

    /// The certificates that were asked about.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.heard.lock().unwrap().asked.clone()
    }

    /// What was ordered.
    pub(crate) fn orders(&self) -> Vec<Value> {
        self.heard.lock().unwrap().orders.clone()
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    behind: (SocketAddr, &[u8]),
    (own, later, manners): (SocketAddr, Window, Manners),
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    let request = request(&mut stream)?;
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().unwrap().paths.push(path.clone());
    if wait(heard, |heard| heard.stopped_path.as_deref().is_some_and(|stopped| path.starts_with(stopped))) {
        return Ok(());
    }
    let answer = if let Some(id) = path.strip_prefix("/renewal-info/") {
        when(id, later, &mut heard.lock().unwrap())
    } else if let Some(refusal) = refusal(&path, &request, (manners, heard)) {
        heard.lock().unwrap().orders.extend(order(&request));
        refusal
    } else {
        heard.lock().unwrap().orders.extend(order(&request));
        passed_on(&request, behind, (path == "/dir" && manners.says_when).then_some(own))
    };
    wait(heard, |heard| heard.held_path.as_deref().is_some_and(|held| path.starts_with(held)));
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

/// As long as this is to be held back. Was it at all?
fn wait(heard: &Mutex<Heard>, is_held: impl Fn(&Heard) -> bool) -> bool {
    let held = |mut heard: std::sync::MutexGuard<'_, Heard>| {
        let held = is_held(&heard);
        heard.holds |= held;
        held
    };
    let mut was_held = false;
    while held(heard.lock().unwrap()) {
        was_held = true;
        thread::sleep(Duration::from_millis(20));
    }
    was_held
}

/// The window of a certificate.
fn when(id: &str, later: Window, heard: &mut Heard) -> Answer {
    heard.asked.push(id.to_owned());
    let over = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
    let (start, end) = if heard.asked[0] == id { over } else { later };
    let window = json!({ "start": start.to_string(), "end": end.to_string() });
    Answer { status: 200, body: json!({ "suggestedWindow": window }).to_string().into(), ..Answer::default() }
}

/// What is answered instead of the authority, if anything is.
fn refusal(path: &str, request: &[u8], (manners, heard): (Manners, &Mutex<Heard>)) -> Option<Answer> {
    let said = payload(request).unwrap_or_default();
    let refused = manners.refuses_replacing && said["replaces"].is_string();
    let replacing = refused.then_some(Refusal {
        path: "/",
        about: "",
        status: 403,
        retry_after: None,
        kind: Some("unauthorized"),
    });
    let told = heard.lock().unwrap().refusal;
    let told = told.filter(|one| path.starts_with(one.path) && said.to_string().contains(one.about));
    let refusal = replacing.or(told)?;
    let mut headers: Vec<_> =
        refusal.retry_after.map(|wait| ("retry-after".to_owned(), wait.to_owned())).into_iter().collect();
    let mut body = Vec::new();
    if let Some(kind) = refusal.kind {
        headers.push(("content-type".to_owned(), "application/problem+json".to_owned()));
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        body = json!({ "type": kind, "detail": "not now", "status": refusal.status }).to_string().into();
    }
    Some(Answer { status: refusal.status, headers, body, ..Answer::default() })
}

/// What the authority says; of renewals too, at `own`.
fn passed_on(request: &[u8], (behind, ca): (SocketAddr, &[u8]), own: Option<SocketAddr>) -> Answer {
    let mut wire = Wire::tls(behind, "localhost", trusting(ca, &["http/1.1"]));
    wire.send(request);
    let mut answer = wire.answer();
    if let Some(own) = own {
        let mut directory = answer.json();
        directory["renewalInfo"] = json!(format!("https://localhost:{}/renewal-info", own.port()));
        answer.body = directory.to_string().into();
    }
    answer
}

/// What is ordered, if it is an order.
fn order(request: &[u8]) -> Option<Value> {
    payload(request).filter(|said| said["identifiers"].is_array())
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
