//! The whole edge over real sockets, before a worker that the test plays.

mod forwarding;
mod kit;
mod refusing;
mod tls;
mod upstream;

use std::{
    io::{Read, Write},
    sync::{atomic::Ordering::SeqCst, mpsc},
    time::{Duration, Instant},
};

use self::kit::{House, header};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const ACME: &str = "origin: https://acme.example\r\n";

#[test]
fn requests_over_one_connection_share_one_connection_to_the_worker() {
    let house = House::new();
    let worker = house.answering(OK);
    let mut client = house.connect();
    for _ in 0..5 {
        client.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
        assert_eq!(client.answer().body, "hi");
    }
    assert_eq!((worker.heads().len(), worker.connections.load(SeqCst)), (5, 1));
}

#[test]
fn bodies_stream_both_ways_with_trailers_and_without_our_names_in_them() {
    let house = House::new();
    house.worker(|mut wire| {
        while let Some((_, body)) = wire.request() {
            wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n");
            wire.write(&format!(
                "{:x}\r\n{body}\r\n0\r\nx-sum: 7\r\nx-gateway-tenant: evil\r\n\r\n",
                body.len()
            ));
        }
    });
    let answer = house.ask(
        "POST / HTTP/1.1\r\nhost: shared.example\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
    );
    assert_eq!(answer.body, "abcdefgx-sum: 7\r\n");
}

#[test]
fn a_stream_is_passed_on_as_it_comes() {
    let house = House::new();
    let (go, wait) = mpsc::sync_channel(1);
    let wait = std::sync::Mutex::new(wait);
    house.worker(move |mut wire| {
        wire.request();
        wire.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: 1\n\n",
        );
        wait.lock().unwrap().recv().unwrap();
        wire.write("data: 2\n\n");
    });
    let mut client = house.connect();
    client.write("GET / HTTP/1.1\r\nhost: shared.example\r\nconnection: close\r\n\r\n");
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("data: 1") {
        let count = client.stream.read(&mut buffer).unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    go.send(()).unwrap();
    client.stream.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("data: 2"), "{seen}");
}

