//! The head of a worker's answer. Heads that say two lengths, fold lines or end in doubt are refused, never
//! interpreted: the connection they came over is closed with them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::framing::{Chunked, Framing, Malformed};

/// Headers of an answer: what Node itself would send without a change of its own limits, several times over.
const HEADERS_MAX: usize = 256;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A complete head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    /// What its body's bytes are.
    pub(super) framing: Framing,
    /// May the connection be used again?
    pub(super) keep: bool,
    /// How long the worker says it keeps it.
    pub(super) keep_for: Option<Duration>,
}

/// What the request was, as far as its answer depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// `HEAD`: headers as of a body, but none.
    pub(super) head: bool,
    /// Another protocol.
    pub(super) upgrade: bool,
}

/// What a head says about its body and its connection.
#[derive(Debug, Default)]
struct Says {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_for: Option<Duration>,
}

/// The next head in `buffer`, skipping interim ones (1xx), whose bytes are added to `interim_bytes`; `None` while
/// it is not complete. The caller bounds what is not complete.
pub(super) fn parse(
    buffer: &mut BytesMut,
    asked: Asked,
    interim_bytes: &mut usize,
) -> Result<Option<Head>, Malformed> {
    loop {
        let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
        let end = end + 4;
        let (status, version, headers, says) = lines(&buffer.split_to(end).freeze())?;
        if status == StatusCode::SWITCHING_PROTOCOLS && !asked.upgrade {
            return Err(Malformed("it switched protocols unasked"));
        }
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            *interim_bytes += end;
            continue;
        }
        let framing = framing(status, version, asked, &says)?;
        // HTTP/1.0 keeps connections only by agreement, and we made none.
        let keep = version == 1 && !says.close && framing != Framing::UntilClose;
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        return Ok(Some(Head { response, framing, keep, keep_for: says.keep_for }));
    }
}

/// RFC 9112 6.3, without its leniencies.
fn framing(status: StatusCode, version: u8, asked: Asked, says: &Says) -> Result<Framing, Malformed> {
    if says.chunked && says.length.is_some() {
        return Err(Malformed("its head says two lengths"));
    }
    if says.chunked && version == 0 {
        return Err(Malformed("HTTP/1.0 knows no chunks"));
    }
    let none = asked.head
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        );
    Ok(match says.length {
        _ if none => Framing::Done,
        Some(0) => Framing::Done,
        Some(length) => Framing::Length(length),
        None if says.chunked => Framing::Chunked(Chunked::Size),
        None => Framing::UntilClose,
    })
}

fn lines(head: &Bytes) -> Result<(StatusCode, u8, HeaderMap, Says), Malformed> {
    const NONSENSE: Malformed = Malformed("its head makes no sense");
    let mut space = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, &mut space);
    match outcome {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("it has too many headers")),
        // A head that ends earlier than its last line ended lines in two ways.
        _ => return Err(NONSENSE),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else { return Err(NONSENSE) };
    let status = StatusCode::from_u16(status).map_err(|_| NONSENSE)?;
    // What the gateway adds fits, too.
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 8);
    let mut says = Says::default();
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| NONSENSE)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).map_err(|_| NONSENSE)?;
        says.hear(&name, &value)?;
        headers.append(name, value);
    }
    Ok((status, version, headers, says))
}

impl Says {
    fn hear(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        if *name == header::CONTENT_LENGTH {
            let digits = value.as_bytes();
            // `str::parse` would take a sign.
            let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let length = value.to_str().ok().filter(|_| plain).and_then(|digits| digits.parse().ok());
            let length = length.ok_or(Malformed("its length is no number"))?;
            if self.length.replace(length).is_some() {
                return Err(Malformed("its head says two lengths"));
            }
        } else if *name == header::TRANSFER_ENCODING {
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("its transfer coding is not known"));
            }
            self.chunked = true;
        } else if *name == header::CONNECTION {
            let mut words = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.close |= words.any(|word| word.eq_ignore_ascii_case(b"close"));
        } else if *name == KEEP_ALIVE {
            self.keep_for = timeout(value);
        }
        Ok(())
    }
}

/// `timeout=5` of a `Keep-Alive` header, which Node sends with each answer.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let mut words = value.to_str().ok()?.split(',').map(str::trim);
    let seconds = words.find_map(|word| word.strip_prefix("timeout="))?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests;
