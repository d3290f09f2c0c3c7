//! Where requests begin and end in a client's bytes, and what in them two readers could take for two different
//! things although hyper takes it for one: bare line feeds, a length beside chunks, the same length twice, codings
//! other than `chunked`, fragments. One pass, line by line; most bytes are only searched for the line's end. It must
//! never let pass what it does not follow: hyper sees nothing behind what is refused here.

/// Longest line whose inside matters: `content-length:`, spaces and twenty digits fit. Longer ones are refused where
/// the inside would have mattered.
const LINE_BYTES_MAX: usize = 64;

/// Sixteen hexadecimal digits are all that fit into 64 bits.
const CHUNK_DIGITS_MAX: usize = 16;

/// How the preface of HTTP/2 begins, which may follow only where the handshake said so (RFC 9113 3.3, 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2";

/// Reads along.
#[derive(Debug)]
pub(crate) struct Scan {
    at: At,
    pieces: Pieces,
    head: Head,
    /// Heads that are complete.
    heads: u64,
}

/// Where a client's bytes stop being a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The first byte that must not pass, in the bytes read last.
    pub(crate) at: usize,
    /// In a body, whose head has passed already?
    pub(crate) in_body: bool,
    /// For the client.
    pub(crate) why: &'static str,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A head's line.
    Head,
    /// A body of known length.
    Body(u64),
    /// The line before a chunk.
    ChunkSize,
    /// A chunk and its line's end.
    Chunk(u64),
    /// The lines after the last chunk.
    Trailers,
}

/// What a head has said so far.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

/// A line that has come in part.
#[derive(Debug)]
struct Pieces {
    start: [u8; LINE_BYTES_MAX],
    bytes: usize,
    last: u8,
    fragment: bool,
}

/// A line without its end.
struct Line<'a> {
    /// The beginning of it.
    start: &'a [u8],
    /// That is all of it.
    whole: bool,
    /// Somewhere in it is a `#`.
    fragment: bool,
}

impl Scan {
    pub(crate) fn new() -> Self {
        Self { at: At::Head, pieces: Pieces::new(), head: Head::default(), heads: 0 }
    }

    /// Heads that are complete.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Do the bytes so far end within a head?
    pub(crate) fn is_within(&self) -> bool {
        self.at == At::Head && (self.head.begun || self.pieces.bytes > 0)
    }

    /// Do they end within a body?
    pub(super) fn is_midway(&self) -> bool {
        matches!(self.at, At::Body(_) | At::ChunkSize | At::Chunk(_) | At::Trailers)
    }

    /// Do they end where a request may begin?
    pub(crate) fn is_between(&self) -> bool {
        self.at == At::Head && !self.is_within()
    }

