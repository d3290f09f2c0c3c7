//! Clients that ask without end, as a pool of connections does, and fail the test at the first answer that is none.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};

use crate::{HOST, NAVAJA, TestGateway, Wire, node};

/// Between two requests of a client: hundreds a second of each, and something is left of the processors for whoever is
/// under this load.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// When the load ends, and how much of it there was.
#[derive(Debug, Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

/// Ends the load also when the test fails: a client that asks on would hold the failure up.
pub(crate) struct Ending<'a>(&'a Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Where a client connects, and whom it trusts if it speaks TLS.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Target {
    pub(crate) fn plain(gateway: &TestGateway) -> Self {
        Self { address: gateway.http(), tls: None }
    }

    pub(crate) fn secure(gateway: &TestGateway) -> Self {
        Self { address: gateway.https(), tls: Some(gateway.tls(&["http/1.1"])) }
    }

    pub(crate) fn wire(&self) -> Wire {
        match &self.tls {
            Some(config) => Wire::tls(self.address, HOST, config.clone()),
            None => Wire::tcp(self.address),
        }
    }
}

impl Load {
    /// The end of the load is the end of what this gives.
    pub(crate) fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// How many answers there were.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// One request after the other on one connection; a new one only after an answer that said it was the last.
    /// How many connections it took.
    pub(crate) fn keep_asking(&self, gateway: &TestGateway, target: &Target, path: &str) -> usize {
        let (mut wire, mut connections) = (None, 0);
        while self.goes_on() {
            let open = wire.get_or_insert_with(|| {
                connections += 1;
                target.wire()
            });
            // `POST /path` has a body, and may never be sent twice.
            let request = match path.strip_prefix("POST ") {
                Some(path) => gateway.post(path, "once"),
                None => gateway.get(path),
            };
            open.send(request.origin(NAVAJA).bytes());
            let answer = open.answer().is(200);
            self.answered.fetch_add(1, Ordering::Relaxed);
            if answer.header("connection") == Some("close") {
                wire = None;
            }
            thread::sleep(PAUSE);
        }
        connections
    }

    /// A connection for each request.
    pub(crate) fn keep_connecting(&self, gateway: &TestGateway, target: &Target) {
        while self.goes_on() {
            let mut wire = target.wire();
            wire.send(gateway.get("/x").origin(NAVAJA).bytes());
            wire.answer().is(200);
            self.answered.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
    }

    /// One WebSocket, a message after the other; none may be lost.
    pub(crate) fn keep_talking(&self, target: &Target) {
        let scheme = if target.tls.is_some() { "wss" } else { "ws" };
        let mut request = format!("{scheme}://{HOST}/ws").into_client_request().unwrap();
        request.headers_mut().insert("origin", NAVAJA.parse().unwrap());
        let (mut socket, _) = tungstenite::client(request, target.wire().into_stream()).unwrap();
        for number in 0.. {
            let message = Message::text(format!("message {number}"));
            socket.send(message.clone()).expect("the WebSocket is open");
            assert_eq!(socket.read().expect("the WebSocket is open"), message);
            if !self.goes_on() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        socket.close(None).unwrap();
    }

    /// One stream of server-sent events; none may be lost.
    pub(crate) fn keep_listening(&self, gateway: &TestGateway, target: &Target) {
        let mut wire = target.wire();
        wire.send(gateway.get("/sse?events=1000000&every=10").origin(NAVAJA).bytes());
        wire.head().is(200);
        let (mut text, mut number) = (String::new(), 0);
        while self.goes_on() {
            text.push_str(&String::from_utf8(wire.chunk().expect("the stream goes on")).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                assert_eq!(event, format!("data: {number}"));
                number += 1;
                text = rest.to_owned();
            }
        }
        assert!(number > 0);
    }

    /// Several requests at a time from Node's own HTTP/2 client, which is given no second try; how many were
    /// answered.
    pub(crate) fn over_http2(&self, gateway: &TestGateway) -> u64 {
        self.over_http2_trusting(gateway, gateway.status()["local_ca"].as_str().unwrap())
    }

    /// The same, of whoever is certified by what this file holds.
    pub(crate) fn over_http2_trusting(&self, gateway: &TestGateway, ca: &str) -> u64 {
        let stop_file = gateway.site().path().join("stop-http2");
        let url = format!("https://{}", gateway.https());
        thread::scope(|scope| {
            let arguments = [url.as_str(), HOST, NAVAJA, ca, stop_file.to_str().unwrap()];
            let load = scope.spawn(move || node::run("http2-load.mjs", &arguments, &[]));
            while self.goes_on() && !load.is_finished() {
                thread::sleep(Duration::from_millis(20));
            }
            std::fs::write(&stop_file, "").unwrap();
            let told: serde_json::Value = serde_json::from_str(&load.join().unwrap()).unwrap();
            told["answered"].as_u64().unwrap()
        })
    }
}
