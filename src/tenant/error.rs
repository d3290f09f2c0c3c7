//! What can go wrong with tenants: one enum for the room. It must never repeat a database URL or a key.

use std::path::PathBuf;

use super::{Conflict, CorsProblem, DatabaseProblem, HostName, TenantId};
use crate::error::{Audience, Fault, Kind, names_shown_by};

/// Why an order on tenants was not carried out. Nothing has changed then, neither on disk nor in memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TenantError {
    /// No such tenant.
    #[error("there is no tenant `{id}`; {}", names_shown_by("gateway tenant list", .near.as_ref().map(TenantId::as_str)))]
    Unknown {
        /// Whom the order named.
        id: TenantId,
        /// Whom it may have meant.
        near: Option<TenantId>,
    },
    /// `add` of one that is there.
    #[error("there is a tenant `{0}` already; `gateway tenant set {0}` changes it")]
    Exists(TenantId),
    /// The file says it, so the file must change.
    #[error(
        "tenant `{0}` is declared in the configuration file: change its `[[tenant]]` there, then run \
         `gateway reload`"
    )]
    Declared(TenantId),
    /// Two tenants claim one thing.
    #[error(
        "{}\nhint: leave it to one of the two: `gateway tenant set` changes a tenant of the registry, a declared one \
         is changed in its `[[tenant]]`", each(.0)
    )]
    Conflicts(Vec<Conflict>),
    /// A tenant claims a host that serves every tenant.
    #[error("{}\nhint: {remedy}", each(.shared))]
    HostShared {
        /// Which hosts, and whose they are.
        shared: Vec<SharedHost>,
        /// What to do about it.
        remedy: String,
    },
    /// A database URL that cannot be used.
    #[error("tenant `{id}`: {problem}")]
    Database {
        /// Whose.
        id: TenantId,
        /// Why not.
        problem: DatabaseProblem,
    },
    /// A tenant's database that would be one of the gateway's own files.
    #[error("tenant `{0}` cannot have one of the gateway's own files as its database; name another file")]
    OwnFile(TenantId),
    /// A CORS policy that cannot be used.
    #[error("tenant `{id}`: {}", each(.problems))]
    Cors {
        /// Whose.
        id: TenantId,
        /// Everything wrong with it.
        problems: Vec<CorsProblem>,
    },
    /// A value that makes no sense.
    #[error("tenant `{id}`: {problem}")]
    Invalid {
        /// Whose.
        id: TenantId,
        /// What is wrong, with the remedy.
        problem: String,
    },
    /// A key of that name is there.
    #[error("tenant `{id}` has a key `{name}` already; remove it first, or choose another name")]
    KeyExists {
        /// Whose.
        id: TenantId,
        /// Its name.
        name: String,
    },
    /// No key of that name.
    #[error("tenant `{id}` has no key `{name}`; `gateway tenant key list {id}` shows them")]
    KeyUnknown {
        /// Whose.
        id: TenantId,
        /// Its name.
        name: String,
    },
    /// The sealing key.
    #[error(transparent)]
    Seal(#[from] SealProblem),
    /// The registry's file.
    #[error(transparent)]
    Store(#[from] StoreProblem),
    /// The task that writes was ended with its runtime.
    #[error("the gateway is stopping; the change was not confirmed: look with `gateway tenant show`")]
    Stopping,
}

/// A host that one tenant claims for itself, although it serves all of them or is a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host `{host}` belongs to {holder}; `{claimant}` cannot have it for itself")]
pub(crate) struct SharedHost {
    /// The host.
    pub(crate) host: HostName,
    /// Who serves it, and whether for all, as the configuration says.
    pub(crate) holder: String,
    /// Who wants it.
    pub(crate) claimant: TenantId,
}

/// Why secrets cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealProblem {
    /// Others can read it.
    #[error(
        "sealing key `{}` can be read by others (mode {mode:03o}): run `chmod 600 {}`, and change the databases' \
         passwords if others had access", path.display(), path.display()
    )]
    Readable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("`{}` holds no sealing key (32 bytes, as such or in base64): restore it from a backup", .0.display())]
    NoKey(PathBuf),
    /// The registry was sealed with a key that is gone.
    #[error(
        "the registry was sealed with a key that is not in `{}`: restore that file from a backup, or give the \
         key as the systemd credential `seal.key`", .0.display()
    )]
    Gone(PathBuf),
    /// The file cannot be read or made.
    #[error("sealing key `{}` cannot be read or made ({source}): check the directory and its owner", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A sealed value does not open.
    #[error(
        "the sealed database URL of tenant `{0}` does not open: it was changed, or moved from another tenant; \
         set it anew with `gateway tenant set {0} --database-file FILE`, or restore a backup"
    )]
    Tampered(TenantId),
}

