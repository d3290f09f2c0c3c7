//! One name for a request from the handshake to its SQL: `x-request-id`, and the trace id of `traceparent` where
//! the caller brought none. Unique, not secret.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header it travels in, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// version - trace id - parent id - flags: 2 + 32 + 16 + 2 digits and three hyphens.
const TRACEPARENT_BYTES: usize = 55;

/// One request's id.
#[derive(Debug, Clone)]
pub(crate) struct RequestId {
    /// As text.
    pub(crate) header: HeaderValue,
    trace: u128,
}

/// Makes ids; one per thread, so that threads share nothing.
#[derive(Debug)]
pub(crate) struct RequestIds {
    state: Cell<u64>,
}

impl RequestIds {
    /// Ids that no other thread or process makes: the start is random.
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        #[expect(clippy::expect_used, reason = "the same call makes every key of this process")]
        aws_lc_rs::rand::fill(&mut seed).expect("the system gives randomness");
        Self { state: Cell::new(u64::from_le_bytes(seed)) }
    }

    /// The id of a request: a trusted proxy's own, or a new one.
    pub(crate) fn of(&self, trusted: bool, headers: &HeaderMap) -> RequestId {
        let trace = u128::from(self.next()) << 64 | u128::from(self.next());
        let brought = headers.get(REQUEST_ID).filter(|value| trusted && is_id(value));
        let mut header = match brought {
            Some(value) => value.clone(),
            None => HeaderValue::from_bytes(&hex::<32>(trace)).unwrap_or(HeaderValue::from_static("-")),
        };
        // Different each time: HPACK would fill the connection's table with it (RFC 7541 7.1.3).
        header.set_sensitive(true);
        RequestId { header, trace }
    }

    /// A new id.
    pub(crate) fn fresh(&self) -> RequestId {
        self.of(false, &HeaderMap::new())
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): every state once in 2^64 steps.
    fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl RequestId {
    /// As text, for logs and problem answers.
    pub(crate) fn as_str(&self) -> &str {
        self.header.to_str().unwrap_or("-")
    }

    /// `traceparent`: the caller's if it is one, else a new trace with this request's id.
    pub(crate) fn traceparent(&self, headers: &HeaderMap) -> [u8; TRACEPARENT_BYTES] {
        let mut brought = headers.get_all(TRACEPARENT).iter();
        if let (Some(value), None) = (brought.next(), brought.next())
            && is_traceparent(value.as_bytes())
            && let Ok(brought) = value.as_bytes().try_into()
        {
            return brought;
        }
        let mut text = [b'-'; TRACEPARENT_BYTES];
        text[..2].copy_from_slice(b"00");
        text[3..35].copy_from_slice(&hex::<32>(self.trace));
        // A parent id of zeros is invalid; the lowest bit keeps it from ever being one.
        text[36..52].copy_from_slice(&hex::<16>((self.trace >> 64) | 1));
        text[53..].copy_from_slice(b"00");
        text
    }
}

fn is_id(value: &HeaderValue) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b);
    (1..=128).contains(&value.len()) && value.as_bytes().iter().all(plain)
}

/// Version 00: lower-case hex, neither id all zeros.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let id = |part: &[u8]| hex(part) && part.iter().any(|b| *b != b'0');
    value.len() == TRACEPARENT_BYTES
        && value.starts_with(b"00-")
        && (value[35], value[52]) == (b'-', b'-')
        && id(&value[3..35])
        && id(&value[36..52])
        && hex(&value[53..])
}

/// The lowest `N` hex digits.
fn hex<const N: usize>(number: u128) -> [u8; N] {
    let mut text = [b'0'; N];
    let mut rest = number;
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
        rest >>= 4;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn ids_are_new_unless_a_trusted_proxy_brings_a_plain_one() {
        let ids = RequestIds::new();
        let brought = headers(REQUEST_ID, "abc-123");
        assert_eq!(ids.of(true, &brought).as_str(), "abc-123");
        let (one, two) = (ids.of(false, &brought), ids.of(false, &brought));
        assert_ne!(one.as_str(), two.as_str());
        assert!(one.as_str().len() == 32 && one.as_str() != "abc-123");
        assert_eq!(ids.of(true, &headers(REQUEST_ID, "a b")).as_str().len(), 32);
    }

    #[test]
    fn a_valid_traceparent_is_passed_on_and_anything_else_replaced_by_a_valid_one() {
        let id = RequestIds::new().of(false, &HeaderMap::new());
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(id.traceparent(&headers(TRACEPARENT, good)), good.as_bytes());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            let made = id.traceparent(&headers(TRACEPARENT, bad));
            assert!(made != bad.as_bytes() && is_traceparent(&made), "{bad:?} gave {made:?}");
        }
    }
}
