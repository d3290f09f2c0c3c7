//! Certificates that the operator brings. Whatever browsers would refuse is refused here, with the remedy; nothing
//! is half taken over. The key is never repeated in words.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    super::EdgeError,
    inventory::{self, CertificateView},
    pair::{Half, Pair},
    vault::{Kept, Vault},
};

/// A chain of four with a hundred names is 20 KiB.
const PEM_BYTES_MAX: usize = 128 * 1024;

/// A certificate to keep.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportOrder {
    /// PEM, the host's own certificate first.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
}

/// A certificate that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Imported {
    /// What it is.
    pub(crate) certificate: CertificateView,
    /// What is right, but probably not meant.
    pub(crate) warnings: Vec<String>,
}

/// Why it was not.
#[derive(Debug)]
pub(crate) enum ImportProblem {
    /// The certificate or key will not do.
    Unfit {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It could not be written.
    Machine(EdgeError),
}

/// The vault's id for a host.
fn id(host: &str) -> String {
    match host.strip_prefix("*.") {
        // No host's first label is a lone underscore.
        Some(base) => format!("_.{base}"),
        None => host.to_owned(),
    }
}

pub(super) fn remove(vault: &Vault, host: &str) -> Result<bool, EdgeError> {
    let id = id(host);
    let is_there = vault.all().iter().any(|one| one.kept == Kept::Imported && one.id == id);
    vault.remove(Kept::Imported, &id)?;
    Ok(is_there)
}

pub(super) fn import(
    vault: &Vault,
    host: &str,
    order: &ImportOrder,
    now: Timestamp,
) -> Result<Imported, ImportProblem> {
    let warnings = judge(host, order, now)?;
    let kept =
        vault.store(Kept::Imported, &id(host), &order.chain, &order.key).map_err(ImportProblem::Machine)?;
    Ok(Imported { certificate: inventory::kept(&kept), warnings })
}

/// Why it would be refused for that host now, if it would.
pub(crate) fn unfit_for(host: &str, order: &ImportOrder, now: Timestamp) -> Option<String> {
    match judge(host, order, now) {
        Err(ImportProblem::Unfit { reason, .. }) => Some(reason),
        Err(ImportProblem::Machine(error)) => Some(error.to_string()),
        Ok(_) => None,
    }
}

fn unfit(reason: impl Into<String>, remedy: &'static str) -> ImportProblem {
    ImportProblem::Unfit { reason: reason.into(), remedy }
}

/// Everything that can be said of it without serving it.
fn judge(host: &str, order: &ImportOrder, now: Timestamp) -> Result<Vec<String>, ImportProblem> {
    if order.chain.len().max(order.key.len()) > PEM_BYTES_MAX {
        let reason = format!("a chain or key of more than {} KiB is none", PEM_BYTES_MAX / 1024);
        return Err(unfit(reason, "name the PEM files of this one certificate"));
    }
    let pair = Pair::read(order.chain.as_bytes(), order.key.as_bytes()).map_err(|wrong| match wrong.half {
        Half::Chain => unfit(
            format!("the certificate cannot be used: {}", wrong.reason),
            "give --cert a PEM file with the whole chain, the host's own certificate first",
        ),
        Half::Key => unfit(
            format!("the key cannot be used: {}", wrong.reason),
            "give --key the PEM file of the key that the first certificate in --cert was made for, without a \
             passphrase (`openssl pkey -in KEY -out PLAIN` takes it off)",
        ),
    })?;
    if !covers(&pair.leaf.names, host) {
        let reason = format!("the certificate is not good for `{host}`, but for {}", some(&pair.leaf.names));
        return Err(unfit(reason, "name one of its hosts, or import the certificate of this one"));
    }
    if pair.leaf.not_after <= now {
        let reason = format!("the certificate ended on {}", day(pair.leaf.not_after));
        return Err(unfit(reason, "import its successor"));
    }
    if pair.leaf.not_before > now {
        let reason = format!("the certificate begins only on {}", day(pair.leaf.not_before));
        return Err(unfit(reason, "import it then; if that is past, this machine's clock is wrong"));
    }
    judge_chain(&pair.certified.cert)
}

/// Each certificate must be signed by the next; clients that are strict refuse anything else.
fn judge_chain(chain: &[CertificateDer<'static>]) -> Result<Vec<String>, ImportProblem> {
    let read = |der: &CertificateDer<'static>| {
        X509Certificate::from_der(der).map(|(_, one)| (one.subject().to_string(), one.issuer().to_string()))
    };
    let names: Vec<_> = chain.iter().map(read).collect::<Result<_, _>>().map_err(|error| {
        unfit(
            format!("a certificate of the chain cannot be read: {error}"),
            "fetch the chain from its authority",
        )
    })?;
    for (at, pair) in names.windows(2).enumerate() {
        if let [(_, issuer), (subject, _)] = pair
            && issuer != subject
        {
            return Err(unfit(
                format!(
                    "the chain is out of order: certificate {} is signed by `{issuer}`, and after it comes \
                     `{subject}`",
                    at + 1
                ),
                "put the host's own first, then each one's signer (certbot: fullchain.pem)",
            ));
        }
    }
    let mut warnings = Vec::new();
    if let Some(leaf) = chain.first()
        && let Ok((_, leaf)) = X509Certificate::from_der(leaf)
    {
        let usage = leaf.extended_key_usage().ok().flatten();
        if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
            return Err(unfit(
                "the certificate is not for servers (no `serverAuth` in its extended key usage)",
                "ask its authority for a TLS server certificate",
            ));
        }
        if leaf.is_ca() {
            warnings.push("it is the certificate of an authority, which strict clients refuse to see".into());
        }
    }
    match names.as_slice() {
        [(subject, issuer)] if subject == issuer => {
            warnings.push("it is signed by itself: only clients that were given it will trust it".into());
        }
        [(_, issuer)] => warnings.push(format!(
            "the chain ends at the host's own certificate: clients that do not know `{issuer}` will refuse it"
        )),
        _ => {}
    }
    Ok(warnings)
}

fn covers(names: &[String], host: &str) -> bool {
    let wildcard = host.split_once('.').map(|(_, base)| format!("*.{base}"));
    names.iter().any(|name| name == host || (!host.starts_with('*') && Some(name) == wildcard.as_ref()))
}

fn some(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        [first, second, third, _, ..] => {
            format!("`{first}`, `{second}`, `{third}` and {} more", names.len() - 3)
        }
        few => few.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

fn day(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests;
