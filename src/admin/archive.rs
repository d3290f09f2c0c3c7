//! A backup: one tar archive with the registry, every secret wrapped by a passphrase, and a copy of every
//! SQLite tenant. Its last entry seals the checksums of all others, so that an archive that was cut or changed
//! is noticed before anything is put in its place.
//!
//! Entries, in order: `manifest.json`, `secret/seal.key`, `registry.db`, `secret/files/…` (the gateway's own
//! directories: the local CA), `tenants/ID.db`, `secret/checksums`.

mod place;
mod read;
mod write;

use std::{collections::BTreeMap, io, path::PathBuf};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::read::{Restore, restore};
pub(super) use self::write::{Contents, write};
use super::wrap::{Derivation, WrapProblem};
use crate::{
    error::{Audience, Fault, Kind},
    tenant::TenantId,
};

/// Raised when an older program could not read what a newer one writes.
const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";
const SEAL_KEY: &str = "secret/seal.key";
const REGISTRY: &str = "registry.db";
const FILES: &str = "secret/files/";
const CHECKSUMS: &str = "secret/checksums";

/// What the gateway itself keeps in the state directory besides databases and the sealing key. What others put
/// there (logs, certificates of `tls.mode = "files"`) is theirs to keep.
const OWN_DIRECTORIES: [&str; 1] = ["local-ca"];

/// Certificates and keys are a few KB; what is larger than this in the state directory is none of them.
const SMALL_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The archive's first entry. It holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// The program that wrote it.
    version: String,
    created: Timestamp,
    derivation: Derivation,
    tenants: Vec<TenantFile>,
    /// Files of the state directory that were too large to be ours.
    skipped: Vec<PathBuf>,
}

/// Where a tenant's database belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TenantFile {
    id: TenantId,
    /// As in the registry: absolute, or below the state directory's `tenants/`.
    path: PathBuf,
}

impl TenantFile {
    fn entry(&self) -> String {
        format!("tenants/{}.db", self.id)
    }
}

/// Entry → SHA-256, hexadecimal.
type Checksums = BTreeMap<String, String>;

/// Why there is no backup, or no restored state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveProblem {
    /// A file cannot be read or written.
    #[error("cannot {verb} `{path}`: {source}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive's own bytes.
    #[error("the archive cannot be read or written: {0}")]
    Stream(#[from] io::Error),
    /// It is something else, or cut, or changed.
    #[error("this is no whole backup: {0}")]
    NoBackup(String),
    /// Written by a later version.
    #[error("the archive has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// A passphrase that is wrong, or changed bytes.
    #[error(transparent)]
    Wrap(#[from] WrapProblem),
    /// There is something already.
    #[error("`{0}` is not empty\nhint: restore replaces it with `--force`, or choose another `state_dir`")]
    NotEmpty(PathBuf),
    /// A database does not copy or is damaged.
    #[error("{0}")]
    Database(String),
}

impl ArchiveProblem {
    fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source }
    }
}

impl Fault for ArchiveProblem {
    fn kind(&self) -> Kind {
        match self {
            Self::Database(_) => Kind::Database,
            Self::Wrap(_) | Self::NoBackup(_) | Self::Format(_) => Kind::Client,
            Self::File { .. } | Self::Stream(_) | Self::NotEmpty(_) => Kind::Operator,
        }
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Stream(_) => "backup-file",
            Self::NoBackup(_) => "backup-damaged",
            Self::Format(_) => "backup-format",
            Self::Wrap(_) => "backup-passphrase",
            Self::NotEmpty(_) => "state-not-empty",
            Self::Database(_) => "backup-database",
        }
    }
}

fn hex(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
