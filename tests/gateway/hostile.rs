//! Hostile HTTP/1 requests, over plain connections and TLS: each gets the answer that its file says, and a worker that
//! keeps every byte shows what of them reached it, and in which form.

use crate::{
    HOST, TestGateway, Wire,
    hostile_case::{Case, Recorded, all_are_logged, bytes},
};

/// A gateway before a worker that keeps what reaches it.
fn recording() -> TestGateway {
    let open = "[[edge.open]]\npath = \"/webhooks/*\"\ntenant = \"none\"";
    TestGateway::builder().shops().worker("recorder.mjs").config(open).start()
}

#[test]
fn every_hostile_request_gets_the_answer_it_must_get_and_nothing_of_it_is_forwarded() {
    let gateway = recording();
    Recorded::since(&gateway);
    let (mut refused, mut failed) = (Vec::new(), Vec::new());
    for case in Case::all("http1") {
        for (secure, cut) in [(false, false), (true, false), (false, true)] {
            let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let ids = answers(&gateway, &case, (secure, cut));
                let recorded = Recorded::since(&gateway);
                case.judge(&recorded);
                is_exactly(&case, secure, &recorded);
                ids
            }));
            match judged {
                Ok(ids) => refused.extend(ids),
                Err(_) => failed.push(format!("{} secure={secure} cut={cut}", case.name)),
            }
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    all_are_logged(&gateway, &refused);
    let metrics = gateway.admin("GET", "/metrics").unwrap().text();
    let malformed =
        metrics.lines().find(|line| line.starts_with("gateway_refusals_total{code=\"malformed\"}"));
    let count: usize = malformed.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count > refused.len() / 2, "{count} of {} refusals were counted", refused.len());
}

/// The case's answers, in order, and then the end; the request ids of those that are ours.
fn answers(gateway: &TestGateway, case: &Case, (secure, cut): (bool, bool)) -> Vec<String> {
    let title = case.title();
    let mut wire = if secure { gateway.tls_wire() } else { gateway.wire() };
    send(&mut wire, &case.bytes("").unwrap(), cut);
    let mut ids = Vec::new();
    for want in case.fact("want").split(' ').filter(|want| *want != "closed") {
        let mut answer = wire.try_head().unwrap_or_else(|error| panic!("{title}: no answer, {error}"));
        wire.read_body(&mut answer);
        assert_eq!(answer.status.to_string(), want, "{title}: {}", answer.text());
        if answer.status >= 400 {
            let answer = answer.problem(want.parse().unwrap()).varies_by_origin();
            ids.push(answer.header("x-request-id").unwrap().to_owned());
        }
    }
    match case.fact("then") {
        "closed" => assert!(wire.is_closed(), "{title}: the connection goes on"),
        "open" => {
            wire.send(format!("GET /after HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
            assert_eq!(wire.answer().status, 200, "{title}: the connection does not go on");
        }
        other => panic!("{title}: then {other}?"),
    }
    ids
}

/// All at once, or first all but the last few bytes: no check may hang on where the pieces end.
fn send(wire: &mut Wire, bytes: &[u8], cut: bool) {
    let (start, end) = if cut { bytes.split_at(bytes.len() / 2) } else { (bytes, &b""[..]) };
    // Refused in the middle, the rest may find nobody.
    let taken = wire.try_send(start);
    if !end.is_empty() && taken.is_ok() {
        let _refused = wire.try_send(end);
    }
}

/// What reached the worker, byte for byte; only the order of headers is free.
fn is_exactly(case: &Case, secure: bool, recorded: &Recorded) {
    let Some(section) = case.lines("worker") else { return };
    let (scheme, port) = if secure { ("https", 443) } else { ("http", 80) };
    let mut want = Vec::new();
    for line in section {
        if line == "{ours}" {
            for line in [
                format!("host: {HOST}"),
                "x-request-id: {id}".to_owned(),
                "traceparent: {trace}".to_owned(),
                "x-forwarded-for: 127.0.0.1".to_owned(),
                format!("x-forwarded-proto: {scheme}"),
                format!("x-forwarded-host: {HOST}"),
                format!("x-forwarded-port: {port}"),
                format!("forwarded: for=127.0.0.1;proto={scheme};host={HOST}"),
            ] {
                want.extend([line.as_bytes(), b"\r\n"].concat());
            }
        } else {
            want.extend(bytes(line));
        }
    }
    let got: Vec<Vec<u8>> =
        recorded.whole.iter().filter(|each| !each.starts_with(b"GET /after ")).cloned().collect();
    let got = got.concat();
    let (want, got) = (sorted(&want), sorted(&got));
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&want), "{}", case.title());
}

/// The same bytes with the header lines of each head in order, and what is new each time under one name.
fn sorted(requests: &[u8]) -> Vec<u8> {
    let text: String = requests.iter().map(|byte| char::from(*byte)).collect();
    let mut sorted = String::new();
    let mut heads: Vec<&str> = Vec::new();
    for line in text.split_inclusive("\r\n") {
        if line == "\r\n" || !line.contains(": ") {
            heads.sort_unstable();
            heads.drain(..).for_each(|line| sorted.push_str(line));
            sorted.push_str(line);
        } else if line.starts_with("x-request-id: ") {
            heads.push("x-request-id\r\n");
        } else if line.starts_with("traceparent: ") {
            heads.push("traceparent\r\n");
        } else {
            heads.push(line);
        }
    }
    heads.sort_unstable();
    heads.drain(..).for_each(|line| sorted.push_str(line));
    sorted.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}
