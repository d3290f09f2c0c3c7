//! Heads as workers send them, and as they must not.

use super::*;

const GET: Asked = Asked { head: false, upgrade: false };

fn read(text: &str, asked: Asked) -> Result<Option<(Head, String)>, Malformed> {
    let mut buffer = BytesMut::from(text.as_bytes());
    let head = parse(&mut buffer, asked, &mut 0)?;
    Ok(head.map(|head| (head, String::from_utf8(buffer.to_vec()).unwrap())))
}

/// Status, what the body is, and whether the connection may be used again.
fn check(head: &str, asked: Asked, status: u16, framing: Framing, keep: bool) {
    let (found, rest) = read(&format!("{head}\r\n\r\nrest"), asked).unwrap().unwrap();
    assert_eq!(
        (found.response.status().as_u16(), found.framing, found.keep),
        (status, framing, keep),
        "{head}"
    );
    assert_eq!(rest, "rest", "{head}");
}

#[test]
fn a_head_says_what_its_body_is_and_whether_the_connection_lives_on() {
    let chunked = Framing::Chunked(Chunked::Size);
    check("HTTP/1.1 200 OK\r\ncontent-length: 5", GET, 200, Framing::Length(5), true);
    check("HTTP/1.1 200\r\nContent-Length: 0", GET, 200, Framing::Done, true);
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked", GET, 200, chunked, true);
    check("HTTP/1.1 200 OK", GET, 200, Framing::UntilClose, false);
    check(
        "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 5",
        GET,
        200,
        Framing::Length(5),
        false,
    );
    check(
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5",
        GET,
        200,
        Framing::Length(5),
        false,
    );
    check("HTTP/1.1 204 No Content\r\ncontent-length: 5", GET, 204, Framing::Done, true);
    check("HTTP/1.1 304 Not Modified\r\ncontent-length: 5", GET, 304, Framing::Done, true);
    let asked = Asked { head: true, ..GET };
    check("HTTP/1.1 200 OK\r\ncontent-length: 5", asked, 200, Framing::Done, true);
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", asked, 200, Framing::Done, true);
    let asked = Asked { upgrade: true, ..GET };
    check("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket", asked, 101, Framing::Done, true);
}

#[test]
fn interim_heads_are_skipped_and_counted() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let (mut buffer, mut interim_bytes) = (BytesMut::from(text), 0);
    let head = parse(&mut buffer, GET, &mut interim_bytes).unwrap().unwrap();
    assert_eq!((head.response.status().as_u16(), interim_bytes), (200, text.find("HTTP/1.1 200").unwrap()));
    assert!(!head.response.headers().contains_key("link"));
}

#[test]
fn an_incomplete_head_is_waited_for() {
    for text in
        ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", "HTTP/1.1 100 C\r\n\r\nHTTP/1.1"]
    {
        assert!(read(text, GET).unwrap().is_none(), "{text}");
    }
}

#[test]
fn a_head_in_doubt_is_refused() {
    let lines = [
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: 5x",
        "content-length:",
        "content-length: 99999999999999999999",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: identity",
        "x: 1\r\n folded",
        "x : 1",
        " x: 1",
        ": 1",
        "no colon",
        "x: 1\0",
        "x: 1\n\ny: 2",
        "x: a\rb: c",
    ];
    for line in lines {
        assert!(read(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"), GET).is_err(), "{line:?}");
    }
    for first in
        ["junk", "HTTP/2 200 OK", "HTTP/1.2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 X"]
    {
        assert!(read(&format!("{first}\r\ncontent-length: 0\r\n\r\n"), GET).is_err(), "{first:?}");
    }
    let chunked = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(read(chunked, GET).is_err(), "HTTP/1.0 knows no chunks");
    assert!(read("HTTP/1.1 101 Switching Protocols\r\n\r\n", GET).is_err(), "nobody asked for it");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(HEADERS_MAX + 1));
    assert_eq!(read(&many, GET).unwrap_err(), Malformed("it has too many headers"));
}

#[test]
fn the_workers_own_patience_is_heard() {
    let keep_for =
        |line: &str| read(&format!("HTTP/1.1 204 X\r\n{line}\r\n\r\n"), GET).unwrap().unwrap().0.keep_for;
    assert_eq!(keep_for("keep-alive: timeout=5"), Some(Duration::from_secs(5)));
    assert_eq!(keep_for("keep-alive: max=100, timeout=72"), Some(Duration::from_secs(72)));
    assert_eq!(keep_for("keep-alive: timeout=soon"), None);
    assert_eq!(keep_for("x: 1"), None);
}
