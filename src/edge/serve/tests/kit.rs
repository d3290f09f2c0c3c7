//! A whole edge over real sockets: raw clients on one side, raw workers on the other.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::{
    backend::{Address, Roster},
    edge::{
        BackendRoute, Config, Edge, EdgeParts, EdgeSettings, HttpMode, Serving, TlsConfig,
        config::{OpenPath, TlsMode},
    },
    metrics::Metrics,
    shutdown::Shutdown,
    tenant::{CorsPolicy, DoorAddresses, Refusals, Registry, Snapshot, Status, Tenant, TicketMode, Tickets},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct House {
    pub(super) dir: tempfile::TempDir,
    pub(super) edge: Arc<Edge>,
    serving: Option<Serving>,
    pub(super) addresses: Vec<(&'static str, SocketAddr)>,
    pub(super) roster: Arc<Roster>,
    pub(super) settings: EdgeSettings,
    pub(super) refusals: Arc<Refusals>,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    workers: AtomicUsize,
}

pub(super) fn tenant(id: &str, status: Status) -> Tenant {
    let mut tenant = Tenant::new(id.parse().unwrap());
    tenant.origins = vec![format!("https://{id}.example").parse().unwrap()];
    tenant.hosts = vec![format!("api.{id}.example").parse().unwrap()];
    tenant.database = Some(format!("sqlite://{id}.db").parse().unwrap());
    tenant.status = status;
    tenant
}

impl House {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// Plain HTTP on one thread, tenants acme, beta, paused, suspended, host `shared.example`.
    pub(super) fn with(change: impl FnOnce(&mut EdgeSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roster = Roster::for_tests("api", Duration::from_secs(4));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config {
            https: Vec::new(),
            http: vec![loopback],
            http_mode: HttpMode::Serve,
            hosts: vec!["shared.example".parse().unwrap()],
            threads: 1,
            open: vec![OpenPath { path: "/hooks/*".into(), methods: Vec::new(), tenant: "path:1".into() }],
            ..Config::default()
        };
        config.access_log.path = Some(dir.path().join("access.log"));
        let (hosts, ticket) = (Vec::new(), TicketMode::Tenant);
        let route = BackendRoute { roster: roster.clone(), hosts, ticket, sticky: None };
        let mut settings = EdgeSettings {
            config,
            tls: TlsConfig { mode: TlsMode::Off, ..TlsConfig::default() },
            cors: CorsPolicy::default(),
            backends: BTreeMap::from([("api".to_owned(), route)]),
        };
        change(&mut settings);
        let tenants = [
            tenant("acme", Status::Active),
            tenant("beta", Status::Active),
            tenant("paused", Status::Paused),
            tenant("suspended", Status::Suspended),
        ];
        let registry = Arc::new(Registry::new(Snapshot::build(tenants).unwrap()));
        let refusals = Arc::new(Refusals::new(100));
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let edge = Edge::new(EdgeParts {
            settings: settings.clone(),
            registry: registry.clone(),
            tickets: Tickets::new(DoorAddresses { sqlite: Some(([127, 0, 0, 1], 4000).into()) }),
            refusals: refusals.clone(),
            state_dir: dir.path().to_owned(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        })
        .unwrap();
        edge.bind(Vec::new()).unwrap();
        let addresses = edge.addresses();
        let serving = Some(edge.serve().unwrap());
        let workers = AtomicUsize::new(0);
        Self {
            dir,
            edge,
            serving,
            addresses,
            roster,
            settings,
            refusals,
            registry,
            metrics,
            shutdown,
            workers,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.addresses[0].1
    }

    /// A worker that treats each connection with `serve`.
    pub(super) fn worker(&self, serve: impl Fn(Wire) + Send + Sync + 'static) -> Worker {
        let number = self.workers.fetch_add(1, SeqCst);
        let path = self.dir.path().join(format!("{number}.sock"));
        let worker = Worker::start(&path, serve);
        self.roster.list(&format!("api/{number}"), Address::unix(path));
        worker
    }

    /// A worker that answers every request with the same bytes, and keeps the heads it saw.
    pub(super) fn answering(&self, answer: &'static str) -> Worker {
        self.worker(move |mut wire| {
            while wire.request().is_some() {
                wire.write(answer);
            }
        })
    }

    /// A worker that no request may reach.
    pub(super) fn unreachable(&self) -> Worker {
        self.answering("HTTP/1.1 500 Reached\r\ncontent-length: 0\r\n\r\n")
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request over a connection of its own; the whole answer.
    pub(super) fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.write(request);
        client.answer()
    }

    /// The usual GET, with more header lines.
    pub(super) fn get(&self, headers: &str) -> Answer {
        self.ask(&format!("GET /x?secret=1 HTTP/1.1\r\nhost: shared.example\r\n{headers}\r\n"))
    }

    /// Stop, and what the access log then holds.
    pub(super) fn access_log(mut self) -> Vec<serde_json::Value> {
        self.stop();
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn stop(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        self.shutdown.begin();
        let shutdown = &self.shutdown;
        // A thread of its own: tests that are async themselves may not block on a runtime.
        let drained = std::thread::scope(|scope| {
            let wait = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(shutdown.drained(PATIENCE))
            };
            scope.spawn(wait).join().unwrap()
        });
        let tasks = self.shutdown.tasks();
        serving.stop();
        assert!(drained || std::thread::panicking(), "{tasks} tasks did not end");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A raw worker on a Unix socket.
pub(super) struct Worker {
    pub(super) heads: Arc<Mutex<Vec<String>>>,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Worker {
    fn start(path: &Path, serve: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, count, serve) = (heads.clone(), connections.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                count.fetch_add(1, SeqCst);
                let (seen, serve) = (seen.clone(), serve.clone());
                std::thread::spawn(move || serve(Wire::new(stream, seen)));
            }
        });
        Self { heads, connections }
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(super) fn head(&self) -> String {
        self.heads().pop().expect("no request reached the worker")
    }
}

/// A worker's end of one connection.
pub(super) struct Wire {
    pub(super) stream: BufReader<UnixStream>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    fn new(stream: UnixStream, heads: Arc<Mutex<Vec<String>>>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream), heads }
    }

    /// The next request's head, kept, and its body, read. None at the end.
    pub(super) fn request(&mut self) -> Option<(String, String)> {
        let head = read_head(&mut self.stream)?;
        self.heads.lock().unwrap().push(head.clone());
        let body = read_body(&mut self.stream, &head);
        Some((head, body))
    }

    pub(super) fn write(&mut self, text: &str) {
        self.write_bytes(text.as_bytes());
    }

    pub(super) fn write_bytes(&mut self, bytes: &[u8]) {
        // The edge may have gone away meanwhile; then the test's own asserts speak.
        drop(self.stream.get_mut().write_all(bytes));
    }
}

/// A raw client.
pub(super) struct Client {
    pub(super) stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(super) fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub(super) fn answer(&mut self) -> Answer {
        let head = read_head(&mut self.stream).expect("no answer");
        let body = read_body(&mut self.stream, &head);
        Answer { head, body }
    }

    pub(super) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(super) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// The only line of that name.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.by_ref().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let first = found.next();
    assert_eq!(found.next(), None, "`{name}` stands twice in {head}");
    first
}

fn read_head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn read_body(stream: &mut impl BufRead, head: &str) -> String {
    let mut body = Vec::new();
    if let Some(length) = header(head, "content-length") {
        body.resize(length.parse().unwrap(), 0);
        drop(stream.read_exact(&mut body));
    } else if header(head, "transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            if stream.read_line(&mut size).unwrap_or(0) == 0 {
                break;
            }
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size];
            if size == 0 {
                // Trailers, as text behind the body.
                let mut line = String::new();
                while stream.read_line(&mut line).unwrap_or(0) > 2 {
                    body.extend_from_slice(line.as_bytes());
                    line.clear();
                }
                break;
            }
            drop(stream.read_exact(&mut chunk));
            body.extend_from_slice(&chunk);
            drop(stream.read_exact(&mut [0; 2]));
        }
    }
    String::from_utf8(body).unwrap()
}
