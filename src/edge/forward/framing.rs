//! Where a worker's answer ends. Strict, because an answer that two readers could cut at different places is how
//! one client gets another's: what is in doubt is an error, and its connection is never used again.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Longest line before a chunk: sixteen digits and an extension that nobody reads.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Trailer lines; a checksum and a handful of timings fit.
const TRAILERS_MAX: usize = 32;
/// Trailers in all, bytes.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Why a worker's bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(super) &'static str);

/// What the rest of a body's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no more.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the connection ends.
    UntilClose,
}

/// Where in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    /// Before a chunk's size.
    Size,
    /// In a chunk.
    Data(u64),
    /// Between a chunk and the next one's size.
    DataEnd,
    /// After the last chunk.
    Trailers,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Done,
    /// More bytes are needed.
    More,
}

impl Framing {
    /// The next piece of the body, taken out of `buffer`.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Step, Malformed> {
        match self {
            Self::Done => Ok(Step::Done),
            Self::UntilClose if buffer.is_empty() => Ok(Step::More),
            Self::UntilClose => Ok(Step::Data(buffer.split().freeze())),
            Self::Length(left) => {
                let Some(data) = piece(left, buffer) else { return Ok(Step::More) };
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step::Data(data))
            }
            Self::Chunked(_) => self.next_chunked(buffer),
        }
    }

    /// The connection has ended; is the body whole?
    pub(super) fn ends(&mut self) -> bool {
        let whole = matches!(self, Self::Done | Self::UntilClose);
        if whole {
            *self = Self::Done;
        }
        whole
    }

    fn next_chunked(&mut self, buffer: &mut BytesMut) -> Result<Step, Malformed> {
        loop {
            let Self::Chunked(at) = self else { return Ok(Step::Done) };
            match at {
                Chunked::Size => match size(buffer)? {
                    None => return Ok(Step::More),
                    Some(0) => *at = Chunked::Trailers,
                    Some(size) => *at = Chunked::Data(size),
                },
                Chunked::Data(left) => {
                    let Some(data) = piece(left, buffer) else { return Ok(Step::More) };
                    if *left == 0 {
                        *at = Chunked::DataEnd;
                        self.look_ahead(buffer);
                    }
                    return Ok(Step::Data(data));
                }
                Chunked::DataEnd => match buffer.get(..2) {
                    None => return Ok(Step::More),
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        *at = Chunked::Size;
                    }
                    Some(_) => return Err(Malformed("a chunk is longer than it says")),
                },
                Chunked::Trailers => {
                    let Some(trailers) = trailers(buffer)? else { return Ok(Step::More) };
                    *self = Self::Done;
                    return Ok(if trailers.is_empty() { Step::Done } else { Step::Trailers(trailers) });
                }
            }
        }
    }

    /// If the end of the body is in the buffer already, it is told with the last data: one frame and one turn less.
    fn look_ahead(&mut self, buffer: &mut BytesMut) {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        if buffer.starts_with(END) {
            buffer.advance(END.len());
            *self = Self::Done;
        }
    }
}

/// As much of what is left as there is.
fn piece(left: &mut u64, buffer: &mut BytesMut) -> Option<Bytes> {
    if buffer.is_empty() {
        return None;
    }
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= count as u64;
    Some(buffer.split_to(count).freeze())
}

/// The line before a chunk: hexadecimal digits, and perhaps an extension.
fn size(buffer: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    let window = &buffer[..buffer.len().min(CHUNK_LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        let fits = buffer.len() < CHUNK_LINE_BYTES_MAX;
        return if fits { Ok(None) } else { Err(Malformed("the line before a chunk is too long")) };
    };
    let line = buffer[..end].strip_suffix(b"\r").ok_or(Malformed("the line before a chunk has no end"))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let extended = extension.is_empty() || extension[0] == b';';
    if !extended || extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Malformed("the size of a chunk is no number"));
    }
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() <= 16);
    let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let size = size.ok_or(Malformed("the size of a chunk is no number"))?;
    buffer.advance(end + 1);
    Ok(Some(size))
}

/// The lines after the last chunk, once all of them are there.
fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    let end = if buffer.starts_with(b"\r\n") {
        2
    } else {
        match memchr::memmem::find(buffer, b"\r\n\r\n") {
            Some(at) if at + 4 <= TRAILER_BYTES_MAX => at + 4,
            None if buffer.len() < TRAILER_BYTES_MAX => return Ok(None),
            _ => return Err(Malformed("its trailers are too long")),
        }
    };
    let lines = buffer.split_to(end);
    let mut space = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let parsed = match httparse::parse_headers(&lines, &mut space) {
        Ok(httparse::Status::Complete((used, parsed))) if used == end => parsed,
        _ => return Err(Malformed("its trailers make no sense")),
    };
    let mut trailers = HeaderMap::with_capacity(parsed.len());
    for line in parsed {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_bytes(line.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed("its trailers make no sense"));
        };
        if may_trail(&name) {
            trailers.append(name, value);
        }
    }
    Ok(Some(trailers))
}

/// Is this more than a word about one hop, the message's frame, or who may read it (RFC 9110 6.5.1)?
pub(super) fn may_trail(name: &HeaderName) -> bool {
    let name = name.as_str();
    let never = matches!(
        name,
        "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "expect"
            | "host"
            | "keep-alive"
            | "max-forwards"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    !never && !name.starts_with("access-control-")
}

#[cfg(test)]
mod tests;
