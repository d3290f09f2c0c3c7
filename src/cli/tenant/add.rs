//! `gateway tenant add`: a new customer.

use http::Method;

use super::policy::Policy;
use crate::{
    cli::{Client, Failure, out, secret::DatabaseSource},
    tenant::{HostName, NewTenant, OriginPattern, TenantId, TenantView},
};

/// Add a tenant; it is served at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A database URL with a password comes by standard input (`--database -`), by `--database-file` or in \
GATEWAY_TENANT_DATABASE, never on the command line. A relative SQLite path lies below the state directory.

Examples:
  gateway tenant add navaja --origin https://navaja.example --database sqlite://navaja.db
  gateway tenant add barba --origin 'https://*.barba.example' --host api.barba.example
  gateway tenant add acme --origin https://acme.example --database-file acme.url --backend api
  pass show acme-db | gateway tenant add acme --origin https://acme.example --database -")]
pub(crate) struct Add {
    /// Its id: lower-case letters, digits and hyphens
    id: TenantId,
    /// An origin of its front ends, exact or with one leading wildcard label (*.acme.example); may be repeated
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<OriginPattern>,
    /// A host of its own, such as api.acme.example; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<HostName>,
    #[command(flatten)]
    database: DatabaseSource,
    /// The backend that serves it
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    form: out::Form,
}

impl Add {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let cors = self.policy.cors()?;
        let new = NewTenant {
            id: self.id,
            origins: self.origins,
            hosts: self.hosts,
            database: self.database.read()?.map(Into::into),
            backend: self.backend,
            cors,
            limits: self.policy.limits(),
        };
        let tenant: TenantView = client.order(Method::POST, "/tenants", Some(&new)).await?;
        if self.form.json {
            return out::json(&tenant);
        }
        out::line(format!("tenant {} is added", tenant.id));
        Ok(())
    }
}
