//! Each coding against a source that is slow, large, broken or has trailers: what comes out is what went in.

use std::{
    collections::VecDeque,
    io::Read,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Wake, Waker},
};

use super::*;
use crate::edge::compress::{Compression, CompressionConfig};

const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// Counts how often it was called.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// What a source says, step by step.
#[derive(Debug)]
struct Script(VecDeque<Poll<Frame<Bytes>>>);

impl Body for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Poll::Ready(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Poll::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

fn compressed(body: Script, coding: Coding) -> Compressed<Script> {
    let stream =
        Compression::new(&CompressionConfig::default()).stream(std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
    Compressed::new(body, coding, 4, stream).unwrap()
}

fn script(steps: impl IntoIterator<Item = Poll<Frame<Bytes>>>) -> Script {
    Script(steps.into_iter().collect())
}

fn whole(bytes: Vec<u8>) -> Script {
    script([Poll::Ready(Frame::data(bytes.into()))])
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b"the quick brown fox jumps over the lazy dog "[at * 7 % 44]).collect()
}

/// Poll until there is nothing more; pieces, trailers, and how often it wanted to be asked again at once.
fn run(mut body: Compressed<Script>) -> (Vec<Bytes>, Option<HeaderMap>, usize) {
    let calls = std::sync::Arc::<Calls>::default();
    let waker = Waker::from(calls.clone());
    let mut cx = Context::from_waker(&waker);
    let (mut pieces, mut trailers, mut before) = (Vec::new(), None, 0);
    for _ in 0..10_000 {
        match body.poll_frame(&mut cx) {
            Poll::Ready(None) => {
                assert!(body.is_over());
                return (pieces, trailers, calls.0.load(Relaxed));
            }
            Poll::Ready(Some(frame)) => match frame.unwrap().into_data() {
                Ok(piece) => pieces.push(piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Poll::Pending => {
                let now = calls.0.load(Relaxed);
                assert!(now > before, "it waits for nobody");
                before = now;
            }
        }
    }
    panic!("it never ends");
}

fn plain(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader: Box<dyn Read> = match coding {
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
    };
    // Half a stream ends in an error, after all that was in it.
    let _ended = reader.read_to_end(&mut out);
    out
}

#[test]
fn what_comes_out_is_what_went_in_and_less() {
    for coding in ALL {
        for bytes in [1, 1000, 32 * 1024, 100_000, 1_000_000] {
            let body = whole(text(bytes));
            let (pieces, _, turns) = run(compressed(body, coding));
            let out = pieces.concat();
            assert_eq!(plain(coding, &out), text(bytes), "{coding:?} {bytes}");
            assert!(bytes < 1000 || out.len() < bytes / 4, "{coding:?} {bytes} → {}", out.len());
            // Others had their turn between slices.
            assert_eq!(turns, (bytes - 1) / SLICE_BYTES, "{coding:?} {bytes}");
        }
    }
}

#[test]
fn a_small_answer_is_one_piece() {
    for coding in ALL {
        let (pieces, ..) = run(compressed(whole(text(5000)), coding));
        assert_eq!(pieces.len(), 1, "{coding:?}");
    }
}

#[test]
fn nothing_is_held_back_while_the_source_pauses() {
    for coding in ALL {
        let line = |number: usize| Bytes::from(format!("{{\"line\": {number}}}\n"));
        let steps = (0..5).flat_map(|number| [Poll::Ready(Frame::data(line(number))), Poll::Pending]);
        let (pieces, ..) = run(compressed(script(steps), coding));
        let (mut so_far, mut seen) = (Vec::new(), 0);
        for piece in pieces {
            so_far.extend(piece);
            let text = plain(coding, &so_far);
            let lines = text.split_inclusive(|byte| *byte == b'\n').count();
            assert!(lines <= seen + 1, "{coding:?}: two lines came as one");
            seen = lines;
        }
        assert_eq!(seen, 5, "{coding:?}");
    }
}

#[test]
fn trailers_come_after_the_end() {
    for coding in ALL {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("7"));
        let steps =
            [Poll::Ready(Frame::data(text(3000).into())), Poll::Ready(Frame::trailers(trailers.clone()))];
        let (pieces, got, _) = run(compressed(script(steps), coding));
        assert_eq!((plain(coding, &pieces.concat()), got), (text(3000), Some(trailers)), "{coding:?}");
    }
}

#[test]
fn an_empty_body_is_left_alone() {
    let stream =
        Compression::new(&CompressionConfig::default()).stream(std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
    assert!(Compressed::new(script([]), Coding::Zstd, 3, stream).is_err());
}
