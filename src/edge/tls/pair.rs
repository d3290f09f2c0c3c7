//! A chain and its key as they lie in files, read and proven to belong together. What is not a pair is refused
//! with the reason; no error says anything of what a key file holds.

use std::{fmt, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use rustls::{
    InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// A certificate with its key, ready to be served.
#[derive(Debug)]
pub(crate) struct Pair {
    /// What rustls serves.
    pub(crate) certified: Arc<CertifiedKey>,
    /// What the leaf says.
    pub(crate) leaf: Leaf,
}

/// What a leaf says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Names and addresses it is good for, lower-case.
    pub(crate) names: Vec<String>,
    /// Who signed it.
    pub(crate) issuer: String,
    /// From when.
    pub(crate) not_before: Timestamp,
    /// Until when.
    pub(crate) not_after: Timestamp,
}

/// The half of a pair that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// The chain.
    Chain,
    /// The key.
    Key,
}

/// Why two texts are no pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// Which of them.
    pub(crate) half: Half,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Pair {
    /// Read both halves; they must belong together.
    pub(crate) fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, Unfit> {
        let chain_unfit = |reason: String| Unfit { half: Half::Chain, reason };
        let key_unfit = |reason: String| Unfit { half: Half::Key, reason };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|error| chain_unfit(format!("it is no PEM: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(chain_unfit("there is no certificate in it".to_owned()));
        };
        let leaf = Leaf::read(leaf).map_err(chain_unfit)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| key_unfit(no_key(&error)))?;
        let key = any_supported_type(&key).map_err(|error| key_unfit(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Unknown is said of key types that cannot be compared.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self { certified: Arc::new(certified), leaf })
            }
            Err(_) => Err(key_unfit("it is the key of another certificate".to_owned())),
        }
    }
}

fn no_key(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "there is no private key in it that opens without a passphrase".to_owned()
        }
        error => format!("it is no PEM: {error}"),
    }
}

impl Leaf {
    /// Read the names, issuer and dates of a certificate.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let alternative = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = alternative.map(|list| list.value.general_names.iter().filter_map(name).collect());
        let date = |at: x509_parser::time::ASN1Time| {
            Timestamp::from_second(at.timestamp()).map_err(|error| error.to_string())
        };
        Ok(Self {
            names: names.unwrap_or_default(),
            issuer: certificate.issuer().to_string(),
            not_before: date(certificate.validity().not_before)?,
            not_after: date(certificate.validity().not_after)?,
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|v4| IpAddr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    }
}
