//! What answers mean, one by one. The way to them is `probe`'s.

use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;

fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect::<HeaderMap>();
    Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from(body.to_owned()) }
}

#[test]
fn a_preflight_is_good_only_as_204_for_exactly_that_origin() {
    let allow = "access-control-allow-origin";
    for (reply, want) in [
        (reply(204, &[(allow, "https://a.example")], ""), Verdict::Good),
        (reply(200, &[(allow, "https://a.example")], ""), Verdict::Bad),
        (reply(204, &[(allow, "https://b.example")], ""), Verdict::Bad),
        (reply(204, &[(allow, "*")], ""), Verdict::Bad),
        (reply(403, &[], ""), Verdict::Bad),
    ] {
        assert_eq!(judge_preflight(&reply, "https://a.example").verdict, want, "{reply:?}");
    }
}

#[test]
fn an_answer_is_told_apart_by_who_made_it() {
    use Verdict::{Bad, Good, Skipped};
    let id: TenantId = "acme".parse().unwrap();
    let request_id = ("x-request-id", "r1");
    let problem = ("content-type", "application/problem+json");
    let ours = r#"{"code":"no-worker","request_id":"r1"}"#;
    for (reply, status, want) in [
        (reply(200, &[request_id], "{}"), Status::Active, [Good, Good]),
        (reply(404, &[request_id], ""), Status::Active, [Good, Good]),
        (reply(500, &[request_id], ""), Status::Active, [Good, Bad]),
        (reply(200, &[], "nginx"), Status::Active, [Good, Bad]),
        (reply(503, &[request_id, problem], ours), Status::Active, [Bad, Bad]),
        (reply(400, &[request_id, problem], r#"{"title":"the app's own"}"#), Status::Active, [Good, Good]),
        (reply(403, &[request_id, problem], ours), Status::Suspended, [Bad, Skipped]),
    ] {
        let steps = judge_request(&reply, &id, "/", status);
        let verdicts: Vec<_> = steps.iter().map(|step| step.verdict).collect();
        assert_eq!(verdicts, want, "{reply:?}");
    }
    let suspended = judge_request(&reply(403, &[problem], ours), &id, "/", Status::Suspended);
    assert_eq!(suspended[0].remedy.as_deref(), Some("gateway tenant resume acme"));
}

#[test]
fn only_a_row_with_a_one_is_a_database() {
    let good = r#"{"results":[{"type":"ok","response":{"type":"execute","result":{"rows":[[{"type":"integer","value":"1"}]]}}}]}"#;
    assert_eq!(judge_select(&reply(200, &[], good)), Ok(()));
    let error = r#"{"results":[{"type":"error","error":{"message":"disk I/O error"}}]}"#;
    assert!(judge_select(&reply(200, &[], error)).unwrap_err().contains("disk I/O error"));
    assert!(judge_select(&reply(401, &[], "")).unwrap_err().contains("401"));
}

#[test]
fn a_step_is_one_line_and_its_remedy_another() {
    assert_eq!(good("dns", "fine").line(), "✓ dns          fine");
    assert_eq!(bad("dns", "gone", "make a record").line(), "✗ dns          gone\n  hint: make a record");
}

#[test]
fn listeners_on_every_address_are_called_on_loopback() {
    for (address, want) in [
        ("0.0.0.0:443", "127.0.0.1:443"),
        ("[::]:443", "[::1]:443"),
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("192.0.2.1:443", "192.0.2.1:443"),
    ] {
        assert_eq!(reachable(address.parse().unwrap()), want.parse().unwrap());
    }
}
