//! A request on its way to a worker: its head, and its body as the client sends it, together in as few writes as
//! can be. It says exactly how many bytes the worker's socket has taken: none means that it never happened.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, Request, header};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::{super::body::RequestBody, framing::may_trail, socket::Writer};

/// What ends a chunk, and what ends the last one together with the body.
const CHUNK_END: &[u8] = b"\r\n";
const LAST_CHUNK_END: &[u8] = b"\r\n0\r\n\r\n";

/// A request that is no longer than this and was written at once is read at once: every server reads in pieces of
/// this size or more.
const PIECE_BYTES_MAX: usize = 4096;

/// One request.
#[derive(Debug)]
pub(super) struct Sending {
    body: RequestBody,
    coding: Coding,
    /// The head, or the line before a chunk; written up to `written`.
    lead: Vec<u8>,
    written: usize,
    data: Bytes,
    tail: &'static [u8],
    /// The whole body, if it is small and came at once: so it can be sent again.
    kept: Option<Bytes>,
    /// Bytes that the socket has taken.
    taken: u64,
    /// In so many writes.
    writes: u32,
    /// Nothing comes after what is held here.
    at_end: bool,
    /// The worker takes no more.
    refused: Option<io::Error>,
    /// Trailers that the head announced.
    trailers: Vec<HeaderName>,
}

/// How the body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// There is none.
    Empty,
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

impl Coding {
    pub(super) fn of(body: &RequestBody) -> Self {
        match (body, body.size_hint().exact()) {
            (RequestBody::Empty, _) => Self::Empty,
            (_, Some(length)) => Self::Length(length),
            (_, None) => Self::Chunked,
        }
    }
}

/// The client's body broke off; the record knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

impl Sending {
    /// A request with its body; `space` is a buffer to use again.
    pub(super) fn new(request: &Request<()>, body: RequestBody, mut space: Vec<u8>) -> Self {
        let coding = Coding::of(&body);
        space.clear();
        let trailers = if coding == Coding::Chunked { announced(request.headers()) } else { Vec::new() };
        write_head(request, coding, &mut space);
        Self {
            body,
            coding,
            lead: space,
            written: 0,
            data: Bytes::new(),
            tail: b"",
            kept: None,
            taken: 0,
            writes: 0,
            at_end: matches!(coding, Coding::Empty | Coding::Length(0)),
            refused: None,
            trailers,
        }
    }

    /// Bytes that the worker's socket has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Is something held back by the worker?
    pub(super) fn is_blocked(&self) -> bool {
        self.refused.is_none() && !self.is_flushed()
    }

    /// Has the worker closed its end?
    pub(super) fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// The buffer, for the next request.
    pub(super) fn into_space(self) -> Vec<u8> {
        self.lead
    }

    /// Did it leave whole, and in one small piece?
    pub(super) fn is_one_piece(&self) -> bool {
        self.writes == 1 && self.at_end && self.is_flushed() && self.taken <= PIECE_BYTES_MAX as u64
    }

    /// The body for another try, if it can be had again.
    pub(super) fn into_body(mut self) -> Option<RequestBody> {
        let unread = match self.kept {
            Some(data) => data,
            None if self.taken == 0 => self.data,
            None if matches!(self.body, RequestBody::Empty) => Bytes::new(),
            None => return None,
        };
        if !unread.is_empty() {
            self.body.unread(unread);
        }
        Some(self.body)
    }

