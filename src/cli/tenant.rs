//! `gateway tenant`: the customers. Every command works on the running gateway at once, and on the registry
//! itself when none runs, except those that need workers or doors.

mod add;
mod apply;
pub(super) mod check;
mod data;
mod exec;
mod export;
mod key;
mod list;
mod migrate;
mod policy;
mod refused;
mod selection;
mod set;
mod show;
mod state;

use http::Method;

use super::{Client, Failure};
use crate::tenant::{TenantId, TenantView};

/// Add, show, change and prove tenants: one per customer, with its origins and its database
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tenant {
    Add(add::Add),
    List(list::List),
    Show(show::Show),
    Set(set::Set),
    Suspend(state::Suspend),
    Resume(state::Resume),
    Pause(state::Pause),
    Remove(state::Remove),
    Rotate(state::Rotate),
    Apply(apply::Apply),
    Export(export::Export),
    Migrate(migrate::Migrate),
    Exec(exec::Exec),
    #[command(subcommand)]
    Key(key::Key),
    Refused(refused::Refused),
    Check(check::Check),
    Dump(data::Dump),
    Load(data::Load),
}

impl Tenant {
    /// Does it need workers, doors or the memory of a running gateway?
    pub(crate) fn needs_running(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Refused(_) | Self::Check(_))
    }

    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(client).await,
            Self::List(list) => list.run(client).await,
            Self::Show(show) => show.run(client).await,
            Self::Set(set) => set.run(client).await,
            Self::Suspend(suspend) => suspend.run(client).await,
            Self::Resume(resume) => resume.run(client).await,
            Self::Pause(pause) => pause.run(client).await,
            Self::Remove(remove) => remove.run(client).await,
            Self::Rotate(rotate) => rotate.run(client).await,
            Self::Apply(apply) => apply.run(client).await,
            Self::Export(export) => export.run(client).await,
            Self::Migrate(migrate) => migrate.run(client).await,
            Self::Exec(exec) => exec.run(client).await,
            Self::Key(key) => key.run(client).await,
            Self::Refused(refused) => refused.run(client).await,
            Self::Check(check) => check.run(client).await,
            Self::Dump(dump) => dump.run(client).await,
            Self::Load(load) => load.run(client).await,
        }
    }
}

/// Every tenant, sorted by id.
pub(super) async fn all(client: &Client) -> Result<Vec<TenantView>, Failure> {
    let mut tenants: Vec<TenantView> = client.show("/tenants").await?;
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(tenants)
}

/// An order of one word to one tenant.
async fn tell(client: &Client, method: Method, id: &TenantId, verb: &str) -> Result<(), Failure> {
    let _done: serde_json::Value = client.order(method, &format!("/tenants/{id}{verb}"), None::<&()>).await?;
    Ok(())
}
