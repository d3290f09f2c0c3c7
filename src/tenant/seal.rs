//! Sealing: secrets lie in the registry encrypted, under a key that lies outside it. A sealed value is bound to
//! its tenant, so that it cannot be moved to another. The key must never be printed, logged or made anew while
//! something is sealed with the old one.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{TenantId, error::SealProblem};

/// Bytes of an AES-256 key.
const KEY_BYTES: usize = 32;
/// Longest key file looked at: base64 of a key is 44 bytes; anything longer is some other file.
const FILE_BYTES_MAX: u64 = 128;
/// First byte of every sealed value, so that the way of sealing can change.
const VERSION: u8 = 1;
/// Bytes of an AES-GCM nonce. Random ones are safe for 2^32 values under one key (NIST SP 800-38D, 8.3).
const NONCE_BYTES: usize = 12;

/// The sealing key.
pub(crate) struct SealKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    aead: RandomizedNonceKey,
}

impl SealKey {
    /// Read the key of a systemd credential. Its permissions are systemd's: it lets our user in by an ACL, whose
    /// mask shows as group bits.
    pub(super) fn of_credential(path: &Path) -> Result<Self, SealProblem> {
        let mut file = File::open(path).map_err(|source| file_problem(path, source))?;
        Self::read(path, &mut file)
    }

    /// Read the key file; `None` when there is none. Refuses one that others can read.
    pub(super) fn of_file(path: &Path) -> Result<Option<Self>, SealProblem> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file_problem(path, source)),
        };
        // Of the opened file, not of the path: nobody can swap it in between.
        let mode = file.metadata().map_err(|source| file_problem(path, source))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealProblem::Readable { path: path.to_owned(), mode });
        }
        Self::read(path, &mut file).map(Some)
    }

    /// Make a key file that nobody else can read, whole or not at all. If another process made one meanwhile,
    /// that one is used.
    pub(super) fn make(path: &Path) -> Result<Self, SealProblem> {
        let failed = |source| file_problem(path, source);
        let random = |bytes: &mut [u8]| {
            aws_lc_rs::rand::fill(bytes)
                .map_err(|_| failed(io::Error::other("the system gives no randomness")))
        };
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(bytes.as_mut_slice())?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut unique = [0; 8];
        random(&mut unique)?;
        let draft = directory.join(format!(".{name}.{:016x}", u64::from_ne_bytes(unique)));
        let text = Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
        let written = write_new(&draft, text.as_bytes()).and_then(|()| {
            // A link appears at once and never replaces: the O_EXCL of a file that is whole already.
            match fs::hard_link(&draft, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => File::open(directory)?.sync_all(),
            }
        });
        let removed = fs::remove_file(&draft);
        written.and(removed).map_err(failed)?;
        Self::of_file(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    fn read(path: &Path, file: &mut File) -> Result<Self, SealProblem> {
        let mut content = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(|source| file_problem(path, source))?;
        let no_key = || SealProblem::NoKey(path.to_owned());
        if let Ok(bytes) = <[u8; KEY_BYTES]>::try_from(content.as_slice()) {
            return Self::new(Zeroizing::new(bytes)).ok_or_else(no_key);
        }
        let decoded = STANDARD.decode(content.trim_ascii()).map(Zeroizing::new).map_err(|_| no_key())?;
        let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| no_key())?;
        Self::new(Zeroizing::new(bytes)).ok_or_else(no_key)
    }

    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Option<Self> {
        // An all-zero key is a disk that lost its content, never one of ours.
        let aead = RandomizedNonceKey::new(&AES_256_GCM, bytes.as_slice()).ok()?;
        bytes.iter().any(|byte| *byte != 0).then_some(Self { bytes, aead })
    }

    /// The key itself, for a backup that wraps it; nothing else.
    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Seal a secret of that tenant.
    pub(super) fn seal(&self, tenant: &TenantId, secret: &str) -> Result<Vec<u8>, SealProblem> {
        self.seal_for(&context(tenant), secret.as_bytes())
            .ok_or_else(|| SealProblem::Tampered(tenant.clone()))
    }

    /// Open what was sealed for that tenant.
    pub(super) fn open(&self, tenant: &TenantId, sealed: &[u8]) -> Result<Zeroizing<String>, SealProblem> {
        self.open_for(&context(tenant), sealed)
            .and_then(|secret| String::from_utf8(secret.to_vec()).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| SealProblem::Tampered(tenant.clone()))
    }

    /// Seal what is no tenant's, such as `generations of api`: it opens under the same words alone.
    pub(crate) fn seal_as(&self, what: &str, secret: &[u8]) -> Option<Vec<u8>> {
        self.seal_for(&other(what), secret)
    }

    /// Open what was sealed under these words; none if it was changed, or sealed otherwise.
    pub(crate) fn open_as(&self, what: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.open_for(&other(what), sealed)
    }

    /// A value that only this key opens, by which a registry tells whether it was sealed with it.
    pub(super) fn mark(&self) -> Option<Vec<u8>> {
        self.seal_for(MARK, MARK)
    }

    /// Did this key make that mark?
    pub(super) fn made(&self, mark: &[u8]) -> bool {
        self.open_for(MARK, mark).is_some_and(|secret| secret.as_slice() == MARK)
    }

    fn seal_for(&self, context: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        let mut text = Zeroizing::new(secret.to_vec());
        // Room for the tag, so that no copy of the plain text stays behind in a vector that grew.
        let mut body = Vec::with_capacity(text.len() + AES_256_GCM.tag_len());
        body.append(&mut text);
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(context), &mut body).ok()?;
        Some([&[VERSION][..], nonce.as_ref(), &body].concat())
    }

    fn open_for(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok().filter(|_| *version == VERSION)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self.aead.open_in_place(nonce, Aad::from(context), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

const MARK: &[u8] = b"gateway-seal-v1 mark";

fn context(tenant: &TenantId) -> Vec<u8> {
    [b"gateway-seal-v1 database ", tenant.as_str().as_bytes()].concat()
}

fn other(what: &str) -> Vec<u8> {
    [b"gateway-seal-v1 other ", what.as_bytes()].concat()
}

fn file_problem(path: &Path, source: io::Error) -> SealProblem {
    SealProblem::File { path: path.to_owned(), source }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

#[cfg(test)]
mod tests;
