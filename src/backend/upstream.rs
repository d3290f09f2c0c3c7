//! A backend that something else runs: asked regularly, in the roster while it is well. It must never try to
//! start or stop it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    BackendError, Config, WorkerStatus, health,
    restart::{History, Policy},
    roster::{Address, Roster, Worker, next_key},
    status::Replacements,
};
use crate::shutdown::Shutdown;

/// Where the upstream is: a host (name or address) and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

impl Target {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is no URL")?;
        if url.scheme() != "http" {
            return Err("only http:// is spoken to an upstream");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user and password have no place in it");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("the path is the request's own: name only host and port");
        }
        let host = url.host_str().ok_or("it names no host")?;
        // An IPv6 address stands in brackets in a URL and without them everywhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80) })
    }
}

/// The handle of an upstream. Dropping it ends the asking.
#[derive(Debug)]
pub(super) struct Upstream {
    board: Arc<Board>,
    ending: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Board {
    name: String,
    standing: Mutex<Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    word: &'static str,
    since: Timestamp,
    worker: Option<Arc<Worker>>,
    last_error: Option<(String, Timestamp)>,
}

impl Upstream {
    /// Begin to ask.
    pub(super) fn start(
        config: Config,
        roster: Arc<Roster>,
        shutdown: &Shutdown,
    ) -> Result<Self, BackendError> {
        let text = config.upstream.clone().unwrap_or_default();
        let target = Target::parse(&text).map_err(|reason| BackendError::Upstream {
            backend: roster.backend().to_owned(),
            upstream: text,
            reason,
        })?;
        let standing = Standing { word: "starting", since: Timestamp::now(), worker: None, last_error: None };
        let board =
            Arc::new(Board { name: format!("{}/0", roster.backend()), standing: Mutex::new(standing) });
        let ending = CancellationToken::new();
        let watch = Watch { target, config, roster, board: Arc::clone(&board), worker: None };
        let task = shutdown.spawn(watch.run(ending.clone()));
        Ok(Self { board, ending, task: tokio::sync::Mutex::new(Some(task)) })
    }

    /// One status.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let Standing { word, since, worker, last_error } = self.board.standing().clone();
        let (last_error, last_error_at) = last_error.unzip();
        vec![WorkerStatus {
            name: self.board.name.clone(),
            pid: None,
            state: word.to_owned(),
            since,
            generation: 0,
            restarts: 0,
            replacements: Replacements::default(),
            in_flight: worker.map_or(0, |worker| worker.in_flight()),
            memory_mb: None,
            health_ms: None,
            lines_dropped: 0,
            last_error,
            last_error_at,
            last_facts: Vec::new(),
            last_lines: Vec::new(),
        }]
    }

    /// Take it out and wait for the requests in flight.
    pub(super) async fn stop(&self) {
        self.ending.cancel();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            drop(running.await);
            *task = None;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Board {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, word: &'static str, worker: Option<Arc<Worker>>) {
        let mut standing = self.standing();
        standing.worker = worker;
        if standing.word != word {
            standing.word = word;
            standing.since = Timestamp::now();
        }
    }
}

/// Why it was not found well, and whether it was the gateway that could not ask.
#[derive(Debug)]
struct Missed {
    reason: String,
    our_own: bool,
}

/// What the asking task owns.
struct Watch {
    target: Target,
    config: Config,
    roster: Arc<Roster>,
    board: Arc<Board>,
    worker: Option<Arc<Worker>>,
}

impl Watch {
    async fn run(mut self, ending: CancellationToken) {
        let health = self.config.health.clone();
        // Asked again soon after it failed, then ever more seldom, but never more seldom than while it is well.
        let policy = Policy { first: health.interval, max: health.watch_interval, stable: Duration::MAX };
        let mut misses = History::default();
        while !ending.is_cancelled() {
            let pause = match tokio::select! {
                () = ending.cancelled() => break,
                asked = self.look_and_ask() => asked,
            } {
                Ok(address) => {
                    misses = History::default();
                    self.is_well(address);
                    health.watch_interval
                }
                // That we cannot ask says nothing about it.
                Err(Missed { reason, our_own: true }) => {
                    tracing::warn!(backend = self.roster.backend(), reason, "the upstream cannot be asked");
                    health.watch_interval
                }
                Err(Missed { reason, .. }) => {
                    misses.failed(&policy, Duration::ZERO);
                    self.missed(reason, misses.failures());
                    misses.pause(&policy, 1000)
                }
            };
            drop(tokio::time::timeout(pause, ending.cancelled()).await);
        }
        if let Some(worker) = self.worker.take() {
            self.roster.remove(&worker);
            self.board.set("draining", Some(Arc::clone(&worker)));
            drop(tokio::time::timeout(self.config.stop_grace, worker.idle()).await);
        }
        self.board.set("finished", None);
    }

    /// Its address, if it is well. Names are looked up each time: a container comes back with another address.
    async fn look_and_ask(&self) -> Result<SocketAddr, Missed> {
        let lookup = tokio::net::lookup_host((self.target.host.as_str(), self.target.port));
        let found = match tokio::time::timeout(self.config.health.timeout, lookup).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(format!("host {} is not found ({error})", self.target.host)),
            Err(_) => Err(format!("looking up host {} takes too long", self.target.host)),
        };
        self.ask(found).await
    }

