//! `gateway tenant set`: change a tenant.

use clap::ValueEnum;
use http::Method;

use super::policy::Policy;
use crate::{
    cli::{Client, Failure, out, secret::DatabaseSource},
    tenant::{self, Change, HostName, OriginPattern, TenantId, TenantLimits, TenantView},
};

/// Change a tenant; what is not named stays
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant set navaja --add-origin https://www.navaja.example
  gateway tenant set navaja --remove-origin http://localhost:5173
  gateway tenant set navaja --add-header x-csrf-token --add-method PURGE
  gateway tenant set navaja --requests-per-second 50 --in-flight-max 20
  gateway tenant set navaja --cors '{\"credentials\": true}'
  gateway tenant set navaja --clear limits --clear cors
  gateway tenant set navaja --database sqlite:///srv/navaja.db
  gateway tenant set navaja --database - < navaja.url")]
pub(crate) struct Set {
    /// The tenant
    id: TenantId,
    /// An origin to let in; may be repeated
    #[arg(long = "add-origin", value_name = "ORIGIN")]
    add_origins: Vec<OriginPattern>,
    /// An origin to let in no more; may be repeated
    #[arg(long = "remove-origin", value_name = "ORIGIN")]
    remove_origins: Vec<OriginPattern>,
    /// A host of its own; may be repeated
    #[arg(long = "add-host", value_name = "HOST")]
    add_hosts: Vec<HostName>,
    /// A host to give up; may be repeated
    #[arg(long = "remove-host", value_name = "HOST")]
    remove_hosts: Vec<HostName>,
    /// A method that preflights shall allow too; may be repeated
    #[arg(long = "add-method", value_name = "METHOD")]
    add_methods: Vec<String>,
    /// A request header that preflights shall allow too; may be repeated
    #[arg(long = "add-header", value_name = "HEADER")]
    add_headers: Vec<String>,
    #[command(flatten)]
    database: DatabaseSource,
    /// The backend that serves it
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    #[command(flatten)]
    policy: Policy,
    /// Go back to the default before all else; may be repeated
    #[arg(long, value_name = "WHAT")]
    clear: Vec<Clear>,
    #[command(flatten)]
    form: out::Form,
}

/// What goes back to the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clear {
    /// No database, and so no ticket
    Database,
    /// The host's backend, or the only one
    Backend,
    /// The default policy
    Cors,
    /// The default limits
    Limits,
}

impl From<Clear> for tenant::Clear {
    fn from(clear: Clear) -> Self {
        match clear {
            Clear::Database => Self::Database,
            Clear::Backend => Self::Backend,
            Clear::Cors => Self::Cors,
            Clear::Limits => Self::Limits,
        }
    }
}

impl Set {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let (form, id) = (self.form, self.id.clone());
        let change = self.change()?;
        if change == Change::default() {
            return Err(Failure::usage("there is nothing to change")
                .hint("`gateway tenant set --help` shows what can be"));
        }
        let tenant: TenantView =
            client.order(Method::PATCH, &format!("/tenants/{id}"), Some(&change)).await?;
        if form.json {
            return out::json(&tenant);
        }
        out::line(super::show::text(&tenant));
        Ok(())
    }

    fn change(self) -> Result<Change, Failure> {
        let limits = self.policy.limits();
        Ok(Change {
            add_origins: self.add_origins,
            remove_origins: self.remove_origins,
            add_hosts: self.add_hosts,
            remove_hosts: self.remove_hosts,
            database: self.database.read()?.map(Into::into),
            backend: self.backend,
            cors: self.policy.cors()?,
            add_methods: self.add_methods,
            add_headers: self.add_headers,
            limits: (limits != TenantLimits::default()).then_some(limits),
            clear: self.clear.into_iter().map(Into::into).collect(),
        })
    }
}
