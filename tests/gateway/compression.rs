//! Compressed answers as real clients meet them: which, how, and that nothing waits for the compressor.

use std::io::Read;

use crate::{Answer, HOST, NAVAJA, STRANGER, TestGateway, client::Request, node};

fn gateway(config: &str) -> TestGateway {
    TestGateway::builder().shops().worker("echo.mjs").config(config).start()
}

/// A JSON answer of that many bytes, with more headers.
fn json(gateway: &TestGateway, bytes: usize, headers: &str) -> Request {
    let body = "x".repeat(bytes);
    gateway.get(&format!("/headers?set=content-type:application/json{headers}&body={body}")).origin(NAVAJA)
}

fn plain(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = answer.body.as_slice();
    let mut reader: Box<dyn Read> = match answer.header("content-encoding") {
        Some("zstd") => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        Some("br") => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Some("gzip") => Box::new(flate2::read::GzDecoder::new(bytes)),
        None => Box::new(bytes),
        Some(other) => panic!("{other}"),
    };
    reader.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn an_answer_is_compressed_as_its_caller_likes_it() {
    let gateway = gateway("");
    for (accepts, coding) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("gzip, br;q=0.5", Some("gzip")),
        ("*", Some("zstd")),
        ("identity", None),
        ("gzip;q=0", None),
    ] {
        for secure in [false, true] {
            let request = json(&gateway, 5000, "").header("accept-encoding", accepts);
            let answer = if secure { request.secure() } else { request }.send().is(200).readable_from(NAVAJA);
            assert_eq!(answer.header("content-encoding"), coding, "{accepts}");
            assert_eq!(plain(&answer), [b'x'; 5000], "{accepts}");
            assert!(coding.is_none() || answer.body.len() < 200, "{accepts}: {}", answer.body.len());
            assert!(answer.all("vary").contains(&"Accept-Encoding"), "{:?}", answer.headers);
        }
    }
}

#[test]
fn large_bodies_and_trailers_arrive_whole() {
    let gateway = gateway("edge.compression.types = [\"application/octet-stream\", \"text/*\"]");
    for accepts in ["zstd", "br", "gzip"] {
        let request = gateway.get("/big?bytes=3000000").origin(NAVAJA).header("accept-encoding", accepts);
        let answer = request.send().is(200);
        assert_eq!(answer.header("content-encoding"), Some(accepts));
        let body = plain(&answer);
        assert_eq!(body.len(), 3_000_000);
        assert!(body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % (251 * 256) % 251));
    }
}

#[test]
fn what_must_not_be_compressed_passes_as_it_is() {
    let gateway = gateway("[[edge.path]]\nprefix = \"/process\"\ncompress = false");
    let all = "gzip, br, zstd";
    for (why, request) in [
        ("small", json(&gateway, 500, "&set=content-length:500")),
        ("coded already", json(&gateway, 5000, "&set=content-encoding:br")),
        ("no-transform", json(&gateway, 5000, "&set=cache-control:no-transform")),
        ("a sum", json(&gateway, 5000, "&set=repr-digest:sha-256=x")),
        ("a part", json(&gateway, 5000, "&set=content-range:bytes%200-4999/9000&status=206")),
        ("a path of its own", gateway.get("/process").origin(NAVAJA)),
        ("a picture", gateway.get("/sse?events=1&type=image/png").origin(NAVAJA)),
        ("events", gateway.get("/sse?events=1").origin(NAVAJA)),
    ] {
        let with = request.header("accept-encoding", all).send();
        let coding = with.header("content-encoding").filter(|_| why != "coded already");
        assert_eq!(coding, None, "{why}");
        assert!(with.body.len() > 4, "{why}");
    }
    let mut wire = gateway.wire();
    let head = gateway.request("HEAD", "/headers?set=content-type:text/html&set=content-length:9000");
    wire.send(head.origin(NAVAJA).header("accept-encoding", all).bytes());
    let head = wire.answer().is(200);
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (None, Some("9000")));
    assert!(head.all("vary").contains(&"Accept-Encoding"));
}