    /// Pass on what there is. Ready when all of it is written or the worker takes no more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, writer: &mut Writer) -> Poll<Result<(), Cut>> {
        while self.refused.is_none() {
            // First, so that a head and what is there of its body leave together.
            if self.data.is_empty() && self.tail.is_empty() && !self.at_end {
                match self.poll_fill(cx) {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending if self.is_flushed() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if !self.is_flushed() {
                match ready!(self.poll_write(cx, writer)) {
                    Ok(0) => self.refused = Some(io::ErrorKind::WriteZero.into()),
                    Ok(count) => self.advance(count),
                    Err(error) => self.refused = Some(error),
                }
            } else if self.at_end {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_flushed(&self) -> bool {
        self.written == self.lead.len() && self.data.is_empty() && self.tail.is_empty()
    }

    fn poll_write(&self, cx: &mut Context<'_>, writer: &mut Writer) -> Poll<io::Result<usize>> {
        let lead = &self.lead[self.written..];
        if self.data.is_empty() && self.tail.is_empty() {
            return Pin::new(writer).poll_write(cx, lead);
        }
        let pieces = [IoSlice::new(lead), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        Pin::new(writer).poll_write_vectored(cx, &pieces)
    }

    fn advance(&mut self, mut count: usize) {
        self.taken += count as u64;
        self.writes += 1;
        let lead = count.min(self.lead.len() - self.written);
        self.written += lead;
        count -= lead;
        if self.written == self.lead.len() {
            self.lead.clear();
            self.written = 0;
        }
        let data = count.min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[count - data..];
    }

    /// The body's next frame into the empty places.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(frame) => frame.map_err(|_| Cut)?,
            None => return Poll::Ready(self.end(None)),
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) => self.data(data),
            Err(frame) => self.end(Frame::into_trailers(frame).ok()),
        })
    }

    fn data(&mut self, data: Bytes) -> Result<(), Cut> {
        let last = self.body.is_end_stream();
        let first = self.taken == 0 && self.kept.is_none();
        match &mut self.coding {
            Coding::Empty => return Err(Cut),
            Coding::Length(left) => {
                // More than was said would be the next request's beginning.
                *left = left.checked_sub(data.len() as u64).ok_or(Cut)?;
                self.at_end = *left == 0;
                if last && !self.at_end {
                    return Err(Cut);
                }
            }
            Coding::Chunked if data.is_empty() => {}
            Coding::Chunked => {
                let mut digits = [0; 16];
                self.lead.extend_from_slice(hexadecimal(data.len(), &mut digits));
                self.lead.extend_from_slice(CHUNK_END);
                self.at_end = last;
                self.tail = if last { LAST_CHUNK_END } else { CHUNK_END };
            }
        }
        if first && self.at_end && data.len() <= PIECE_BYTES_MAX {
            self.kept = Some(data.clone());
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Cut> {
        self.at_end = true;
        match self.coding {
            Coding::Empty | Coding::Length(0) => return Ok(()),
            Coding::Length(_) => return Err(Cut),
            Coding::Chunked => {}
        }
        self.lead.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten() {
            if self.trailers.contains(name) && may_trail(name) {
                write_line(&mut self.lead, name, value.as_bytes());
            }
        }
        self.lead.extend_from_slice(CHUNK_END);
        Ok(())
    }
}

/// What `Trailer` names.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The head as it goes over the wire. What it says about the body is what we will send, whatever was said before.
pub(super) fn write_head(request: &Request<()>, coding: Coding, into: &mut Vec<u8>) {
    into.extend_from_slice(request.method().as_str().as_bytes());
    into.push(b' ');
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    into.extend_from_slice(target.as_bytes());
    into.extend_from_slice(b" HTTP/1.1\r\n");
    let mut had_length = false;
    for (name, value) in request.headers() {
        if *name == header::CONTENT_LENGTH {
            had_length = true;
        } else if *name != header::TRANSFER_ENCODING {
            write_line(into, name, value.as_bytes());
        }
    }
    match coding {
        Coding::Empty if had_length => into.extend_from_slice(b"content-length: 0\r\n"),
        Coding::Empty => {}
        Coding::Length(length) => write_line(into, &header::CONTENT_LENGTH, length.to_string().as_bytes()),
        Coding::Chunked => into.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    into.extend_from_slice(b"\r\n");
}

fn write_line(into: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    into.reserve(name.len() + value.len() + 4);
    into.extend_from_slice(name);
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

fn hexadecimal(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[number & 15];
        number >>= 4;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for number in [0, 1, 15, 16, 255, 4096, usize::MAX] {
            assert_eq!(hexadecimal(number, &mut [0; 16]), format!("{number:x}").as_bytes());
        }
    }

    fn head(headers: &[(&str, &str)], coding: Coding) -> String {
        let mut request = Request::post("https://a.example/x?y=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut bytes = Vec::new();
        write_head(&request.body(()).unwrap(), coding, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_head_says_the_length_that_is_sent_and_no_other() {
        let said = [("Content-Length", "7"), ("Transfer-Encoding", "chunked"), ("X-App", "kept")];
        let first = "POST /x?y=1 HTTP/1.1\r\nx-app: kept\r\n";
        assert_eq!(head(&said, Coding::Length(9)), format!("{first}content-length: 9\r\n\r\n"));
        assert_eq!(head(&said, Coding::Chunked), format!("{first}transfer-encoding: chunked\r\n\r\n"));
        assert_eq!(head(&said, Coding::Empty), format!("{first}content-length: 0\r\n\r\n"));
        assert_eq!(head(&said[2..], Coding::Empty), format!("{first}\r\n"));
    }
}
