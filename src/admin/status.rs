//! What `gateway status` shows: one value for the whole house, the same for people and for scripts.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{backend::BackendStatus, edge::HostCertificate, job::JobView, tenant};

/// The whole house at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The running program's version.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// When it started.
    pub(crate) started: Timestamp,
    /// Seconds since then.
    pub(crate) uptime_s: u64,
    /// Is it draining?
    pub(crate) stopping: bool,
    /// Is it draining to become another program?
    #[serde(default)]
    pub(crate) swapping: bool,
    /// How often this process has become another program.
    #[serde(default)]
    pub(crate) swaps: u64,
    /// WebSockets that ended for it, in all.
    #[serde(default)]
    pub(crate) swap_websockets: u64,
    /// Why the last swap was none.
    #[serde(default)]
    pub(crate) swap_failure: Option<String>,
    /// Where the edge and the metrics listen.
    pub(crate) listeners: Vec<Listening>,
    /// The sites.
    #[serde(default)]
    pub(crate) sites: Vec<SiteView>,
    /// The doors.
    pub(crate) doors: Vec<DoorView>,
    /// The backends with their workers.
    pub(crate) backends: Vec<BackendStatus>,
    /// The jobs.
    #[serde(default)]
    pub(crate) jobs: Vec<JobView>,
    /// The pools that are open.
    pub(crate) pools: Vec<Value>,
    /// How many tenants there are, by status.
    pub(crate) tenants: Counts,
    /// Every host with its certificate.
    pub(crate) certificates: Vec<HostCertificate>,
    /// What the operator should do something about.
    pub(crate) warnings: Vec<String>,
    /// The local CA's certificate, in `tls.mode = "local"`.
    pub(crate) local_ca: Option<std::path::PathBuf>,
}

/// A bound address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listening {
    /// `http`, `https`, `plain` (`edge.https` with `tls.mode = "off"`) or `metrics`.
    pub(crate) kind: String,
    /// The address as bound, never with port 0.
    pub(crate) address: SocketAddr,
}

/// A site, as its configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SiteView {
    /// `www.acme.example/docs`; `*` is every host.
    pub(crate) site: String,
    /// What it does, such as `files in /srv/www`.
    pub(crate) does: String,
}

/// A door, as its room tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoorView {
    /// `sqlite`.
    pub(crate) door: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Open connections.
    pub(crate) connections: usize,
    /// Open streams: interactive transactions.
    pub(crate) streams: usize,
}

/// How many tenants there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// All of them.
    pub(crate) total: usize,
    /// Requests pass.
    pub(crate) active: usize,
    /// Back soon.
    pub(crate) paused: usize,
    /// Shut out.
    pub(crate) suspended: usize,
}

impl Counts {
    /// Count the tenants of a snapshot.
    pub(crate) fn of(snapshot: &tenant::Snapshot) -> Self {
        let mut counts = Self { total: snapshot.len(), ..Self::default() };
        for tenant in snapshot.tenants() {
            let count = match tenant.status {
                tenant::Status::Active => &mut counts.active,
                tenant::Status::Paused => &mut counts.paused,
                tenant::Status::Suspended => &mut counts.suspended,
            };
            *count += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenant_is_counted_once_under_its_status() {
        let mut tenants: Vec<_> =
            ["a", "b", "c"].into_iter().map(|id| tenant::Tenant::new(id.parse().unwrap())).collect();
        tenants[1].status = tenant::Status::Paused;
        tenants[2].status = tenant::Status::Suspended;
        let snapshot = tenant::Snapshot::build(tenants).unwrap();
        assert_eq!(Counts::of(&snapshot), Counts { total: 3, active: 1, paused: 1, suspended: 1 });
    }
}
