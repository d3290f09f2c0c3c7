//! Where heads begin and end, however the bytes are cut, against a model that looks at all of them at once.

use proptest::prelude::*;

use super::*;

const DATA: u8 = 0x0;
const PING: u8 = 0x6;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = u32::try_from(payload).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    // Payloads that look like heads of frames.
    bytes.extend([0, 0, 9, HEADERS, 0].iter().cycle().take(payload));
    bytes
}

fn stream(frames: &[(u8, u8, usize)]) -> Vec<u8> {
    let frames = frames.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, *payload));
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().copied().chain(frames).collect()
}

/// How many heads are over in these bytes, the preface counted, and whether they end within one.
fn model(bytes: &[u8]) -> (usize, bool) {
    let Some(mut rest) = bytes.get(PREFACE_BYTES..) else { return (0, true) };
    let (mut over, mut within) = (1, false);
    loop {
        let is_head = rest.get(3).is_some_and(|kind| [HEADERS, CONTINUATION].contains(kind));
        within |= is_head;
        if rest.len() < FRAME_HEAD_BYTES {
            return (over, within);
        }
        let end = FRAME_HEAD_BYTES + u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let ends = is_head && rest[4] & END_HEADERS != 0;
        let Some(after) = rest.get(end..) else { return (over, within) };
        if ends {
            (over, within) = (over + 1, false);
        }
        rest = after;
    }
}

#[track_caller]
fn check(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) {
    let mut blocks = Blocks::new();
    let mut from = 0;
    for to in cuts.into_iter().chain([bytes.len()]) {
        let to = to.clamp(from, bytes.len());
        let over = blocks.read(&bytes[from..to]);
        let (before, (after, within)) = (model(&bytes[..from]).0, model(&bytes[..to]));
        assert_eq!((over, blocks.is_within()), (after > before, within), "{from}..{to} of {bytes:?}");
        from = to;
    }
}

#[test]
fn a_head_is_waited_for_from_its_first_byte_to_its_last_and_nothing_else_is() {
    for (frames, within) in [
        (&[][..], false),
        (&[(HEADERS, END_HEADERS, 20)], false),
        (&[(HEADERS, END_HEADERS, 0)], false),
        (&[(HEADERS, 0, 20)], true),
        (&[(HEADERS, 0, 20), (CONTINUATION, 0, 0)], true),
        (&[(HEADERS, 0, 20), (CONTINUATION, 0, 3), (CONTINUATION, END_HEADERS, 3)], false),
        (&[(HEADERS, END_HEADERS, 20), (DATA, 0, 100), (PING, 0, 8)], false),
        (&[(DATA, END_HEADERS, 100), (HEADERS, 0, 1)], true),
    ] {
        let bytes = stream(frames);
        let mut blocks = Blocks::new();
        blocks.read(&bytes);
        assert_eq!(blocks.is_within(), within, "{frames:?}");
        // Every byte by itself, and every cut in two.
        check(&bytes, 0..bytes.len());
        (0..bytes.len()).for_each(|cut| check(&bytes, [cut]));
    }
    // Of a frame that is known to be of a head, and of one that is not.
    for (kind, have, within) in
        [(HEADERS, 3, false), (HEADERS, 4, true), (HEADERS, 9, true), (DATA, 8, false)]
    {
        let mut blocks = Blocks::new();
        blocks.read(&stream(&[]));
        blocks.read(&frame(kind, END_HEADERS, 5)[..have]);
        assert_eq!(blocks.is_within(), within, "{have} bytes of type {kind}");
    }
}

proptest! {
    #[test]
    fn however_frames_are_cut_they_are_read_the_same(
        frames in proptest::collection::vec((0_u8..12, any::<u8>(), 0_usize..300), 0..12),
        mut cuts in proptest::collection::vec(0_usize..2000, 0..40),
    ) {
        cuts.sort_unstable();
        check(&stream(&frames), cuts);
    }

    #[test]
    fn bytes_without_sense_are_read_without_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        mut cuts in proptest::collection::vec(0_usize..400, 0..20),
    ) {
        cuts.sort_unstable();
        check(&bytes, cuts);
    }
}
