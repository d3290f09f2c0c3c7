//! `gateway cert`: which certificate each host has, and certificates that the operator brings. One file a command.

mod import;
mod list;
mod remove;
mod renew;
mod show;
mod trust;

use super::{Client, Failure};

pub(super) use self::{
    import::{Import, keep},
    list::{HEAD, row},
};

/// Show, import and renew certificates; trust the local CA
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Cert {
    List(list::List),
    Show(show::Show),
    Import(Import),
    Remove(remove::Remove),
    Renew(renew::Renew),
    Trust(trust::Trust),
}

impl Cert {
    /// Can only a running gateway carry it out?
    pub(crate) fn needs_running(&self) -> bool {
        !matches!(self, Self::Import(_) | Self::Remove(_))
    }

    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(client).await,
            Self::Show(show) => show.run(client).await,
            Self::Import(import) => import.run(client).await,
            Self::Remove(remove) => remove.run(client).await,
            Self::Renew(renew) => renew.run(client).await,
            Self::Trust(trust) => trust.run(client).await,
        }
    }
}

/// A host in the path of an order; what is no host is refused there.
fn path(host: &str) -> String {
    format!("/certificates/{}", super::logs::escape(host).replace('+', "%20"))
}