/// Why the registry's file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreProblem {
    /// Damaged, or no database.
    #[error(
        "registry `{}` is damaged ({detail}): stop the gateway, move the file away and bring back a backup with \
         `gateway restore FILE`", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// No byte is in it, though it was in use once.
    #[error(
        "registry `{}` is empty, but `{}` is there: its content was lost\nhint: move the empty file away and bring \
         back a backup with `gateway restore FILE --force`, or remove the key as well to begin anew", path.display(),
        key.display()
    )]
    Emptied {
        /// Which file.
        path: PathBuf,
        /// The sealing key that a registry was sealed with.
        key: PathBuf,
    },
    /// Somebody else's database.
    #[error("`{}` is a database of another program: set `registry.path` to a file of its own", .0.display())]
    Foreign(PathBuf),
    /// Written by a newer version.
    #[error("registry `{}` was written by a newer gateway: run that version, or restore an older backup", .0.display())]
    Newer(PathBuf),
    /// No room.
    #[error("the disk of registry `{}` is full: nothing was changed; make room and try again", .0.display())]
    Full(PathBuf),
    /// No room for a copy.
    #[error("the disk is full: there is no room in `{}`\nhint: make room there and try again", .0.display())]
    NoRoom(PathBuf),
    /// Permissions, a missing directory, a directory in its place.
    #[error("registry `{}` cannot be opened ({detail}): check that the path and its owner are right", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// Another process holds the write lock.
    #[error("another process is writing to registry `{}`: nothing was changed; try again", .0.display())]
    Busy(PathBuf),
    /// Anything else that SQLite says.
    #[error("registry `{}` failed: nothing was changed ({detail}); the disk may be full or failing", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
}

fn each<T: ToString>(problems: &[T]) -> String {
    problems.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

impl Fault for TenantError {
    fn kind(&self) -> Kind {
        match self {
            Self::Seal(_) | Self::Store(_) => Kind::Operator,
            Self::Stopping => Kind::Gateway,
            _ => Kind::Client,
        }
    }

    fn audience(&self) -> Audience {
        Audience::Operator
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "tenant-unknown",
            Self::Exists(_) => "tenant-exists",
            Self::Declared(_) => "tenant-declared",
            Self::Conflicts(_) | Self::HostShared { .. } => "tenant-conflict",
            Self::Database { .. } | Self::OwnFile(_) => "database-url-invalid",
            Self::Cors { .. } => "cors-invalid",
            Self::Invalid { .. } => "tenant-invalid",
            Self::KeyExists { .. } => "key-exists",
            Self::KeyUnknown { .. } => "key-unknown",
            Self::Seal(_) => "seal-failed",
            Self::Store(StoreProblem::Full(_)) => "registry-disk-full",
            Self::Store(StoreProblem::NoRoom(_)) => "disk-full",
            Self::Store(StoreProblem::Busy(_)) => "registry-busy",
            Self::Store(_) => "registry-failed",
            Self::Stopping => "stopping",
        }
    }
}
