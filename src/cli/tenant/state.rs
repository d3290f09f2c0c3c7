//! `gateway tenant suspend|resume|pause|remove|rotate`: orders of one word to one tenant.

use http::Method;

use super::tell;
use crate::{
    cli::{Client, Failure, out},
    tenant::{TenantId, TenantView},
};

/// Shut a tenant out: its front ends get 403 and its tickets are dead at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant suspend navaja")]
pub(crate) struct Suspend {
    /// The tenant
    id: TenantId,
}

/// Let a suspended or paused tenant's requests pass again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant resume navaja")]
pub(crate) struct Resume {
    /// The tenant
    id: TenantId,
}

/// Answer a tenant's requests with 503 and Retry-After for a while; its tickets stay good
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant pause navaja")]
pub(crate) struct Pause {
    /// The tenant
    id: TenantId,
}

/// Forget a tenant; its database file stays where it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant remove navaja")]
pub(crate) struct Remove {
    /// The tenant
    id: TenantId,
}

/// End all of a tenant's tickets at once; the backend gets new ones with the next requests
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant rotate navaja")]
pub(crate) struct Rotate {
    /// The tenant
    id: TenantId,
}

impl Suspend {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        tell(client, Method::POST, &self.id, "/suspend").await?;
        out::line(format!("tenant {} is suspended", self.id));
        Ok(())
    }
}

impl Resume {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        tell(client, Method::POST, &self.id, "/resume").await?;
        out::line(format!("tenant {} is active", self.id));
        Ok(())
    }
}

impl Pause {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        tell(client, Method::POST, &self.id, "/pause").await?;
        out::line(format!("tenant {} is paused", self.id));
        Ok(())
    }
}

impl Remove {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let tenant: TenantView = client.show(&format!("/tenants/{}", self.id)).await?;
        tell(client, Method::DELETE, &self.id, "").await?;
        let stays = tenant.database.map(|database| format!("; its database {database} stays"));
        out::line(format!("tenant {} is removed{}", self.id, stays.unwrap_or_default()));
        Ok(())
    }
}

impl Rotate {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        tell(client, Method::POST, &self.id, "/rotate").await?;
        out::line(format!("tenant {} has new tickets; the old ones are dead", self.id));
        Ok(())
    }
}
