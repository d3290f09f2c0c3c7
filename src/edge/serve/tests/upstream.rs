//! What a worker may do to its own answer and to nobody else's.

use std::{io::Read, sync::atomic::Ordering::SeqCst, time::Duration};

use super::{
    ACME, OK,
    kit::{Client, House, Wire},
};

const GET: &str = "GET / HTTP/1.1\r\nhost: shared.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: shared.example\r\ncontent-length: 4\r\n\r\nbody";

/// A worker that gives its first answer so, and all others well.
fn once(house: &House, first: &'static [u8]) -> super::kit::Worker {
    let answered = std::sync::atomic::AtomicBool::new(false);
    house.worker(move |mut wire| {
        while wire.request().is_some() {
            if answered.swap(true, SeqCst) {
                wire.write(OK);
            } else {
                wire.write_bytes(first);
            }
        }
    })
}

#[test]
fn an_answer_that_makes_no_sense_is_502_and_the_next_one_is_right() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nx: 1\r\n folded: 2\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nx : 1\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let house = House::new();
        let worker = once(&house, head.as_bytes());
        let mut client = house.connect();
        client.write(GET);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.code().as_str()), (502, "worker-failed"), "{head:?}");
        client.write(GET);
        assert_eq!(client.answer().body, "hi", "{head:?}");
        assert_eq!(worker.connections.load(SeqCst), 2, "{head:?}: its connection was used again");
    }
}

#[test]
fn a_head_that_never_ends_is_502() {
    let house = House::with(|settings| settings.config.limits.answer_header_bytes_max = 8192);
    for line in ["x: 1\r\n", "\r\nHTTP/1.1 100 Continue\r\n"] {
        house.worker(move |mut wire| {
            wire.request();
            wire.write("HTTP/1.1 100 Continue\r\n");
            for _ in 0..10_000 {
                wire.write(line);
            }
        });
        assert_eq!(house.get(ACME).status(), 502, "{line:?}");
    }
}

#[test]
fn what_comes_after_an_answer_is_nobodys() {
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 304 Not Modified\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nevil",
    ] {
        let house = House::new();
        let worker = once(&house, first.as_bytes());
        let mut client = house.connect();
        client.write(GET);
        client.answer();
        client.write(POST);
        assert_eq!(client.answer().body, "hi", "{first:?}");
        assert_eq!(worker.connections.load(SeqCst), 2, "{first:?}");
    }
}

#[test]
fn an_unasked_answer_on_an_idle_connection_closes_it() {
    let house = House::new();
    let (spoken, heard) = std::sync::mpsc::sync_channel(1);
    let spoken = std::sync::Mutex::new(spoken);
    let worker = house.worker(move |mut wire| {
        while wire.request().is_some() {
            wire.write(OK);
            std::thread::sleep(Duration::from_millis(50));
            wire.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
            spoken.lock().unwrap().send(()).ok();
        }
    });
    let mut client = house.connect();
    for method in [GET, POST, GET] {
        client.write(method);
        assert_eq!(client.answer().body, "hi");
        heard.recv().unwrap();
    }
    assert_eq!(worker.connections.load(SeqCst), 3);
}

#[test]
fn a_chunk_that_lies_cuts_the_answer() {
    for body in
        ["5\r\nhi", "2\r\nhi!\r\n0\r\n\r\n", "zz\r\nhi\r\n", "2\r\nhi\r\n0\r\nx : 1\r\n\r\n", "-1\r\n"]
    {
        let house = House::new();
        let first = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        house.worker(move |mut wire| {
            wire.request();
            wire.write(&first);
        });
        let mut client = house.connect();
        client.write(GET);
        let mut all = Vec::new();
        drop(client.stream.read_to_end(&mut all));
        let text = String::from_utf8_lossy(&all);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(!text.ends_with("0\r\n\r\n"), "{body:?} passed for a whole answer: {text}");
    }
}

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    let house = House::new();
    house.worker(|mut wire| {
        wire.request();
        wire.write("HTTP/1.1 200 OK\r\n\r\nhi");
    });
    let mut client = house.connect();
    for _ in 0..2 {
        client.write(GET);
        assert!(client.answer().body.starts_with("hi"));
    }
}