#[test]
fn events_arrive_one_by_one_and_so_do_lines_that_are_compressed() {
    let gateway = gateway("");
    let mut wire =
        gateway.get("/sse?events=3&every=200").origin(NAVAJA).header("accept-encoding", "gzip").open();
    assert_eq!(wire.head().is(200).header("content-encoding"), None);
    for event in 0..3 {
        assert_eq!(wire.chunk(), Some(format!("data: {event}\n\n").into_bytes()));
    }
    for accepts in ["zstd", "br", "gzip"] {
        let path = "/sse?events=3&every=300&type=application/x-ndjson";
        let mut wire = gateway.get(path).origin(NAVAJA).header("accept-encoding", accepts).open();
        let mut answer = wire.head().is(200);
        assert_eq!(answer.header("content-encoding"), Some(accepts));
        let mut lines = 0;
        while let Some(chunk) = wire.chunk() {
            answer.body.extend(chunk);
            let mut text = Vec::new();
            // Half a stream ends in an error, after all that was in it.
            let mut reader: Box<dyn Read> = match accepts {
                "zstd" => Box::new(zstd::stream::read::Decoder::new(&answer.body[..]).unwrap()),
                "br" => Box::new(brotli::Decompressor::new(&answer.body[..], 4096)),
                _ => Box::new(flate2::read::GzDecoder::new(&answer.body[..])),
            };
            let _ended = reader.read_to_end(&mut text);
            let now = String::from_utf8(text).unwrap().matches("data: ").count();
            assert!(now <= lines + 1, "{accepts}: lines were held back");
            lines = now;
        }
        assert_eq!(lines, 3, "{accepts}");
    }
}

#[test]
fn a_compressed_answer_is_another_version_of_the_same() {
    let gateway = gateway("");
    let request = || {
        json(
            &gateway,
            5000,
            "&set=etag:%22v1%22&set=accept-ranges:bytes&set=vary:Cookie&set=content-length:5000",
        )
    };
    let answer = request().header("accept-encoding", "gzip").send().is(200);
    assert_eq!((answer.header("etag"), answer.header("accept-ranges")), (Some("W/\"v1\""), None));
    assert_eq!(answer.header("content-length"), None);
    let vary = answer.all("vary").join(", ");
    for name in ["Cookie", "Origin", "Accept-Encoding"] {
        assert!(vary.contains(name), "{vary}");
    }
    let plain = request().send().is(200);
    assert_eq!((plain.header("etag"), plain.header("content-length")), (Some("\"v1\""), Some("5000")));
    assert!(plain.all("vary").contains(&"Accept-Encoding"), "a cache would give this to everybody");
}

#[test]
fn a_strangers_page_cannot_measure_an_answer_that_cookies_open() {
    let gateway = gateway("");
    let body = "x".repeat(5000);
    let ask = |site: &str, cookie: bool, origin: Option<&str>| {
        let path = format!("/headers?set=content-type:text/html&body={body}");
        let mut request = gateway.get(&path).header("accept-encoding", "gzip").header("sec-fetch-site", site);
        if cookie {
            request = request.header("cookie", "session=1");
        }
        if let Some(origin) = origin {
            request = request.origin(origin);
        }
        request.send().is(200).header("content-encoding").is_some()
    };
    assert!(!ask("cross-site", true, None));
    assert!(ask("cross-site", false, None));
    assert!(ask("same-origin", true, None));
    assert!(ask("none", true, None));
    // A listed page is no stranger.
    assert!(ask("cross-site", true, Some(NAVAJA)));
    gateway.get("/x").origin(STRANGER).send().is(403);
    // Older browsers do not say whose page asks.
    let old = |headers: &[(&str, &str)]| {
        let path = format!("/headers?set=content-type:text/html&body={body}");
        let mut request = gateway.get(&path).header("accept-encoding", "gzip");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().is(200).header("content-encoding").is_some()
    };
    let here = format!("https://{HOST}/page");
    assert!(old(&[]) && old(&[("referer", &here)]));
    assert!(!old(&[("cookie", "session=1"), ("referer", &here)]));
    assert!(!old(&[("referer", "https://search.example/")]) && !old(&[("referer", "?")]));
    assert!(old(&[("referer", "https://navaja.example/"), ("origin", NAVAJA)]), "a listed page");
}

#[test]
fn off_means_off() {
    let gateway = gateway("edge.compression.enabled = false");
    let answer = json(&gateway, 5000, "").header("accept-encoding", "gzip, br, zstd").send().is(200);
    assert_eq!(answer.header("content-encoding"), None);
    assert!(!answer.all("vary").contains(&"Accept-Encoding"));
}

/// Node's own zlib undoes each coding: what it reads is what was sent.
#[test]
fn node_reads_what_was_sent() {
    let gateway = gateway("");
    let api = format!("http://127.0.0.1:{}", gateway.http().port());
    node::run("compression.mjs", &[], &[("API", &api), ("ORIGIN", NAVAJA), ("HOST_NAME", crate::HOST)]);
}
