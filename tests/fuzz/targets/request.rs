//! A client's bytes on their way to a worker: the scan and hyper's parser must see the same requests, and what is
//! rebuilt must be one that nobody can read in two ways, with nothing in it that only the gateway may say.
#![no_main]

use std::sync::LazyLock;

use gateway::fuzz::{Answered, Head, Rebuilder, Scanned, answered, scan};

/// More than the edge lets through, so that its own limit is what refuses.
const HEADERS_MAX: usize = 256;

static REBUILDER: LazyLock<Rebuilder> = LazyLock::new(|| Rebuilder::new().unwrap());

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let scanned = scan(bytes, bytes.len());
    // However it is cut.
    for piece in [1, 3, 64] {
        assert_eq!(scan(bytes, piece), scanned, "in pieces of {piece}");
    }
    let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut space);
    let end = match request.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => {
            let heads = matches!(scanned, Scanned::Passed { heads: 0, .. } | Scanned::Refused(_));
            assert!(heads, "a head where hyper waits for more: {scanned:?}");
            return;
        }
        Err(_) => return,
    };
    let Scanned::Passed { heads, between } = scan(&bytes[..end], end) else { return };
    assert_eq!(heads, 1, "the head ends elsewhere");
    let lengths: Vec<&[u8]> = values(&request, "content-length");
    let codings: Vec<&[u8]> = values(&request, "transfer-encoding");
    assert!(lengths.len() + codings.len() < 2, "two lengths pass");
    let length = lengths.first().map(|text| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap());
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")), "another coding passes");
    assert_eq!(between, length.is_none_or(|length| length == 0) && codings.is_empty(), "the body begins elsewhere");
    if !codings.is_empty() {
        chunks(bytes, end);
    }
    let head = Head {
        method: request.method.unwrap(),
        target: request.path.unwrap().as_bytes(),
        minor: request.version.unwrap(),
        headers: request.headers.iter().map(|header| (header.name, header.value)).collect(),
    };
    if let Some(rebuilt) = REBUILDER.rebuild(&head) {
        judge(&head, &rebuilt, length);
    }
});

fn values<'b>(request: &httparse::Request<'_, 'b>, name: &str) -> Vec<&'b [u8]> {
    request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value).collect()
}

/// The reader of workers' chunks, which knows nothing of the scan, must find the same end.
fn chunks(bytes: &[u8], end: usize) {
    let answer = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &bytes[end..]].concat();
    let Answered { whole, malformed, left_bytes, .. } = answered(&answer, answer.len(), false);
    if malformed {
        return;
    }
    let read = if whole { &bytes[..bytes.len() - left_bytes] } else { bytes };
    if let Scanned::Passed { heads, between } = scan(read, read.len()) {
        assert_eq!((heads, between), (1, whole), "the body ends elsewhere");
    }
}

/// What a worker gets for this head.
fn judge(head: &Head<'_>, rebuilt: &[u8], length: Option<u64>) {
    let shown = String::from_utf8_lossy(rebuilt);
    let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX + 32];
    let mut request = httparse::Request::new(&mut space);
    assert_eq!(request.parse(rebuilt), Ok(httparse::Status::Complete(rebuilt.len())), "{shown}");
    assert_eq!((request.method, request.version), (Some(head.method), Some(1)), "{shown}");
    let target = request.path.unwrap().as_bytes();
    assert!(head.target.ends_with(target) || target == b"/", "{shown}");
    assert!(target.starts_with(b"/") || target == b"*", "{shown}");
    // As many lines as headers, the first and the last: no value has one inside.
    let line_feeds = rebuilt.iter().filter(|byte| **byte == b'\n').count();
    let line_ends = rebuilt.windows(2).filter(|window| window == b"\r\n").count();
    assert_eq!((line_feeds, line_ends), (request.headers.len() + 2, request.headers.len() + 2), "{shown}");
    assert_eq!(rebuilt.iter().filter(|byte| **byte == b'\r').count(), line_ends, "{shown}");
    let one = |name: &str| {
        let values = values(&request, name);
        assert_eq!(values.len(), 1, "{name} in {shown}");
        String::from_utf8(values[0].to_vec()).unwrap()
    };
    let host = one("host");
    assert!(!host.is_empty() && host == one("x-forwarded-host"), "{shown}");
    assert_eq!(one("x-gateway-tenant"), "acme");
    assert_eq!(one("x-gateway-database-url"), "http://127.0.0.1:4000/?authToken=acme.x");
    assert_eq!((one("x-forwarded-for").as_str(), one("x-forwarded-proto").as_str()), ("192.0.2.1", "https"));
    assert!(one("forwarded").starts_with("for=192.0.2.1;proto=https;host="), "{shown}");
    assert_eq!((one("x-request-id").len(), one("traceparent").len()), (32, 55), "{shown}");
    let ours = request.headers.iter().filter(|header| header.name.replace('_', "-").starts_with("x-gateway-"));
    assert_eq!(ours.count(), 2, "{shown}");
    for gone in ["connection", "keep-alive", "te", "upgrade", "expect", "proxy-connection", "http2-settings", "trailers"] {
        assert!(gone == "trailers" || values(&request, gone).is_empty(), "{shown}");
    }
    let framing = (values(&request, "content-length"), values(&request, "transfer-encoding"));
    let want = length.map(|length| length.to_string().into_bytes());
    assert_eq!(framing.0, want.as_deref().into_iter().collect::<Vec<_>>(), "{shown}");
    assert!(framing.0.len() + framing.1.len() < 2, "{shown}");
    // Rebuilt once more it stays as it is, but for its name.
    let again = Head {
        method: request.method.unwrap(),
        target,
        minor: 1,
        headers: request.headers.iter().map(|header| (header.name, header.value)).collect(),
    };
    let again = REBUILDER.rebuild(&again).expect("what is rebuilt is a request");
    assert_eq!(lines(&again), lines(rebuilt), "{shown}");
}

/// Header lines in one order, without what is new each time.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let fresh = |line: &&[u8]| !line.starts_with(b"x-request-id: ") && !line.starts_with(b"traceparent: ");
    let mut lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').filter(fresh).collect();
    lines.sort_unstable();
    lines
}
