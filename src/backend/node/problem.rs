//! What can go wrong with installing a version. The operator reads it; where there is a remedy it comes after `hint: `.

use std::{io, path::PathBuf};

/// Why a version was not installed, chosen or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeProblem {
    /// The mirror is not there.
    #[error(
        "cannot reach the mirror {authority}: {reason}\nhint: without a network, copy the archive and SHASUMS256.txt into a \
         directory and set `node.mirror = \"file:///…\"`, or name a Node that is there with `node.path`"
    )]
    Unreachable { authority: String, reason: String },
    /// It has something else to say.
    #[error(
        "{url} is not to be had: {reason}\nhint: `node.mirror` has to have the layout of https://nodejs.org/dist"
    )]
    Answer { url: String, reason: String },
    /// It broke off, or stood still.
    #[error("{url} broke off after {bytes} bytes: {reason}\nhint: nothing was installed; try again")]
    Broken { url: String, bytes: u64, reason: String },
    /// More than we take.
    #[error("{url} has more than {max} bytes\nhint: raise `{key}` if that is right")]
    TooLarge { url: String, max: u64, key: &'static str },
    /// More than any list of versions or checksums has.
    #[error(
        "{url} has more than {max} bytes, which is no list of Node's\nhint: nothing was installed; `node.mirror` has to have \
         the layout of https://nodejs.org/dist"
    )]
    NoList { url: String, max: u64 },
    /// Something in the configuration.
    #[error("{key}: {reason}")]
    Setting { key: &'static str, reason: String },
    /// It has no such version, or none for this machine.
    #[error(
        "no version at {mirror} for {platform} fits {spec}\nhint: `gateway node list --remote` shows what there is"
    )]
    NoVersion { mirror: String, platform: String, spec: String },
    /// Node is not built for it.
    #[error(
        "there is no official Node for this machine ({0})\nhint: name one that is there with `node.path`"
    )]
    Platform(&'static str),
    /// It is not what the checksum says.
    #[error(
        "{file} is not what SHASUMS256.txt says: it has SHA-256 {is}, and should have {should}\nhint: nothing was \
         installed; try again, and if it happens again do not trust this mirror"
    )]
    Checksum { file: String, is: String, should: String },
    /// There is no checksum to be checked against.
    #[error(
        "SHASUMS256.txt of {version} does not name {file}\nhint: nothing was installed; use another mirror"
    )]
    NoChecksum { version: String, file: String },
    /// It is no installation of Node.
    #[error("the archive of {version} is refused: {reason}")]
    Archive { version: String, reason: String },
    /// It does not start.
    #[error(
        "{version} does not run on this machine: {reason}\nhint: nothing was installed; try an older version"
    )]
    DoesNotRun { version: String, reason: String },
    /// Somebody else is at it.
    #[error("another `gateway node install` or `remove` is at work in {}\nhint: wait for its end", .0.display())]
    Busy(PathBuf),
    /// The disk.
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}
