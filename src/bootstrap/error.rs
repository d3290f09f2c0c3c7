//! What can go wrong while a server is set up, each with what to do about it.

use std::{io, path::PathBuf};

/// Why a server could not be looked at, set up or taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    /// Not root.
    #[error("only root can set up a server")]
    NotRoot,
    /// A file could not be read or written.
    #[error("cannot {verb} `{}`: {source}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started, failed, or took too long.
    #[error("`{command}` {problem}")]
    Program {
        /// The program with its arguments.
        command: String,
        /// What happened, with its own last words.
        problem: String,
    },
    /// A program was ended, since its caller was asked to.
    #[error("`{0}` was stopped")]
    Stopped(String),
    /// After a step, the machine is not what the step promised.
    #[error("{0}")]
    Unproven(String),
    /// The order makes no sense now.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        remedy: String,
    },
}

impl BootstrapError {
    /// What to do about it, where there is something general to say.
    pub(crate) fn remedy(&self) -> Option<&str> {
        match self {
            Self::NotRoot => Some("run it with sudo"),
            Self::Refused { remedy, .. } => Some(remedy),
            Self::File { .. } | Self::Program { .. } | Self::Stopped(_) | Self::Unproven(_) => None,
        }
    }

    /// An order that makes no sense now.
    pub(super) fn refused(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), remedy: remedy.into() }
    }

    /// For `map_err` on files.
    pub(super) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source }
    }
}
