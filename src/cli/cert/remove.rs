//! `gateway cert remove`: an imported certificate and its key are forgotten.

use http::Method;

use super::path;
use crate::cli::{Client, Failure, out};

/// Forget an imported certificate and its key; what else there is for the host is served again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway cert remove api.example.com")]
pub(crate) struct Remove {
    /// The host that it was imported for
    host: String,
}

impl Remove {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let _done: serde_json::Value = client.order(Method::DELETE, &path(&self.host), None::<&()>).await?;
        out::line(format!("the certificate imported for {} is forgotten", self.host));
        Ok(())
    }
}
