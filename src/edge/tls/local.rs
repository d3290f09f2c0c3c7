//! An own certificate authority for development: made once, kept in the state directory, signing a leaf for each
//! known name when it is first asked for. Its key never leaves its 0600 file and this process.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{super::EdgeError, pair};

/// A leaf's life: long enough for a laptop that sleeps, far below what browsers take (398 days).
const LEAF_DAYS: i64 = 90;

/// A leaf is made anew at a third of that.
const LEAF_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The CA's life: nobody should have to trust a new one while a project lives.
const CA_DAYS: i64 = 3650;

/// The CA and the leaves it has signed in this process.
pub(super) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_path: PathBuf,
    leaves: ArcSwap<HashMap<String, LocalLeaf>>,
}

/// A leaf of the CA.
#[derive(Clone)]
pub(super) struct LocalLeaf {
    /// What rustls serves.
    pub(super) certified: Arc<CertifiedKey>,
    /// From when until when it is good.
    pub(super) life: (jiff::Timestamp, jiff::Timestamp),
    made: Instant,
}

impl LocalCa {
    /// The CA of that directory, made if there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, EdgeError> {
        let (certificate_path, key_path) = (directory.join("ca.pem"), directory.join("ca.key"));
        if !key_path.exists() || !certificate_path.exists() {
            make(directory, &certificate_path, &key_path)?;
        }
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| EdgeError::File { path: path.to_owned(), source })
        };
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |error: rcgen::Error| EdgeError::Certificate { path, reason: error.to_string() }
        };
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(wrong(&key_path))?;
        let issuer =
            Issuer::from_ca_cert_pem(&read(&certificate_path)?, key).map_err(wrong(&certificate_path))?;
        Ok(Self { issuer, certificate_path, leaves: ArcSwap::default() })
    }

    /// Where the CA's certificate is.
    pub(super) fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    /// The certificate for a known name, signed now if need be; none was asked for: this machine's addresses.
    pub(super) fn certificate(&self, name: Option<&str>) -> Option<LocalLeaf> {
        let key = name.unwrap_or("");
        if let Some(leaf) = self.leaves.load().get(key)
            && leaf.made.elapsed() < LEAF_AGE_MAX
        {
            return Some(leaf.clone());
        }
        match self.sign(name) {
            Ok(leaf) => {
                self.leaves.rcu(|leaves| {
                    let mut leaves = HashMap::clone(leaves);
                    leaves.insert(key.to_owned(), leaf.clone());
                    leaves
                });
                Some(leaf)
            }
            Err(error) => {
                tracing::error!(host = key, "{error}");
                None
            }
        }
    }

    fn sign(&self, name: Option<&str>) -> Result<LocalLeaf, EdgeError> {
        let names = match name {
            Some(name) => vec![name.to_owned()],
            None => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name.unwrap_or("localhost"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        live(&mut params, LEAF_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let about = pair::Leaf::read(certificate.der())
            .map_err(|reason| EdgeError::Certificate { path: self.certificate_path.clone(), reason })?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&der)?);
        let life = (about.not_before, about.not_after);
        Ok(LocalLeaf { certified: Arc::new(certified), life, made: Instant::now() })
    }
}

/// Make a CA; both files whole or not at all.
fn make(directory: &Path, certificate_path: &Path, key_path: &Path) -> Result<(), EdgeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EdgeError::File { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
    let mut params = CertificateParams::new(Vec::new())?;
    // The machine's name tells several people's CAs apart in a browser's list.
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = format!("gateway local CA {}", machine.trim());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    live(&mut params, CA_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write(key_path, key.serialize_pem().as_bytes(), 0o600).map_err(failed(key_path))?;
    write(certificate_path, certificate.pem().as_bytes(), 0o644).map_err(failed(certificate_path))
}

fn live(params: &mut CertificateParams, days: i64) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let date = |date: jiff::civil::Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    // Yesterday: clocks of phones differ.
    params.not_before = date(today.saturating_sub(jiff::Span::new().days(1)));
    params.not_after = date(today.saturating_add(jiff::Span::new().days(days)));
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}
