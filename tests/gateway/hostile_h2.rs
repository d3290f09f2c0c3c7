//! Hostile HTTP/2 requests: each gets the answer that its file says, and a worker that keeps every byte shows what of
//! them reached it, and in which form.

use crate::{
    TestGateway,
    h2_frames::{self, END_HEADERS, END_STREAM, H2, HEADERS, Outcome},
    hostile::{is_exactly, recording},
    hostile_case::{Case, Recorded, all_are_logged, bytes},
};

#[test]
fn every_hostile_http_2_request_gets_the_answer_it_must_get_and_nothing_of_it_is_forwarded() {
    let gateway = recording();
    Recorded::since(&gateway);
    let (mut refused, mut failed) = (Vec::new(), Vec::new());
    for case in Case::all("http2") {
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let id = answer(&gateway, &case);
            let recorded = Recorded::since(&gateway);
            case.judge(&recorded);
            is_exactly(&case, true, &recorded);
            id
        }));
        match judged {
            Ok(id) => refused.extend(id),
            Err(_) => failed.push(case.name.clone()),
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    assert!(refused.len() > 10);
    all_are_logged(&gateway, &refused);
}

/// The case's answer, which must be the one it says, and the id of a refusal.
fn answer(gateway: &TestGateway, case: &Case) -> Option<String> {
    let title = case.title();
    let mut h2 = H2::open(gateway);
    let (data, trailers) = (case.bytes("data"), case.lines("trailers"));
    let ends = |last: bool| if last { END_STREAM } else { 0 };
    let head = fields(case.lines("").unwrap());
    let mut frames = blocks(ends(data.is_none() && trailers.is_none()), &h2_frames::block(&head));
    if let Some(data) = &data {
        frames.extend(h2_frames::frame(h2_frames::DATA, ends(trailers.is_none()), 1, data));
    }
    if let Some(trailers) = trailers {
        frames.extend(h2_frames::headers(1, END_STREAM, &fields(trailers)));
    }
    h2.send(frames);
    let outcome = h2.outcome(1);
    let want = case.fact("want");
    match &outcome {
        Outcome::Reset(1) => assert_eq!(want, "reset", "{title}"),
        Outcome::GoneAway(1) => assert_eq!(want, "goaway", "{title}"),
        Outcome::Answered { status, body } => {
            assert_eq!(want, status.to_string(), "{title}");
            if *status >= 400 {
                let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
                assert_eq!(problem["status"], *status, "{title}: {problem}");
                return Some(problem["request_id"].as_str().unwrap().to_owned());
            }
        }
        other => panic!("{title}: {other:?} instead of {want}"),
    }
    // One stream's nonsense is nobody else's: the connection goes on.
    if want != "goaway" {
        h2.send(h2_frames::headers(3, END_STREAM, &h2_frames::get("/after")));
        assert!(
            matches!(h2.outcome(3), Outcome::Answered { status: 200, .. }),
            "{title}: the connection ended"
        );
    }
    None
}

/// A header block in as many frames as it takes.
fn blocks(flags: u8, block: &[u8]) -> Vec<u8> {
    const CONTINUATION: u8 = 0x9;
    let mut pieces = block.chunks(16_000).peekable();
    let (mut kind, mut flags, mut frames) = (HEADERS, flags, Vec::new());
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frames.extend(h2_frames::frame(kind, flags | last, 1, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    frames
}

/// `name: value` line by line; a name may begin with a colon.
fn fields<'c>(lines: impl Iterator<Item = &'c str>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let field = |line: &str| {
        let at =
            line.find(": ").or_else(|| line.rfind(':')).unwrap_or_else(|| panic!("{line:?} is no header"));
        (bytes(&line[..at]), bytes(line[at + 1..].trim_start()))
    };
    lines.map(field).collect()
}
