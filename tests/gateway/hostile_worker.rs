//! Hostile answers of a worker: each becomes a clean refusal or a cut answer, or the one answer that it can only mean;
//! and never a part of another request's answer.

use crate::{HOST, NAVAJA, TestGateway, Wire, hostile_case::Case};

#[test]
fn every_hostile_answer_is_refused_or_cut_and_no_other_request_hears_of_it() {
    let gateway = TestGateway::builder()
        .shops()
        .worker("hostile.mjs")
        .config("[edge.limits]\nfirst_byte_timeout = \"5s\"\nbody_idle_timeout = \"1s\"")
        .start();
    let mut failed = Vec::new();
    for case in Case::all("worker") {
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            judge(&gateway, &case);
            // Every connection to the worker that may have been kept is used by somebody else now.
            for number in 0..3 {
                let target = format!("/ok/{}/{number}", case.name);
                assert_eq!(
                    gateway.get(&target).origin(NAVAJA).send().is(200).text(),
                    target,
                    "{}",
                    case.title()
                );
            }
        }));
        if judged.is_err() {
            failed.push(case.name.clone());
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

/// What the client gets must be what the case says.
fn judge(gateway: &TestGateway, case: &Case) {
    let title = case.title();
    let mut wire = gateway.wire();
    let method = if case.name.starts_with("head_") { "HEAD" } else { "GET" };
    wire.send(format!("{method} /case/{} HTTP/1.1\r\nhost: {HOST}\r\norigin: {NAVAJA}\r\n\r\n", case.name));
    let mut answer = match wire.try_head() {
        Ok(answer) => answer,
        // What broke before anything had left ends like what broke later: the client has no whole answer.
        Err(_) if case.fact("want") == "cut" => return,
        Err(error) => panic!("{title}: no answer, {error}"),
    };
    let ours = |name: &str| name.starts_with("x-gateway-") || name == "connection" || name == "keep-alive";
    assert!(
        case.fact("want") == "502" || !answer.headers.iter().any(|(name, _)| ours(name)),
        "{title}: {answer:?}"
    );
    match case.fact("want") {
        "cut" => {
            assert_eq!(answer.status, 200, "{title}");
            assert!(is_cut(&mut wire, answer.header("content-length")), "{title}: taken for whole");
        }
        "502" => {
            wire.read_body(&mut answer);
            let answer = answer.problem(502).readable_from(NAVAJA);
            assert!(!answer.text().contains("evil"), "{title}: {}", answer.text());
        }
        status => {
            wire.read_body(&mut answer);
            assert_eq!(answer.status.to_string(), status, "{title}: {}", answer.text());
            assert_eq!(answer.body, case.bytes("body").unwrap(), "{title}: {}", answer.text());
            assert!(answer.header("x-evil").is_none() && answer.trailers.is_empty(), "{title}: {answer:?}");
            // The client's connection is as good as before.
            wire.send(format!("GET /ok/after HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
            assert_eq!(wire.answer().text(), "/ok/after", "{title}");
        }
    }
}

/// Does the body end before its end?
fn is_cut(wire: &mut Wire, length: Option<&str>) -> bool {
    if let Some(length) = length {
        return wire.exactly(length.parse().unwrap()).is_err();
    }
    loop {
        match wire.try_chunk() {
            Err(_) => return true,
            Ok(None) => return false,
            Ok(Some(_)) => {}
        }
    }
}
