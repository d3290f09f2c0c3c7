//! `gateway cert renew`: an order that does not wait for its time.

use http::Method;

use super::path;
use crate::{
    admin::{RenewWait, Renewal},
    cli::{Client, Failure, out},
};

/// Order the certificate of a host anew, without waiting for its time (`tls.mode = "acme"`)
///
/// Our own pause after a failure ends; one that the certificate authority asked for does not, nor do the limits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway cert renew api.example.com
  gateway cert renew api.example.com --json | jq .wait")]
pub(crate) struct Renew {
    /// The host
    host: String,
    #[command(flatten)]
    form: out::Form,
}

impl Renew {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let path = format!("{}/renew", path(&self.host));
        let renewal: Renewal = client.order(Method::POST, &path, None::<&()>).await?;
        if self.form.json {
            return out::json(&renewal);
        }
        let hosts = renewal.hosts.join(", ");
        out::line(match renewal.wait {
            Some(RenewWait { until, why }) => {
                format!("{hosts} is ordered anew, but not before {until:.0}: {why}")
            }
            None => format!("ordered anew for {hosts}; `gateway cert list` shows how it goes"),
        });
        Ok(())
    }
}
