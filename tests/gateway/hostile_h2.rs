//! Hostile HTTP/2 requests, each with the answer it must get. None of them may reach the worker.

use crate::{
    TestGateway,
    h2_frames::{self, END_STREAM, H2, Outcome},
};

#[test]
fn frames_by_hand_are_answered_like_anyone_elses() {
    let gateway = TestGateway::builder().worker("echo.mjs").start();
    let mut h2 = H2::open(&gateway);
    h2.send(h2_frames::headers(1, END_STREAM, &h2_frames::get("/hello")));
    let Outcome::Answered { status: 200, body } = h2.outcome(1) else { panic!("no answer") };
    assert!(String::from_utf8(body).unwrap().contains("/hello"));
    let mut elsewhere = h2_frames::get("/");
    elsewhere[2].1 = "elsewhere.example".to_owned();
    h2.send(h2_frames::headers(3, END_STREAM, &elsewhere));
    assert!(matches!(h2.outcome(3), Outcome::Answered { status: 421, .. }));
    h2.send(h2_frames::headers(5, END_STREAM, &h2_frames::get("/")[..3]));
    assert_eq!(h2.outcome(5), Outcome::Reset(1));
}