    /// The next bytes. After an error there are none.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.at {
                At::Body(left) | At::Chunk(left) => self.skip(rest, left),
                At::Head | At::ChunkSize | At::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.pieces.keep(rest, self.begins_request());
                        return Ok(());
                    };
                    let in_body = self.at != At::Head;
                    if let Err(why) = self.line(&rest[..end]) {
                        return Err(Bad { at: bytes.len() - rest.len() + end, in_body, why });
                    }
                    &rest[end + 1..]
                }
            };
        }
        Ok(())
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64) -> &'a [u8] {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - count as u64;
        self.at = match self.at {
            At::Body(_) if left == 0 => At::Head,
            At::Body(_) => At::Body(left),
            _ if left == 0 => At::ChunkSize,
            _ => At::Chunk(left),
        };
        &bytes[count..]
    }

    /// Is the current line the one with method and target?
    fn begins_request(&self) -> bool {
        self.at == At::Head && !self.head.begun
    }

    /// A line has ended, `rest` is what came of it last.
    fn line(&mut self, rest: &[u8]) -> Result<(), &'static str> {
        let (begins, kept) = (self.begins_request(), self.pieces.bytes > 0);
        if kept {
            self.pieces.keep(rest, begins);
        }
        let last = if kept { Some(&self.pieces.last) } else { rest.last() };
        if last != Some(&b'\r') {
            // hyper takes it for a line's end, others for a part of the line (RFC 9112 2.2).
            return Err("a line ends in a bare line feed");
        }
        // Most lines come whole and are looked at where they are.
        let start;
        let line = if kept {
            let (bytes, fragment) = (self.pieces.bytes - 1, self.pieces.fragment);
            start = self.pieces.start;
            self.pieces.clear();
            Line { start: &start[..bytes.min(LINE_BYTES_MAX)], whole: bytes <= LINE_BYTES_MAX, fragment }
        } else {
            let line = &rest[..rest.len() - 1];
            let fragment = begins && memchr::memchr(b'#', line).is_some();
            let bytes = line.len().min(LINE_BYTES_MAX);
            Line { start: &line[..bytes], whole: line.len() == bytes, fragment }
        };
        match self.at {
            At::Head => self.head_line(&line)?,
            At::ChunkSize => self.at = chunk(&line)?,
            At::Trailers if line.start.is_empty() => self.at = At::Head,
            _ => {}
        }
        Ok(())
    }

    fn head_line(&mut self, line: &Line<'_>) -> Result<(), &'static str> {
        let head = &mut self.head;
        match line.start.first() {
            // Empty lines before a request are skipped by everyone.
            None if !head.begun => {}
            None => self.head_ends()?,
            // It would be cut off in silence.
            Some(_) if !head.begun && line.fragment => return Err("the target has a fragment"),
            // hyper closes without a word where the whole preface has come, and answers where only a part has.
            Some(_) if !head.begun && line.start.starts_with(HTTP_2) => {
                return Err("HTTP/2 is agreed upon in the TLS handshake");
            }
            Some(_) if !head.begun => head.begun = true,
            Some(b't' | b'T') => {
                let Some(value) = line.value(b"transfer-encoding") else { return Ok(()) };
                // Other codings end at this hop, and their worker would get what it cannot read (RFC 9112 6.1, 7).
                if head.chunked || !line.whole || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("the transfer coding is not `chunked` alone");
                }
                head.chunked = true;
            }
            Some(b'c' | b'C') => {
                let Some(value) = line.value(b"content-length") else { return Ok(()) };
                if head.length.is_some() {
                    return Err("the length is said twice");
                }
                let length = number(value).filter(|_| line.whole);
                head.length = Some(length.ok_or("content-length is no number")?);
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn head_ends(&mut self) -> Result<(), &'static str> {
        self.at = match (self.head.chunked, self.head.length) {
            // RFC 9112 6.1: how requests are smuggled. hyper drops the length before anyone can see it.
            (true, Some(_)) => return Err("the body has a length and chunks"),
            (true, None) => At::ChunkSize,
            (false, None | Some(0)) => At::Head,
            (false, Some(length)) => At::Body(length),
        };
        self.head = Head::default();
        self.heads += 1;
        Ok(())
    }
}

impl Pieces {
    fn new() -> Self {
        Self { start: [0; LINE_BYTES_MAX], bytes: 0, last: 0, fragment: false }
    }

    fn keep(&mut self, bytes: &[u8], begins_request: bool) {
        if let Some(free) = self.start.get_mut(self.bytes..) {
            let count = free.len().min(bytes.len());
            free[..count].copy_from_slice(&bytes[..count]);
        }
        self.bytes += bytes.len();
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.fragment |= begins_request && memchr::memchr(b'#', bytes).is_some();
    }

    fn clear(&mut self) {
        (self.bytes, self.last, self.fragment) = (0, 0, false);
    }
}

impl Line<'_> {
    /// What follows `name:`.
    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let (start, rest) = self.start.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":").filter(|_| start.eq_ignore_ascii_case(name))?;
        Some(trimmed(value))
    }
}

