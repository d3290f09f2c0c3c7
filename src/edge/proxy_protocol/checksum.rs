//! CRC32c, for the header that carries its own. One bit at a time: a header is short, and few carry one. It must
//! never be used for anything that attackers may not forge.

use std::ops::Range;

/// Castagnoli's polynomial, reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of `bytes`, with those in `hole` taken as zero.
pub(super) fn crc32c_without(bytes: &[u8], hole: Range<usize>) -> u32 {
    let mut sum = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        sum ^= if hole.contains(&at) { 0 } else { u32::from(*byte) };
        for _ in 0..8 {
            sum = (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c_without(b"123456789", 0..0), 0xe306_9283);
        assert_eq!(crc32c_without(&[0; 32], 0..0), 0x8a91_36aa);
        assert_eq!(crc32c_without(&[0xff; 32], 0..32), 0x8a91_36aa);
    }
}