#[test]
fn interim_answers_are_kept_from_the_client() {
    let house = House::new();
    house.answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    );
    let answer = house.get(ACME);
    assert_eq!((answer.status(), answer.body.as_str(), answer.header("link")), (200, "hi", None));
}

#[test]
fn connections_are_used_again_until_the_worker_says_otherwise() {
    let house = House::new();
    let worker = house.answering(OK);
    let mut client = house.connect();
    for method in [GET, POST, GET, POST, "HEAD / HTTP/1.1\r\nhost: shared.example\r\n\r\n"] {
        client.write(method);
        // Of HEAD, only the head may be waited for.
        if method.starts_with("HEAD") {
            let mut head = [0; 12];
            client.stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
        } else {
            assert_eq!(client.answer().body, "hi");
        }
    }
    assert_eq!(worker.connections.load(SeqCst), 1);
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let house = House::new();
        let worker = house.answering(answer);
        let mut client = house.connect();
        for _ in 0..3 {
            client.write(GET);
            assert_eq!(client.answer().body, "hi");
        }
        assert_eq!(worker.connections.load(SeqCst), 3, "{answer:?}");
    }
}

/// A worker that closes each connection after one answer, without a word.
fn forgetful(mut wire: Wire) {
    wire.request();
    wire.write(OK);
}

#[test]
fn a_post_never_meets_a_connection_that_its_worker_has_closed() {
    let house = House::new();
    let worker = house.worker(forgetful);
    let mut client = house.connect();
    for round in 0..200 {
        client.write(POST);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.body.as_str()), (200, "hi"), "round {round}");
    }
    assert_eq!(worker.heads().len(), 200, "each arrived once");
}

fn rest(client: &mut Client) -> String {
    let mut all = Vec::new();
    drop(client.stream.read_to_end(&mut all));
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn a_worker_may_answer_before_it_has_the_whole_request() {
    let house = House::new();
    house.worker(|mut wire| {
        let mut head = [0; 4];
        wire.stream.read_exact(&mut head).unwrap();
        let big = "x".repeat(300_000);
        wire.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{big}", big.len()));
        // It takes the rest, whatever becomes of the answer.
        let mut all = Vec::new();
        drop(wire.stream.read_to_end(&mut all));
    });
    let mut client = house.connect();
    let body = "y".repeat(3_000_000);
    client.write(&format!(
        "POST / HTTP/1.1\r\nhost: shared.example\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    // All of it before a byte of the answer is taken: the way up must not wait for the way down.
    client.write(&body);
    let text = rest(&mut client);
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with(&"x".repeat(300_000)), "{} bytes", text.len());
}

#[test]
fn a_worker_that_refuses_an_upload_and_hangs_up_is_heard() {
    let house = House::new();
    house.worker(|mut wire| {
        let mut head = [0; 4];
        wire.stream.read_exact(&mut head).unwrap();
        wire.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    });
    let mut client = house.connect();
    let body = "y".repeat(1_000_000);
    client.write(&format!(
        "POST / HTTP/1.1\r\nhost: shared.example\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.body.as_str()), (413, "no"));
}

#[test]
fn a_worker_that_takes_nothing_of_an_upload_is_504() {
    let house =
        House::with(|settings| settings.config.limits.first_byte_timeout = Duration::from_millis(200));
    let (over, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    house.worker(move |wire| {
        wait.lock().unwrap().recv().ok();
        drop(wire);
    });
    let mut client = house.connect();
    let length = 9_000_000;
    client.write(&format!("POST / HTTP/1.1\r\nhost: shared.example\r\ncontent-length: {length}\r\n\r\n"));
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(std::io::Write::write_all(&mut writer, &vec![b'y'; length])));
        assert_eq!(client.answer().status(), 504);
        drop(over);
    });
}
