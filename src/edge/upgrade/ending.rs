//! Why WebSockets end, in the words of the access log, the metrics and both sides' close frames. It must never say
//! more to a client than its own account's state.

use crate::metrics::DRAINING;

/// Why a WebSocket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client said goodbye or hung up first.
    ClientClosed,
    /// The worker did.
    WorkerClosed,
    /// The client vanished.
    ClientGone,
    /// The worker ended without a goodbye.
    WorkerGone,
    /// Nothing moved for `edge.limits.upgrade_idle_timeout`.
    Idle,
    /// The gateway ends, or makes room for its successor.
    Draining,
    /// Its tenant was suspended.
    Suspended,
    /// Its tenant was removed.
    Removed,
    /// Its tenant's tickets were rotated: the one that its worker holds opens nothing any more.
    Rotated,
    /// Its page's origin is in the tenant's whitelist no longer.
    Unlisted,
}

impl Ending {
    /// For the access log and the metrics.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::ClientClosed => "client-closed",
            Self::WorkerClosed => "worker-closed",
            Self::ClientGone => "client-gone",
            Self::WorkerGone => "worker-gone",
            Self::Idle => "idle",
            Self::Draining => DRAINING,
            Self::Suspended => "tenant-suspended",
            Self::Removed => "tenant-removed",
            Self::Rotated => "tenant-rotated",
            Self::Unlisted => "origin-not-listed",
        }
    }

    /// What the gateway says in its own close frames (RFC 6455 7.4.1, and 1012 of IANA's list); none where the two
    /// sides have said it themselves. 1001 and 1012 mean "come back", 1008 "do not".
    pub(super) fn goodbye(self) -> Option<(u16, &'static str)> {
        match self {
            Self::ClientClosed | Self::WorkerClosed | Self::ClientGone => None,
            Self::WorkerGone => Some((1012, "the application ended")),
            Self::Idle => Some((1001, "nothing was said for too long")),
            Self::Draining => Some((1001, "the server goes away")),
            Self::Suspended => Some((1008, "this account is suspended")),
            Self::Removed => Some((1008, "this account exists no longer")),
            Self::Rotated => Some((1012, "connect again")),
            Self::Unlisted => Some((1008, "this origin is not listed")),
        }
    }
}
