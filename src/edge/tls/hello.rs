//! What rustls does not tell of a ClientHello: which key shares came with it, and what its tickets' keys were made with.
//! It reads along and decides nothing: what it cannot read is as if it had not been there.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use rustls::NamedGroup;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A ClientHello with post-quantum key shares and tickets has 2 to 4 KB; of longer ones nothing is known.
const BYTES_MAX: usize = 16 * 1024;

/// Record and handshake types, and extensions (RFC 8446 5.1, 4, 4.2).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const PRE_SHARED_KEY: u16 = 41;
const KEY_SHARE: u16 = 51;

/// The proof for a ticket is as long as the hash that its key was made with.
const SHA384_BYTES: usize = 48;

/// A stream that keeps a copy of the first bytes read from it.
pub(super) struct Overheard<IO> {
    pub(super) io: IO,
    pub(super) bytes: Vec<u8>,
}

impl<IO> Overheard<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, bytes: Vec::new() }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Overheard<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let outcome = Pin::new(&mut this.io).poll_read(cx, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        let room = BYTES_MAX.saturating_sub(this.bytes.len()).min(new.len());
        this.bytes.extend_from_slice(&new[..room]);
        outcome
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Overheard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Does this ClientHello bring a ticket whose key was made with SHA-384, and no key share of that group?
pub(super) fn brings_sha384_ticket_without(group: NamedGroup, records: &[u8]) -> bool {
    seen(records).is_some_and(|seen| seen.sha384 && !seen.groups.contains(&u16::from(group)))
}

/// What was looked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Groups of the key shares.
    groups: Vec<u16>,
    /// A ticket's proof is as long as SHA-384.
    sha384: bool,
}

fn seen(records: &[u8]) -> Option<Seen> {
    let message = message(records)?;
    let mut hello = Reader(&message);
    // Version and random, session id, ciphers, compression (RFC 8446 4.1.2).
    hello.take(2 + 32)?;
    hello.list(1)?;
    hello.list(2)?;
    hello.list(1)?;
    let mut extensions = Reader(hello.list(2)?);
    let mut seen = Seen::default();
    while !extensions.0.is_empty() {
        let (kind, body) = (extensions.number(2)?, extensions.list(2)?);
        match u16::try_from(kind).ok()? {
            KEY_SHARE => {
                let mut shares = Reader(Reader(body).list(2)?);
                while !shares.0.is_empty() {
                    seen.groups.push(u16::try_from(shares.number(2)?).ok()?);
                    shares.list(2)?;
                }
            }
            PRE_SHARED_KEY => {
                let mut body = Reader(body);
                let _identities = body.list(2)?;
                let mut binders = Reader(body.list(2)?);
                while !binders.0.is_empty() {
                    seen.sha384 |= binders.list(1)?.len() == SHA384_BYTES;
                }
            }
            _ => {}
        }
    }
    Some(seen)
}

/// The first handshake message, put together from its records, if it is a ClientHello and all of it is there.
fn message(records: &[u8]) -> Option<Vec<u8>> {
    let (mut records, mut bytes) = (Reader(records), Vec::new());
    loop {
        if let Some((head, body)) = bytes.split_first_chunk::<4>() {
            let mut head = Reader(head);
            let (kind, length) = (head.number(1)?, head.number(3)?);
            if kind != usize::from(CLIENT_HELLO) {
                return None;
            }
            if body.len() >= length {
                return body.get(..length).map(<[u8]>::to_vec);
            }
        }
        let (kind, _version) = (records.number(1)?, records.number(2)?);
        if kind != usize::from(HANDSHAKE) {
            return None;
        }
        bytes.extend_from_slice(records.list(2)?);
    }
}

/// Numbers and lists with their lengths before them, as TLS writes them.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        self.take(bytes).map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn list(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(length_bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::NamedGroup::{X25519, X25519MLKEM768};

    use super::*;

    fn list(length_bytes: usize, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len().to_be_bytes();
        [&length[length.len() - length_bytes..], bytes].concat()
    }

    /// Records of `fragment` bytes with a ClientHello that has these key shares and proofs of that many bytes.
    fn hello(groups: &[NamedGroup], binders: &[usize], fragment: usize) -> Vec<u8> {
        let share = |group: &NamedGroup| [u16::from(*group).to_be_bytes().to_vec(), list(2, b"key")].concat();
        let shares = list(2, &groups.iter().map(share).collect::<Vec<_>>().concat());
        let proofs: Vec<_> = binders.iter().map(|bytes| list(1, &vec![7; *bytes])).collect();
        let tickets = [list(2, b"ticket"), list(2, &proofs.concat())].concat();
        let mut extensions = [vec![0, 51], list(2, &shares)].concat();
        if !binders.is_empty() {
            extensions.extend([vec![0, 41], list(2, &tickets)].concat());
        }
        let body = [vec![0; 34], list(1, b"id"), list(2, &[19, 1]), list(1, &[0]), list(2, &extensions)];
        let message = [vec![1], list(3, &body.concat())].concat();
        message.chunks(fragment).flat_map(|part| [vec![22, 3, 1], list(2, part)].concat()).collect()
    }

    #[test]
    fn a_ticket_of_sha384_is_told_by_its_proof_and_key_shares_by_their_groups() {
        for (groups, binders, want) in [
            (&[X25519][..], &[48][..], true),
            (&[X25519], &[32, 48], true),
            (&[X25519], &[32], false),
            (&[X25519], &[], false),
            (&[], &[48], true),
            (&[X25519MLKEM768, X25519], &[48], false),
        ] {
            for fragment in [1, 7, 4096] {
                let records = hello(groups, binders, fragment);
                let is = brings_sha384_ticket_without(X25519MLKEM768, &records);
                assert_eq!(is, want, "{groups:?} {binders:?} in records of {fragment}");
                // Not all of it has come.
                assert!(!brings_sha384_ticket_without(X25519MLKEM768, &records[..records.len() - 1]));
            }
        }
    }

    #[tokio::test]
    async fn what_is_read_is_overheard_up_to_a_limit() {
        use tokio::io::AsyncReadExt;
        let sent = vec![9; BYTES_MAX + 5];
        let mut stream = Overheard::new(&sent[..]);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!((read.len(), stream.bytes.len()), (sent.len(), BYTES_MAX));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_to_its_end(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..200,
        ) {
            let mut records = hello(&[X25519], &[48], 50);
            for (index, byte) in noise.iter().enumerate() {
                if let Some(place) = records.get_mut(at + index) {
                    *place ^= byte;
                }
            }
            let _either = brings_sha384_ticket_without(X25519MLKEM768, &records);
            let _nothing = brings_sha384_ticket_without(X25519MLKEM768, &noise);
        }
    }
}
