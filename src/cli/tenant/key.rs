//! `gateway tenant key`: keys for callers that are no browser page.

use http::Method;

use crate::{
    admin::{KeyMade, KeyOrder},
    cli::{Client, Failure, logs::escape, out},
    tenant::{KeyView, TenantId},
};

/// Keys (`x-gateway-key`) for callers without an Origin: server-side rendering, apps, partners
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Key {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Make a key and show it, once; only its hash is kept
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant key add navaja mobile-app
  gateway tenant key add navaja ssr > key.txt")]
pub(crate) struct Add {
    /// The tenant
    id: TenantId,
    /// What you call the key
    name: String,
}

/// Show the names of a tenant's keys
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant key list navaja
  gateway tenant key list navaja --json")]
pub(crate) struct List {
    /// The tenant
    id: TenantId,
    #[command(flatten)]
    form: out::Form,
}

/// Make a key worthless at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway tenant key remove navaja mobile-app")]
pub(crate) struct Remove {
    /// The tenant
    id: TenantId,
    /// What you call the key
    name: String,
}

impl Key {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(client).await,
            Self::List(list) => list.run(client).await,
            Self::Remove(remove) => remove.run(client).await,
        }
    }
}

impl Add {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let path = format!("/tenants/{}/keys", self.id);
        let order = KeyOrder { name: self.name };
        let KeyMade { key } = client.order(Method::POST, &path, Some(&order)).await?;
        out::remark(format!(
            "key `{}` of tenant {}: keep it now, it is shown this once",
            order.name, self.id
        ));
        out::line(key);
        Ok(())
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let keys: Vec<KeyView> = client.show(&format!("/tenants/{}/keys", self.id)).await?;
        if self.form.json {
            return out::json(&keys);
        }
        let rows = keys.iter().map(|key| [key.name.clone(), key.created.to_string()]);
        out::line(out::table(&["key", "created"], rows));
        Ok(())
    }
}

impl Remove {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let path = format!("/tenants/{}/keys/{}", self.id, escape(&self.name).replace('+', "%20"));
        let _done: serde_json::Value = client.order(Method::DELETE, &path, None::<&()>).await?;
        out::line(format!("key `{}` of tenant {} is worthless now", self.name, self.id));
        Ok(())
    }
}
