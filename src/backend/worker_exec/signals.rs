//! Signals as a program expects to find them. What a careless parent has ignored or blocked (`nohup`, a shell's background
//! job, a supervisor) stays so over fork and exec, and few programs undo it: a shell cannot.

use nix::{libc, sys::signal::SigSet};

/// The highest number there is, real-time ones included.
const SIGNAL_MAX: libc::c_int = 64;

/// Let each do what it does by default, and block none.
pub(super) fn reset() -> nix::Result<()> {
    (1..=SIGNAL_MAX).for_each(by_default);
    SigSet::empty().thread_set_mask()
}

#[expect(unsafe_code, reason = "the wrappers of signal(2) know no real-time signals, and are unsafe as well")]
fn by_default(number: libc::c_int) {
    // SAFETY: the default is no handler, so no code of ours can be interrupted by another. It fails for SIGKILL, SIGSTOP and
    // the two that the C library keeps to itself.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}
