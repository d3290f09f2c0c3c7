//! A backup: one tar archive with the registry, every secret wrapped by a passphrase, and a copy of every
//! SQLite tenant. Its last entry seals the checksums of all others, so that an archive that was cut or changed
//! is noticed before anything is put in its place.
//!
//! Entries, in order: `manifest.json`, `secret/seal.key`, `registry.db`, `secret/files/…` (the local CA, imported
//! and ordered certificates with the ACME account, and the certificates of `tls.mode = "files"` that lie in the
//! state directory), `tenants/ID.db`, `secret/checksums`.

mod place;
mod read;
mod write;

use std::{collections::BTreeMap, io, path::PathBuf};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::read::{Restore, restore};
pub(super) use self::write::{Contents, write};
use super::{
    Problem,
    wrap::{Derivation, WrapProblem},
};
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
/// there (logs, notes) is theirs to keep, but for certificates that the configuration names.
const OWN_DIRECTORIES: [&str; 3] = ["acme", "certificates", "local-ca"];

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
    /// Files that belong in it, but were too large to be ours, or are not there.
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

/// What to do where a database does not say it itself.
const NO_COPY: &str = "there is no backup while a database cannot be read whole; `gateway tenant load` puts a good \
                       copy in a tenant's place, and `gateway tenant remove` gives the tenant up";

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
    /// A restored database is damaged.
    #[error("{0}")]
    Database(String),
    /// A database does not copy.
    #[error("{whose} cannot be backed up: {}\nhint: {}", .problem.detail, .problem.hint.as_deref().unwrap_or(NO_COPY))]
    Copy {
        /// As in "tenant `acme`".
        whose: String,
        /// Why not.
        problem: Box<Problem>,
    },
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
            Self::Database(_) | Self::Copy { .. } => Kind::Database,
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
            Self::Copy { problem, .. } if problem.code == "disk-full" => "disk-full",
            Self::Database(_) | Self::Copy { .. } => "backup-database",
        }
    }
}

fn hex(digest: &digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
