//! A tenant's epoch: a random number mixed into its tickets, so that a new one ends all of them at once.

use std::fmt;

/// 128 random bits; new on suspend, remove and rotate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch([u8; 16]);

impl Epoch {
    /// A new epoch from the system's randomness.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        // aws-lc's generator reseeds itself from the system and reports no usable error: a failure means
        // that the machine has no randomness at all, where going on would forge every ticket alike.
        #[expect(clippy::expect_used, reason = "without randomness no ticket is safe")]
        aws_lc_rs::rand::fill(&mut bytes).expect("the system gives randomness");
        Self(bytes)
    }

    /// The stored form.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The stored form.
    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epoch(..)")
    }
}
