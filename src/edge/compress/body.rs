//! A body that is compressed as it passes. It must never hold bytes back while its source pauses, nor work so long
//! that the thread's other connections wait for it.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::{super::body::BodyError, Coding, Stream, encoder::Encoder};

/// Bytes compressed before other connections of the thread get their turn: half a millisecond's work at most.
const SLICE_BYTES: usize = 32 * 1024;

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A body and its coder.
pub(crate) struct Compressed<B> {
    body: B,
    /// Gone when it has finished.
    encoder: Option<Encoder>,
    /// Of the last piece, what has not been compressed yet.
    input: Bytes,
    trailers: Option<HeaderMap>,
    /// The coder holds bytes that the other end has not got.
    holds_back: bool,
    /// Others have had their turn since the last slice.
    rested: bool,
    _stream: Stream,
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Compressed<B> {
    /// Compress this body; it comes back if it is empty or there is no coder.
    pub(super) fn new(body: B, coding: Coding, level: u32, stream: Stream) -> Result<Self, Box<B>> {
        if body.is_end_stream() {
            return Err(Box::new(body));
        }
        match Encoder::new(coding, level, body.size_hint().exact()) {
            Ok(encoder) => Ok(Self {
                body,
                encoder: Some(encoder),
                input: Bytes::new(),
                trailers: None,
                holds_back: false,
                rested: true,
                _stream: stream,
            }),
            Err(error) => {
                tracing::error!(coding = coding.name(), %error, "no compressor can be made");
                Err(Box::new(body))
            }
        }
    }

    /// Has everything been given out?
    pub(crate) fn is_over(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    /// The next compressed piece.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if !self.input.is_empty() {
                if !std::mem::replace(&mut self.rested, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let slice = self.input.split_to(self.input.len().min(SLICE_BYTES));
                self.rested = slice.len() < SLICE_BYTES;
                if let Err(error) = encoder.write(&slice) {
                    return broken(error);
                }
                self.holds_back = true;
                // The usual answer is one piece: its end goes out with it.
                if self.input.is_empty() && self.body.is_end_stream() {
                    return self.finish();
                }
                let piece = encoder.take();
                if !piece.is_empty() {
                    return data(piece);
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    self.rested = true;
                    if !std::mem::take(&mut self.holds_back) {
                        return Poll::Pending;
                    }
                    // Nobody knows when more comes: what is there goes out now. The waker is set.
                    if let Err(error) = encoder.flush() {
                        return broken(error);
                    }
                    let piece = encoder.take();
                    return if piece.is_empty() { Poll::Pending } else { data(piece) };
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => self.input = piece,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return self.finish();
                    }
                },
                Poll::Ready(None) => return self.finish(),
            }
        }
    }

    fn finish(&mut self) -> Polled {
        let Some(encoder) = self.encoder.take() else { return Poll::Ready(None) };
        match encoder.finish() {
            Ok(piece) => data(piece),
            Err(error) => broken(error),
        }
    }
}

fn data(piece: Vec<u8>) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(piece.into()))))
}

/// The coders write into memory, which fails only if they are wrong about their own state.
fn broken(error: io::Error) -> Polled {
    Poll::Ready(Some(Err(BodyError::Ours(error))))
}

impl<B: fmt::Debug> fmt::Debug for Compressed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed").field("body", &self.body).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
