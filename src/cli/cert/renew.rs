//! `gateway cert renew`: an order that does not wait for its time.

use http::Method;

use super::path;
use crate::{
    admin::Renewal,
    cli::{Client, Failure, out},
};

/// Order the certificate of a host anew, without waiting for its time (`tls.mode = "acme"`)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway cert renew api.example.com")]
pub(crate) struct Renew {
    /// The host
    host: String,
}

impl Renew {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let path = format!("{}/renew", path(&self.host));
        let renewal: Renewal = client.order(Method::POST, &path, None::<&()>).await?;
        out::line(format!(
            "ordered anew for {}; `gateway cert list` shows how it goes",
            renewal.hosts.join(", ")
        ));
        Ok(())
    }
}
