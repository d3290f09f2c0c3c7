//! The hidden launcher `gateway worker-exec -- CMD…`.

use std::ffi::OsString;

/// Become the worker; never returns.
pub(crate) fn worker_exec(_command: Vec<OsString>) -> ! {
    todo!()
}
