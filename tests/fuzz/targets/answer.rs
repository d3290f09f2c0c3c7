//! A worker's bytes on their way to a client: however they are cut, they become the same answer or none, and what is
//! passed on holds nothing of one hop and nothing in the gateway's name.
#![no_main]

use gateway::fuzz::answered;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for to_head in [false, true] {
        let whole = answered(bytes, bytes.len(), to_head);
        for piece in [1, 2, 7, 64] {
            let pieces = answered(bytes, piece, to_head);
            if whole.malformed {
                assert!(pieces.malformed, "in pieces of {piece} it makes sense: {pieces:?}, at once: {whole:?}");
            } else {
                assert_eq!(pieces, whole, "in pieces of {piece}");
            }
        }
        assert!(!whole.whole || !whole.malformed);
        assert!(whole.body.len() + whole.left_bytes <= bytes.len());
        assert!(!to_head || whole.body.is_empty(), "a body to HEAD");
        for (name, value) in &whole.headers {
            assert!(!name.starts_with("x-gateway-") && !name.starts_with("access-control-"), "{name}");
            assert!(!["connection", "keep-alive", "transfer-encoding", "upgrade"].contains(&name.as_str()), "{name}");
            assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}: {value:?}");
        }
        let framing = |name: &String| ["content-length", "transfer-encoding", "set-cookie"].contains(&name.as_str());
        assert!(!whole.trailers.iter().any(framing), "{:?}", whole.trailers);
    }
});
