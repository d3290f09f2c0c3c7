//! The operator's side: an API on a Unix socket, and a page that shows what it says. It shows and orders; it never serves strangers, and it never
//! answers for the public edge.

mod archive;
mod audit;
mod browser;
mod config;
mod dashboard;
mod error;
mod key;
mod parts;
mod peer;
mod problem;
mod routes;
mod scratch;
mod server;
mod status;
mod wrap;

pub(crate) use self::{
    archive::{Restore, restore},
    config::Config,
    dashboard::Dashboard,
    error::AdminError,
    key::{KEY_HEADER, key_beside, key_to, make_place_for_key},
    parts::{House, InForce, Live, Order, Parts, Places, ReloadOrder, SwapOrder},
    peer::Peer,
    problem::{NOT_PERMITTED, NOT_RUNNING, Problem},
    routes::{
        ApplyOrder, BackupOrder, CheckFacts, JobEvent, JobOrder, KeyMade, KeyOrder, MigrateOrder, Migrated,
        MigrationText, PROBLEM_TRAILER, Reloaded, Renewal, RollbackOrder, ScaleOrder, SignalOrder, Signalled,
        Swapping, TicketView, router,
    },
    server::Admin,
    status::{Counts, DoorView, Listening, SiteView, Status},
};
/// What travels over the socket as the rooms have it.
pub(crate) use crate::{
    backend::{BackendKind, BackendStatus, Deployed, OutputLine, Record, Replacement, WorkerStatus},
    edge::{CertificateView, HostCertificate, ImportOrder, Imported, RenewWait, unfit_for},
    job::{By, JobView, Outcome, RunView, Verdict},
};
