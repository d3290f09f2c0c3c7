//! Where requests begin and end in a client's bytes, and which of them say two lengths. hyper drops
//! `Content-Length` beside `Transfer-Encoding` before anyone can see that both were there. It must never decide how
//! long a body is: hyper does; where the two could disagree, it says so by being lost.

/// Longest line looked at: `content-length:`, spaces and twenty digits fit, and longer ones are nobody's business.
const LINE_BYTES_MAX: usize = 64;

/// Reads along.
#[derive(Debug)]
pub(super) struct Scan {
    at: At,
    /// The beginning of the current line.
    line: [u8; LINE_BYTES_MAX],
    /// Its length so far, which may be more than is kept.
    line_bytes: usize,
    head: Head,
    /// Heads that are complete.
    heads: u64,
    /// The first head with two lengths.
    ambiguous: Option<u64>,
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
    /// What hyper would refuse, too, or what is no HTTP any more.
    Lost,
}

/// What a head has said so far.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self {
            at: At::Head,
            line: [0; LINE_BYTES_MAX],
            line_bytes: 0,
            head: Head::default(),
            heads: 0,
            ambiguous: None,
        }
    }

    /// Heads that are complete.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// The first head with two lengths, counted from 1.
    pub(super) fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// Do the bytes so far end within a head, or in what makes no sense?
    pub(super) fn is_within(&self) -> bool {
        match self.at {
            At::Head => self.head.begun || self.line_bytes > 0,
            At::Lost => true,
            _ => false,
        }
    }

    /// Do they end within a body?
    pub(super) fn is_midway(&self) -> bool {
        matches!(self.at, At::Body(_) | At::ChunkSize | At::Chunk(_) | At::Trailers)
    }

    /// The next bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.at {
                At::Lost => return,
                At::Body(left) => self.skip(bytes, left),
                At::Chunk(left) => self.skip(bytes, left),
                At::Head | At::ChunkSize | At::Trailers => match memchr::memchr(b'\n', bytes) {
                    None => {
                        self.keep(bytes);
                        return;
                    }
                    Some(end) => {
                        self.keep(&bytes[..end]);
                        self.line_ends();
                        &bytes[end + 1..]
                    }
                },
            };
        }
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

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(free) = self.line.get_mut(self.line_bytes..) {
            let count = free.len().min(bytes.len());
            free[..count].copy_from_slice(&bytes[..count]);
        }
        self.line_bytes += bytes.len();
    }

    fn line_ends(&mut self) {
        let whole = self.line_bytes <= LINE_BYTES_MAX;
        let line = self.line;
        let line = &line[..self.line_bytes.min(LINE_BYTES_MAX)];
        let line = if whole { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        self.line_bytes = 0;
        match self.at {
            At::Head => self.head_line(line, whole),
            At::ChunkSize => self.at = chunk(line, whole),
            At::Trailers if line.is_empty() => self.at = At::Head,
            _ => {}
        }
    }

    fn head_line(&mut self, line: &[u8], whole: bool) {
        let head = &mut self.head;
        match line.first() {
            // Empty lines before a request are skipped by everyone.
            None if !head.begun => {}
            None => self.head_ends(),
            Some(_) if !head.begun => head.begun = true,
            Some(b't' | b'T') if value(line, b"transfer-encoding").is_some() => head.chunked = true,
            Some(b'c' | b'C') => {
                if let Some(value) = value(line, b"content-length") {
                    match number(value, 10).filter(|_| whole) {
                        Some(length) => head.length = Some(length),
                        None => self.at = At::Lost,
                    }
                }
            }
            Some(_) => {}
        }
    }

    fn head_ends(&mut self) {
        self.heads += 1;
        let head = std::mem::take(&mut self.head);
        self.at = match (head.chunked, head.length) {
            (true, Some(_)) => {
                self.ambiguous = Some(self.heads);
                // hyper ends the connection after it.
                At::Lost
            }
            (true, None) => At::ChunkSize,
            (false, None | Some(0)) => At::Head,
            (false, Some(length)) => At::Body(length),
        };
    }
}

/// What follows `name:` in a line.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    rest.strip_prefix(b":").filter(|_| start.eq_ignore_ascii_case(name))
}

/// Digits alone, spaces around them.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, radix).ok().filter(|_| digits)
}

/// What follows the line before a chunk; extensions may make it long.
fn chunk(line: &[u8], whole: bool) -> At {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // A size that is cut off is none.
    let cut = !whole && size.len() == line.len();
    match number(size, 16).filter(|_| !cut) {
        Some(0) => At::Trailers,
        Some(size) => At::Chunk(size.saturating_add(2)),
        None => At::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads seen and the first with two lengths, however the bytes are cut.
    fn check(text: &str, heads: u64, ambiguous: Option<u64>) {
        for piece in [1, 2, 3, 7, 64, text.len()] {
            let mut scan = Scan::new();
            text.as_bytes().chunks(piece).for_each(|piece| scan.read(piece));
            assert_eq!((scan.heads(), scan.ambiguous()), (heads, ambiguous), "{text:?} by {piece}");
        }
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const CL: &str = "content-length: 5\r\n";
    const TE: &str = "transfer-encoding: chunked\r\n";

    fn post(headers: &str, body: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}")
    }

    #[test]
    fn two_lengths_are_seen_in_either_order_and_wherever_they_come() {
        check(&post(&format!("{CL}{TE}"), "0\r\n\r\n"), 1, Some(1));
        check(&post(&format!("{TE}{CL}"), "0\r\n\r\n"), 1, Some(1));
        check(&post("Transfer-ENCODING:chunked\r\nx: y\r\nCONTENT-length:5\r\n", ""), 1, Some(1));
        check(&format!("POST / HTTP/1.1\nhost: x\n{CL}{TE}\n"), 1, Some(1));
        check(&format!("{GET}\r\n{GET}{}", post(&format!("{TE}{CL}"), "")), 3, Some(3));
        check(&format!("{}{}", post(CL, "hello"), post(&format!("{TE}{CL}"), "")), 2, Some(2));
        let chunks = "3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
        check(&format!("{}{}", post(TE, chunks), post(&format!("{TE}{CL}"), "")), 2, Some(2));
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
    }

    #[test]
    fn what_makes_no_sense_counts_no_further_heads() {
        for headers in ["content-length: +5\r\n", "content-length: 5, 5\r\n", "content-length:\r\n"] {
            check(&format!("{}{GET}", post(headers, "hello")), 0, None);
        }
        check(
            &format!("{}{GET}", post(&format!("content-length: {}5\r\n", " ".repeat(70)), "hello")),
            0,
            None,
        );
        check(&format!("{}{GET}", post(TE, "x\r\n\r\n")), 1, None);
        check(&format!("{}{GET}", post(TE, &format!("{}1\r\n\r\n", "0".repeat(80)))), 1, None);
    }
}
