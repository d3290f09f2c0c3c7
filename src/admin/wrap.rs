//! Secrets in a backup: wrapped under a key that comes from a passphrase, so that the archive alone opens no
//! database. PBKDF2-HMAC-SHA-256, then AES-256-GCM with the item's name as associated data.

use std::num::NonZeroU32;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    pbkdf2,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// OWASP's figure for PBKDF2-HMAC-SHA-256 (2023): about a third of a second on a small VPS, once a backup.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

/// An archive may ask for more than we do, but not for a day of our time.
const ITERATIONS_MAX: u32 = 10_000_000;

/// How the key came from the passphrase; stands in the archive's first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Derivation {
    /// `pbkdf2-hmac-sha256`.
    pub(crate) kdf: String,
    /// Rounds.
    pub(crate) iterations: u32,
    /// Random, base64.
    pub(crate) salt: String,
}

/// Why something cannot be wrapped or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrapProblem {
    /// Wrong passphrase, or changed bytes: by design there is no telling which.
    #[error("the passphrase is wrong, or the archive was changed")]
    DoesNotOpen,
    /// Made by something that we do not know.
    #[error("the archive's key derivation is not known to this version")]
    Unknown,
}

/// The key that wraps and opens the secrets of one archive.
pub(crate) struct Wrap(LessSafeKey);

impl Wrap {
    /// A fresh salt and the key for it. Takes a good part of a second of CPU.
    pub(crate) fn new(passphrase: &str) -> Result<(Self, Derivation), WrapProblem> {
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| WrapProblem::Unknown)?;
        let derivation = Derivation {
            kdf: "pbkdf2-hmac-sha256".to_owned(),
            iterations: ITERATIONS.get(),
            salt: STANDARD.encode(salt),
        };
        Ok((Self::again(passphrase, &derivation)?, derivation))
    }

    /// The key of an existing archive.
    pub(crate) fn again(passphrase: &str, derivation: &Derivation) -> Result<Self, WrapProblem> {
        let salt = STANDARD.decode(&derivation.salt).map_err(|_| WrapProblem::Unknown)?;
        let iterations = NonZeroU32::new(derivation.iterations)
            .filter(|rounds| {
                (ITERATIONS..=NonZeroU32::MAX).contains(rounds) && rounds.get() <= ITERATIONS_MAX
            })
            .ok_or(WrapProblem::Unknown)?;
        if derivation.kdf != "pbkdf2-hmac-sha256" || salt.len() < 16 {
            return Err(WrapProblem::Unknown);
        }
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, passphrase.as_bytes(), &mut key[..]);
        UnboundKey::new(&AES_256_GCM, &key[..])
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| WrapProblem::Unknown)
    }

    /// Wrap `secret` under `name`: nonce, ciphertext, tag.
    pub(crate) fn wrap(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, WrapProblem> {
        let mut nonce = [0; 12];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| WrapProblem::Unknown)?;
        let mut sealed = secret.to_vec();
        let aad = Aad::from(name.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| WrapProblem::Unknown)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Open what was wrapped under the same name.
    pub(crate) fn open(&self, name: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapProblem> {
        let (nonce, sealed) = wrapped.split_at_checked(12).ok_or(WrapProblem::DoesNotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| WrapProblem::DoesNotOpen)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| WrapProblem::DoesNotOpen)?
            .len();
        sealed.truncate(length);
        Ok(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_opens_with_the_same_passphrase_and_name_only() {
        let (wrap, derivation) = Wrap::new("four random words").unwrap();
        let wrapped = wrap.wrap("seal.key", b"secret").unwrap();
        assert!(!wrapped.windows(6).any(|window| window == b"secret"));
        let again = Wrap::again("four random words", &derivation).unwrap();
        assert_eq!(again.open("seal.key", &wrapped).unwrap().as_slice(), b"secret");
        assert_eq!(again.open("other.key", &wrapped).unwrap_err(), WrapProblem::DoesNotOpen);
        let other = Wrap::again("five random words", &derivation).unwrap();
        assert_eq!(other.open("seal.key", &wrapped).unwrap_err(), WrapProblem::DoesNotOpen);
        for index in 0..wrapped.len() {
            let mut tampered = wrapped.clone();
            tampered[index] ^= 1;
            assert!(again.open("seal.key", &tampered).is_err(), "byte {index} could be changed");
        }
        for length in 0..wrapped.len() {
            assert!(again.open("seal.key", &wrapped[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_derivation_that_is_weak_endless_or_unknown_is_refused() {
        let good = Derivation {
            kdf: "pbkdf2-hmac-sha256".to_owned(),
            iterations: ITERATIONS.get(),
            salt: STANDARD.encode([7; 16]),
        };
        let bad = [
            Derivation { iterations: 1, ..good.clone() },
            Derivation { iterations: u32::MAX, ..good.clone() },
            Derivation { kdf: "md5".to_owned(), ..good.clone() },
            Derivation { salt: String::new(), ..good.clone() },
            Derivation { salt: "%".to_owned(), ..good },
        ];
        for derivation in bad {
            assert_eq!(Wrap::again("x", &derivation).err(), Some(WrapProblem::Unknown), "{derivation:?}");
        }
    }
}
