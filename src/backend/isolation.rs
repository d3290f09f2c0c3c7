//! Whose processes a backend's workers are and what the kernel keeps them to, as it is shown.

use std::sync::Once;

use super::{Config, Isolation, account, sandbox, sandbox::Sandbox, status::falls_short};

/// Whom and what the kernel keeps its workers to. A kernel that can not is complained about once.
pub(super) fn of(backend: &str, config: &Config) -> Isolation {
    static SAID: Once = Once::new();
    let sandbox = Sandbox::of(config.sandbox, sandbox::supported());
    if let (Some(warning), None) = (falls_short(sandbox), &config.upstream) {
        SAID.call_once(|| tracing::warn!(backend, "{warning}"));
    }
    let own = || account::name_of(nix::unistd::geteuid().as_raw());
    Isolation { user: config.user.clone().unwrap_or_else(own), sandbox, lost: Vec::new() }
}
