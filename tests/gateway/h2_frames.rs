//! HTTP/2 by hand: frames, and header blocks without compression, exactly as the test writes them. No library would
//! send what these tests must send. It reads of an answer what tests judge: status, body, resets and goodbyes.

use std::io;

use crate::{Client, HOST, Wire};

/// Frame types (RFC 9113 6).
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;

/// Flags.
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// What every client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With an answer.
    Answered {
        /// `:status`.
        status: u16,
        /// All of its body.
        body: Vec<u8>,
    },
    /// The stream was reset with this code.
    Reset(u32),
    /// The connection ended with this code.
    GoneAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// The bytes of one frame, whatever sense it makes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block: every field a literal that is not indexed, uncompressed (RFC 7541 6.2.2).
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(name.as_ref(), &mut bytes);
        string(value.as_ref(), &mut bytes);
    }
    bytes
}

/// A HEADERS frame that ends its header block; more flags as given.
pub(crate) fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(stream: u32, flags: u8, fields: &[(N, V)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// The header fields of an ordinary GET to the test host.
pub(crate) fn get(path: &str) -> Vec<(&'static str, String)> {
    vec![
        (":method", "GET".to_owned()),
        (":scheme", "https".to_owned()),
        (":authority", HOST.to_owned()),
        (":path", path.to_owned()),
    ]
}

/// RFC 7541 5.2, not Huffman.
fn string(text: &[u8], bytes: &mut Vec<u8>) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap());
    }
    bytes.extend(text);
}

/// One HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct H2 {
    wire: Wire,
}

impl H2 {
    /// Connect over TLS, say the preface, and ask for answers that need no memory to be read.
    pub(crate) fn open(client: &Client) -> Self {
        let mut wire = Wire::tls(client.https(), HOST, client.tls(&["h2"]));
        // SETTINGS_HEADER_TABLE_SIZE = 0: every answer's head can be read by itself.
        let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        wire.send([PREFACE, &settings].concat());
        Self { wire }
    }

    /// Send exactly these bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes);
    }

    /// A peer that takes nothing for this long is given up.
    pub(crate) fn give_up_writing_after(&self, patience: std::time::Duration) {
        self.wire.give_up_writing_after(patience);
    }

    /// Send as much as the peer takes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.try_send(bytes)
    }

    /// The next frame, or how the connection ended instead.
    pub(crate) fn frame(&mut self) -> io::Result<Frame> {
        let head = self.wire.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.wire.exactly(length as usize)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Read on until this stream, or the connection, has ended. Pings and settings are answered on the way.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let Ok(next) = self.frame() else { return Outcome::Closed };
            match next.kind {
                SETTINGS if next.flags & ACK == 0 => drop(self.try_send(frame(SETTINGS, ACK, 0, &[]))),
                PING if next.flags & ACK == 0 => drop(self.try_send(frame(PING, ACK, 0, &next.payload))),
                GOAWAY => match u32::from_be_bytes(next.payload[4..8].try_into().unwrap()) {
                    // A goodbye without blame: what is in flight ends first.
                    0 => continue,
                    code => return Outcome::GoneAway(code),
                },
                _ if next.stream != stream => continue,
                RST_STREAM => return reset(&next.payload, (status, body)),
                // Interim answers come first, trailers last.
                HEADERS if status.is_none_or(|status: u16| status < 200) => {
                    status = Some(status_of(&next.payload));
                }
                DATA => body.extend(&next.payload),
                _ => {}
            }
            if next.stream == stream && matches!(next.kind, HEADERS | DATA) && next.flags & END_STREAM != 0 {
                return Outcome::Answered { status: status.unwrap_or_default(), body };
            }
        }
    }
}

/// A reset without an error after a whole answer only says that the rest of the request is not wanted.
fn reset(payload: &[u8], (status, body): (Option<u16>, Vec<u8>)) -> Outcome {
    match (u32::from_be_bytes(payload[..4].try_into().unwrap()), status) {
        (0, Some(status)) => Outcome::Answered { status, body },
        (code, _) => Outcome::Reset(code),
    }
}

/// The status in an answer's header block, where it comes first.
pub(crate) fn status_of(block: &[u8]) -> u16 {
    // Changes of the table's size may come before.
    let block = &block[block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap()..];
    match block[0] {
        // The static table knows these whole.
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // Literal whose name is `:status`: with index (8..=14) 0x48.., without 0x08.., never 0x18...
        _ => {
            let (length, text) = (block[1] & 0x7f, &block[2..]);
            let text = &text[..usize::from(length)];
            let digits = if block[1] & 0x80 == 0 { text.to_vec() } else { digits(text) };
            std::str::from_utf8(&digits).unwrap().parse().unwrap()
        }
    }
}

/// Three digits in Huffman's code (RFC 7541 B): 0, 1 and 2 have five bits, the others six.
fn digits(text: &[u8]) -> Vec<u8> {
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut digits = Vec::new();
    while digits.len() < 3 {
        let code = (0..5).fold(0, |code, _| code << 1 | bits.next().unwrap());
        let digit = if code < 3 { code } else { (code << 1 | bits.next().unwrap()) - 0x19 + 3 };
        digits.push(b'0' + u8::try_from(digit).unwrap());
    }
    digits
}
