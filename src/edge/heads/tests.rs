//! What hyper must not take, byte by byte.

use std::convert::Infallible;

use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    super::{activity::Verdict, config::Limits, cuts::Cut, request_id::RequestIds},
    *,
};

/// What a client reads that sends `bytes` one after the other, each only when the last has been taken.
async fn answer(bytes: &[u8]) -> String {
    let (mut client, io) = tokio::io::duplex(1);
    let activity = Activity::new(None);
    let id = RequestIds::new().of(false, &HeaderMap::new());
    let io = TokioIo::new(Watching::new(io, activity.clone(), id));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let activity = activity.clone();
        async move {
            activity.request_begins();
            let whole = request.into_body().collect().await.is_ok();
            activity.request_ends(std::time::Instant::now());
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = if whole { http::StatusCode::OK } else { http::StatusCode::CONFLICT };
            Ok::<_, Infallible>(answer)
        }
    });
    let serve = async { drop(http1::Builder::new().serve_connection(io, service).await) };
    let talk = async move {
        for byte in bytes {
            // Refused, nobody takes the rest.
            let _taken = tokio::time::timeout(Duration::from_millis(1), client.write_all(&[*byte])).await;
        }
        let mut text = Vec::new();
        let _ended = tokio::time::timeout(Duration::from_millis(50), client.read_to_end(&mut text)).await;
        String::from_utf8_lossy(&text).into_owned()
    };
    let (text, ()) = tokio::join!(talk, serve);
    text
}

#[tokio::test(start_paused = true)]
async fn what_comes_byte_by_byte_is_refused_like_what_comes_at_once() {
    let bad_head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello";
    for text in [bad_head, "GET /#x HTTP/1.1\r\nhost: x\r\n\r\n", "GET / HTTP/1.1\n\n"] {
        let answer = answer(text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"malformed\""), "{answer}");
    }
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(
        answer(format!("{chunked}5\r\nhello\r\n0\r\n\r\n").as_bytes()).await.starts_with("HTTP/1.1 200 ")
    );
    for body in ["5\r\nhello\r\n0\n", "5 \r\nhello\r\n", "5\r\nhello\r\n0\r\nx: y\n\r\n"] {
        let answer = answer(format!("{chunked}{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 409 "), "{body:?}: {answer}");
    }
}

#[tokio::test]
async fn of_a_head_that_came_in_part_with_the_one_before_the_rest_is_waited_for() {
    let at_once = Limits { header_timeout: Duration::ZERO, ..Limits::default() };
    for (next, want) in [("GET / HT", Verdict::Stuck(Cut::HeadersSlow)), ("", Verdict::Idle)] {
        let (mut client, io) = tokio::io::duplex(1024);
        let activity = Activity::new(None);
        let id = RequestIds::new().of(false, &HeaderMap::new());
        let mut io = Watching::new(io, activity.clone(), id);
        client.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{next}").as_bytes()).await.unwrap();
        io.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
        activity.request_begins();
        activity.request_ends(std::time::Instant::now());
        let at_once = Limits { idle_timeout: Duration::ZERO, ..at_once.clone() };
        assert_eq!(activity.judge(&at_once, true), want, "{next}");
    }
}