    /// The first of these addresses that is well. While the resolver has none the one that serves is asked: it is not the
    /// upstream's fault.
    async fn ask(&self, found: Result<Vec<SocketAddr>, String>) -> Result<SocketAddr, Missed> {
        let health = &self.config.health;
        let present = self.worker.as_ref().map(|worker| worker.address());
        let (addresses, reason) = match found {
            // `localhost` has two, and a development server often listens on only one of them.
            Ok(addresses) => {
                (present_first(addresses, present), format!("host {} has no address", self.target.host))
            }
            Err(reason) => (present.and_then(tcp).into_iter().collect(), reason),
        };
        let mut missed = Missed { reason, our_own: false };
        for address in addresses {
            match health::check(&Address::Tcp(address), health.path.as_deref(), health.timeout).await {
                Ok(()) => return Ok(address),
                Err(unwell) => {
                    missed = Missed { reason: format!("{address}: {unwell}"), our_own: unwell.is_our_own() };
                }
            }
        }
        Err(missed)
    }

    fn is_well(&mut self, address: SocketAddr) {
        let address = Address::Tcp(address);
        if self.worker.as_ref().is_some_and(|worker| *worker.address() == address) {
            return;
        }
        let worker = Worker::new(next_key(), self.board.name.clone(), address);
        self.roster.add(&worker);
        if let Some(moved) = self.worker.replace(Arc::clone(&worker)) {
            self.roster.remove(&moved);
        }
        self.board.set("ready", Some(worker));
        tracing::info!(backend = self.roster.backend(), host = self.target.host, "upstream ready");
    }

    fn missed(&mut self, reason: String, misses: u32) {
        // Said once per loss, not at every try.
        if misses == 1 {
            tracing::warn!(backend = self.roster.backend(), reason, "upstream is not well");
        }
        self.board.standing().last_error = Some((reason, Timestamp::now()));
        if self.worker.is_none() {
            self.board.set("unreachable", None);
        } else if misses >= self.config.health.unhealthy_after {
            if let Some(worker) = self.worker.take() {
                self.roster.remove(&worker);
            }
            self.board.set("unreachable", None);
        }
    }
}

fn tcp(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    }
}

/// Where a name has several addresses, resolvers give them in another order each time: what is well stays.
fn present_first(mut addresses: Vec<SocketAddr>, present: Option<&Address>) -> Vec<SocketAddr> {
    // Stable: the others keep the resolver's order.
    addresses.sort_by_key(|address| present != Some(&Address::Tcp(*address)));
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_serves_is_asked_first_whatever_the_resolver_says() {
        let addresses: Vec<SocketAddr> =
            ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.1:80"].map(|text| text.parse().unwrap()).into();
        let order = |present: Option<&str>| -> Vec<String> {
            let present = present.map(|text| Address::Tcp(text.parse().unwrap()));
            present_first(addresses.clone(), present.as_ref()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(order(None), ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.1:80"]);
        assert_eq!(order(Some("10.0.0.1:80")), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(order(Some("10.0.0.9:80")), ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.1:80"]);
    }

    #[tokio::test]
    async fn while_the_resolver_fails_the_address_that_serves_is_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let roster = Roster::for_tests("api", Duration::from_secs(1));
        let standing = Standing { word: "starting", since: Timestamp::now(), worker: None, last_error: None };
        let board = Arc::new(Board { name: "api/0".to_owned(), standing: Mutex::new(standing) });
        let target = Target { host: "api.internal".to_owned(), port: address.port() };
        let mut watch = Watch { target, config: Config::default(), roster, board, worker: None };
        let fails = || Err("host api.internal is not found".to_owned());
        assert!(
            watch.ask(fails()).await.unwrap_err().reason.ends_with("is not found"),
            "it has no address yet"
        );
        watch.is_well(address);
        assert_eq!(watch.ask(fails()).await.unwrap(), address);
        // What the resolver does say counts, and so does what is not there any more.
        assert!(watch.ask(Ok(Vec::new())).await.unwrap_err().reason.ends_with("has no address"));
        drop(listener);
        let missed = watch.ask(fails()).await.unwrap_err();
        assert!(missed.reason.contains("it accepts no connection") && !missed.our_own, "{missed:?}");
    }

    fn check(text: &str, expected: Result<(&str, u16), &str>) {
        let expected = expected.map(|(host, port)| Target { host: host.to_owned(), port });
        assert_eq!(Target::parse(text), expected, "{text}");
    }

    #[test]
    fn an_upstream_is_a_host_and_a_port() {
        check("http://127.0.0.1:3000", Ok(("127.0.0.1", 3000)));
        check("http://localhost", Ok(("localhost", 80)));
        check("http://[::1]:3000/", Ok(("::1", 3000)));
        check("https://api.internal", Err("only http:// is spoken to an upstream"));
        check("127.0.0.1:3000", Err("it is no URL"));
        check("http://u:p@api:3000", Err("a user and password have no place in it"));
        check("http://api:3000/v1", Err("the path is the request's own: name only host and port"));
    }
}
