//! Capabilities belong to threads, not to processes (capabilities(7)). The service has three, to start workers as
//! another user and to end them; the threads that supervise keep them, and every other one gives them up before it does
//! anything else. Threads that those start begin without.

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities},
};

/// Give up what this thread may do beyond its user, for good, with whatever it starts. Root stays root: who runs the
/// gateway as root has files that only root can read.
pub(crate) fn give_up() {
    if geteuid().is_root() {
        return;
    }
    // Kernels without ambient capabilities have none to clear.
    let _none = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    if let Err(error) = set_capabilities(None, sets) {
        tracing::error!(%error, "a thread could not give up its capabilities");
    }
}
