//! `gateway tenant export`: all tenants as data that `apply` takes.

use crate::{
    cli::{Client, Failure, out},
    tenant::TenantSpec,
};

/// Write all tenants as TOML (or JSON) that `gateway tenant apply` takes; secrets are left out
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant export > tenants.toml
  gateway tenant export --json")]
pub(crate) struct Export {
    #[command(flatten)]
    form: out::Form,
}

/// The file that `apply` reads and `export` writes: `[[tenant]]` tables, as in the configuration.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantFile {
    /// The tenants.
    #[serde(default)]
    pub(super) tenant: Vec<TenantSpec>,
}

impl Export {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let tenant: Vec<TenantSpec> = client.show("/export").await?;
        if self.form.json {
            return out::json(&tenant);
        }
        let text = toml::to_string_pretty(&TenantFile { tenant })
            .map_err(|error| Failure::failed(format!("the tenants cannot be written as TOML: {error}")))?;
        out::line(text.trim_end());
        Ok(())
    }
}
