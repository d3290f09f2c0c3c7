//! Where WebSocket frames end (RFC 6455 5.2): only there may the gateway put in a word of its own. Reads headers and
//! skips the rest, whatever it is; it must never refuse, change or keep what passes.

/// Two bytes, and up to eight of length.
const HEAD_BYTES_MAX: usize = 10;
const MASK_BYTES: u64 = 4;

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// One direction, as far as it has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Of the frame under way, its mask included.
    left_bytes: u64,
    closing: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// How many of these bytes belong to the frame under way.
    pub(super) fn rest(&self, bytes: &[u8]) -> usize {
        let (mut frames, mut count) = (self.clone(), 0);
        while count < bytes.len() && !frames.at_boundary() {
            count += frames.step(&bytes[count..]);
        }
        count
    }

    /// Between two frames?
    pub(super) fn at_boundary(&self) -> bool {
        self.head_bytes == 0 && self.left_bytes == 0
    }

    /// Has a close frame begun? Nothing may follow it.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Take at least one byte, and none beyond the frame's end.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left_bytes > 0 {
            let taken = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
            self.left_bytes -= taken as u64;
            return taken;
        }
        self.head[self.head_bytes] = bytes[0];
        self.head_bytes += 1;
        if let Some(payload_bytes) = self.payload_bytes() {
            self.closing |= self.head[0] & OPCODE == CLOSE;
            let mask_bytes = if self.head[1] & MASKED == 0 { 0 } else { MASK_BYTES };
            self.left_bytes = payload_bytes.saturating_add(mask_bytes);
            self.head_bytes = 0;
        }
        1
    }

    /// Known once the length is there whole.
    fn payload_bytes(&self) -> Option<u64> {
        let [_, first, long @ ..] = &self.head[..self.head_bytes] else { return None };
        match (first & LENGTH, long) {
            (126, [high, low]) => Some(u16::from_be_bytes([*high, *low]).into()),
            (127, long) => long.try_into().ok().map(u64::from_be_bytes),
            (126, _) => None,
            (short, _) => Some(short.into()),
        }
    }
}

/// A close frame (RFC 6455 5.5.1); what clients send is masked. `reason` is at most 123 bytes long.
pub(super) fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    let length = u8::try_from(payload.len()).unwrap_or(0) & LENGTH;
    let mut frame = vec![0x80 | CLOSE, length];
    match mask {
        None => frame.extend(payload),
        Some(mask) => {
            frame[1] |= MASKED;
            frame.extend(mask);
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a peer would send it, of any length there is a form for.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let lengths = prop_oneof![0..126usize, 126..400usize, Just(65_535), Just(65_536), Just(70_000)];
        (any::<u8>(), any::<bool>(), lengths, any::<bool>()).prop_map(|(first, masked, length, long)| {
            let mask_bit = if masked { MASKED } else { 0 };
            let mut frame = vec![first];
            match u16::try_from(length) {
                // A longer form than needed is wrong, but its end is where it says.
                Ok(length) if !long && length < 126 => frame.push(mask_bit | length.to_le_bytes()[0]),
                Ok(length) if !long => frame.extend([&[mask_bit | 126][..], &length.to_be_bytes()].concat()),
                _ => frame.extend([&[mask_bit | 127][..], &(length as u64).to_be_bytes()].concat()),
            }
            frame.extend(vec![0x88; length + if masked { 4 } else { 0 }]);
            frame
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_end_where_they_end_however_they_are_cut(
            frames in prop::collection::vec(frame(), 1..6), piece in 1..5_000usize,
        ) {
            let all = frames.concat();
            let mut ends: Vec<usize> = vec![0];
            frames.iter().for_each(|frame| ends.push(ends.last().unwrap() + frame.len()));
            let (mut tracker, mut at) = (Frames::default(), 0);
            for piece in all.chunks(piece) {
                let next = *ends.iter().find(|end| **end >= at).unwrap();
                prop_assert_eq!(tracker.rest(piece), piece.len().min(next - at));
                tracker.pass(piece);
                at += piece.len();
                prop_assert_eq!(tracker.at_boundary(), ends.contains(&at), "at {}", at);
            }
            let said = frames.iter().any(|frame| frame[0] & OPCODE == CLOSE);
            prop_assert_eq!(tracker.is_closing(), said);
        }

        #[test]
        fn what_are_no_frames_passes_too(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut tracker = Frames::default();
            tracker.pass(&bytes);
            prop_assert!(tracker.rest(&bytes) <= bytes.len());
        }
    }

    #[test]
    fn close_frames_say_code_and_reason() {
        assert_eq!(close_frame(1001, "bye", None), b"\x88\x05\x03\xe9bye");
        let masked = close_frame(1001, "bye", Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x85, 1, 2, 3, 4, 2, 0xeb, b'b' ^ 3, b'y' ^ 4, b'e' ^ 1]);
        let mut frames = Frames::default();
        frames.pass(&masked);
        assert!(frames.at_boundary() && frames.is_closing());
    }
}