#[test]
fn a_head_request_keeps_the_length_and_has_no_body() {
    let house = House::new();
    house.worker(|mut wire| {
        while wire.request().is_some() {
            wire.write("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
        }
    });
    let mut client = house.connect();
    client.write("HEAD / HTTP/1.1\r\nhost: shared.example\r\nconnection: close\r\n\r\n");
    let mut text = String::new();
    client.stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("content-length: 1234") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn who_expects_100_gets_it_before_sending() {
    let house = House::new();
    let worker = house.answering(OK);
    let mut client = house.connect();
    client.write(
        "POST / HTTP/1.1\r\nhost: shared.example\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 100);
    client.write("abc");
    assert_eq!(client.answer().status(), 200);
    assert_eq!(header(&worker.head(), "expect"), None);
}

#[test]
fn a_websocket_ends_soon_after_one_end_has_hung_up() {
    let close_timeout = Duration::from_millis(500);
    let house = House::with(|settings| settings.config.limits.upgrade_close_timeout = close_timeout);
    let (ended, wait) = mpsc::sync_channel(1);
    house.worker(move |mut wire| {
        wire.request();
        wire.write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nbye",
        );
        wire.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        ended.send(wire.stream.read(&mut [0; 1]).unwrap()).unwrap();
    });
    let mut client = house.connect();
    client.write(
        "GET /ws HTTP/1.1\r\nhost: shared.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 101);
    let mut last = String::new();
    client.stream.read_to_string(&mut last).unwrap();
    assert_eq!(last, "bye");
    // The client does not hang up; the worker waits for `upgrade_close_timeout`, and no longer.
    assert_eq!(wait.recv_timeout(Duration::from_secs(30)), Ok(0));
}

#[test]
fn a_websocket_passes_bytes_both_ways_and_unlisted_pages_get_none() {
    let house = House::new();
    house.worker(|mut wire| {
        let Some((head, _)) = wire.request() else { return };
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        wire.write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        );
        let mut byte = [0; 1];
        while wire.stream.read(&mut byte).is_ok_and(|count| count > 0) {
            wire.stream.get_mut().write_all(&byte.map(|b| b.to_ascii_uppercase())).unwrap();
        }
    });
    let ask = "GET /ws HTTP/1.1\r\nhost: shared.example\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
               sec-websocket-version: 13\r\nsec-websocket-key: x\r\n";
    assert_eq!(house.ask(&format!("{ask}origin: https://evil.example\r\n\r\n")).status(), 403);
    let mut client = house.connect();
    client.write(&format!("{ask}{ACME}\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("websocket")));
    let mut five = [0; 5];
    client.stream.read_exact(&mut five).unwrap();
    assert_eq!(&five, b"hello");
    client.write("abc");
    let mut three = [0; 3];
    client.stream.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"ABC");
}

#[test]
fn a_client_that_goes_away_takes_its_connection_to_the_worker_with_it() {
    let house = House::new();
    let (gone, heard) = mpsc::sync_channel(1);
    house.worker(move |mut wire| {
        wire.request();
        // Nothing is answered; the next read ends when the edge hangs up.
        let ended = matches!(wire.stream.read(&mut [0; 1]), Ok(0));
        gone.send(ended).unwrap();
    });
    let mut client = house.connect();
    client.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    assert!(heard.recv_timeout(kit::PATIENCE).unwrap());
}

#[test]
fn the_drain_lets_requests_in_flight_finish_and_ends_idle_connections() {
    let house = House::new();
    let (go, wait) = mpsc::sync_channel(1);
    let wait = std::sync::Mutex::new(wait);
    house.worker(move |mut wire| {
        wire.request();
        wait.lock().unwrap().recv().unwrap();
        wire.write(OK);
    });
    let mut idle = house.connect();
    let mut busy = house.connect();
    busy.write("GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    house.shutdown.begin();
    assert!(idle.is_closed());
    go.send(()).unwrap();
    assert_eq!(busy.answer().body, "hi");
    assert!(busy.is_closed());
}

#[test]
fn a_head_that_never_ends_and_a_connection_that_asks_nothing_are_closed() {
    let house = House::with(|settings| {
        settings.config.limits.header_timeout = Duration::from_millis(200);
        settings.config.limits.idle_timeout = Duration::from_millis(600);
    });
    let begin = Instant::now();
    let mut slow = house.connect();
    slow.write("GET / HTTP/1.1\r\nhost: sha");
    let mut idle = house.connect();
    let answer = slow.answer();
    assert_eq!((answer.status(), answer.code().as_str()), (408, "headers-slow"));
    assert!(slow.is_closed());
    assert!(begin.elapsed() < Duration::from_millis(550), "{:?}", begin.elapsed());
    assert!(idle.is_closed());
    assert!(begin.elapsed() >= Duration::from_millis(600), "{:?}", begin.elapsed());
}

#[test]
fn a_line_is_logged_per_request_without_query_or_ticket() {
    let house = House::new();
    house.answering(OK);
    let id = house.get(ACME).header("x-request-id").unwrap().to_owned();
    house.get("origin: https://evil.example\r\n");
    let lines = house.access_log();
    assert_eq!(lines.len(), 2);
    let line = &lines[0];
    for (field, want) in [
        ("tenant", "acme"),
        ("origin", "https://acme.example"),
        ("host", "shared.example"),
        ("method", "GET"),
        ("path", "/x"),
        ("worker", "api/0"),
        ("request_id", &id),
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
    ] {
        assert_eq!(line[field], want, "{field}");
    }
    assert_eq!((line["status"].as_u64(), line["bytes_out"].as_u64()), (Some(200), Some(2)));
    for time in ["queue_ms", "worker_ms", "first_byte_ms", "total_ms"] {
        assert!(line[time].is_f64(), "{time} in {line}");
    }
    assert_eq!(lines[1]["code"], "origin-not-listed");
    assert!(!format!("{lines:?}").contains("secret"));
}
