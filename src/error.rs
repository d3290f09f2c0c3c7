//! What every room's error enum says about itself: who is to blame and who may read it.
//!
//! Errors become HTTP answers in one place (`edge::rescue`) and are logged once, where they are handled;
//! this file must never format an answer or write a log line.

use std::io;

use nix::errno::Errno;

/// Who is to blame, which decides the status class and the log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The caller sent something it should not have.
    Client,
    /// The tenant's status or limits say no.
    Tenant,
    /// The Node application failed or is not there.
    Backend,
    /// A tenant's database failed or is not there.
    Database,
    /// The operator's configuration or machine is wrong.
    Operator,
    /// Our own bug.
    Gateway,
}

/// Who may read the error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Safe to show to strangers.
    Anyone,
    /// Log and command line only; strangers get the code and the request id.
    Operator,
}

/// Implemented by each room's error enum; never for `anyhow::Error`.
pub(crate) trait Fault: std::error::Error {
    /// Who is to blame.
    fn kind(&self) -> Kind;
    /// Who may read the text.
    fn audience(&self) -> Audience;
    /// A stable, lower-case, hyphenated word for front ends and scripts, such as `origin-not-listed`.
    fn code(&self) -> &'static str;
}

/// Did this fail because no file descriptor is left, in this process or in the whole system? Then it says nothing about
/// whoever was to be reached.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}