/// Without the white space that may stand around a value (RFC 9110 5.6.3), and no other.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Decimal digits alone, and no number that only some could hold.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// What follows the line before a chunk: its size, and perhaps extensions, which nobody reads.
fn chunk(line: &Line<'_>) -> Result<At, &'static str> {
    let size = line.start.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = !size.is_empty() && size.len() <= CHUNK_DIGITS_MAX && size.iter().all(u8::is_ascii_hexdigit);
    let size = std::str::from_utf8(size).ok().filter(|_| digits);
    match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
        Some(0) => Ok(At::Trailers),
        // Its line's end is two bytes more.
        Some(size) if size <= i64::MAX as u64 => Ok(At::Chunk(size + 2)),
        _ => Err("a chunk's size is no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads seen, and why the bytes were refused at which of them, however they are cut.
    #[track_caller]
    fn check(text: &str, heads: u64, bad: Option<(usize, &str)>) {
        for piece in [1, 2, 3, 7, 64, text.len()] {
            let mut scan = Scan::new();
            let mut seen = None;
            for (number, bytes) in text.as_bytes().chunks(piece).enumerate() {
                if let Err(bad) = scan.read(bytes) {
                    seen = Some((number * piece + bad.at, bad.why));
                    break;
                }
            }
            assert_eq!((scan.heads(), seen), (heads, bad), "{text:?} by {piece}");
        }
    }

    /// These bytes are refused at their last one.
    #[track_caller]
    fn refused(text: &str, heads: u64, why: &str) {
        check(&format!("{text}GET /behind HTTP/1.1\r\n\r\n"), heads, Some((text.len() - 1, why)));
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const CL: &str = "content-length: 5\r\n";
    const TE: &str = "transfer-encoding: chunked\r\n";
    const BOTH: &str = "the body has a length and chunks";
    const BARE: &str = "a line ends in a bare line feed";

    fn post(headers: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}")
    }

    #[test]
    fn two_lengths_are_seen_in_either_order_and_wherever_they_come() {
        refused(&post(&format!("{CL}{TE}"), ""), 0, BOTH);
        refused(&post(&format!("{TE}{CL}"), ""), 0, BOTH);
        refused(&post("Transfer-ENCODING:chunked\r\nx: y\r\nCONTENT-length:5\r\n", ""), 0, BOTH);
        refused(&format!("{GET}\r\n{GET}{}", post(&format!("{TE}{CL}"), "")), 2, BOTH);
        refused(&format!("{}{}", post(CL, "hello"), post(&format!("{TE}{CL}"), "")), 1, BOTH);
        let chunks = "3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
        refused(&format!("{}{}", post(TE, chunks), post(&format!("{TE}{CL}"), "")), 1, BOTH);
        refused(&format!("POST / HTTP/1.1\r\n{CL}{CL}"), 0, "the length is said twice");
    }

    #[test]
    fn what_stands_in_a_body_is_no_head() {
        let inner = post(&format!("{TE}{CL}"), "");
        check(&post(&format!("content-length: {}\r\n", inner.len()), &inner), 1, None);
        check(&post(TE, &format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())), 1, None);
        check(&format!("{}{GET}", post(TE, &format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()))), 2, None);
        // Names that only begin alike, in values and in trailers.
        check(
            &post(&format!("x: {CL}{TE}content-length-x: 1\r\n"), "0\r\ncontent-length: 5\r\n\r\n"),
            1,
            None,
        );
        check(&post(&format!("x: {}\r\n{TE}", "content-length: 5 ".repeat(20)), "0\r\n\r\n"), 1, None);
        check(&post("content-length: \t 00005 \r\n", "hello"), 1, None);
    }

    #[test]
    fn a_line_ends_in_both_bytes_or_the_connection_does() {
        for text in [
            "\n".to_owned(),
            "GET / HTTP/1.1\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: x\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: x\r\n\n".to_owned(),
        ] {
            refused(&text, 0, BARE);
        }
        for body in ["5\n", "5;x=\n", "0\r\nx: y\n", "0\r\n\n"] {
            refused(&post(TE, body), 1, BARE);
        }
    }

    #[test]
    fn a_length_that_is_no_plain_number_is_refused() {
        for length in ["+5", "-5", "5, 5", "5 5", "0x5", "", " ", "5;", "9223372036854775808", "1e1"] {
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n");
            refused(&head, 0, "content-length is no number");
        }
        let padded = format!("POST / HTTP/1.1\r\ncontent-length: {}5\r\n", " ".repeat(70));
        refused(&padded, 0, "content-length is no number");
        for size in ["", "x", "0x5", "-1", "5 ", " 5", "5 ;x", "00000000000000005", "ffffffffffffffff"] {
            refused(&post(TE, &format!("{size}\r\n")), 1, "a chunk's size is no number");
        }
    }

    #[test]
    fn a_coding_that_is_not_chunked_alone_is_refused() {
        let why = "the transfer coding is not `chunked` alone";
        for coding in ["identity", "xchunked", "chunked, identity", "gzip, chunked", "", "chunked;q=1"] {
            refused(&format!("POST / HTTP/1.1\r\ntransfer-encoding: {coding}\r\n"), 0, why);
        }
        refused(&format!("POST / HTTP/1.1\r\n{TE}{TE}"), 0, why);
        refused(&format!("POST / HTTP/1.1\r\ntransfer-encoding:{}chunked\r\n", " ".repeat(70)), 0, why);
        check(&post("transfer-encoding:\t CHUNKED \r\n", "0\r\n\r\n"), 1, None);
    }

    #[test]
    fn the_preface_of_http_2_is_refused_wherever_it_is_cut() {
        refused("PRI * HTTP/2.0\r\n", 0, "HTTP/2 is agreed upon in the TLS handshake");
        check("PRI * HTTP/1.1\r\nhost: x\r\n\r\n", 1, None);
    }

    #[test]
    fn a_fragment_is_refused_wherever_the_target_ends() {
        let why = "the target has a fragment";
        refused("GET /a#b HTTP/1.1\r\n", 0, why);
        refused(&format!("{GET}GET /{}#b HTTP/1.1\r\n", "a".repeat(200)), 1, why);
        check("GET / HTTP/1.1\r\nx: #\r\n\r\n", 1, None);
    }
}
