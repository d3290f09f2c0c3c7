//! `gateway reload`: put the configuration file's present content in force.

use http::Method;

use super::{Client, Failure, Settings, backend::progress, bootstrap::configured, out};
use crate::{admin::Reloaded, bootstrap};

/// Check the whole configuration and put it in force; a bad one changes nothing and says why
#[derive(Debug, clap::Args)]
#[command(after_help = "\
No connection is dropped, WebSockets included. The same as SIGHUP, but it waits for the outcome.

Examples:
  gateway reload")]
pub(crate) struct Reload {}

impl Reload {
    pub(crate) async fn run(self, settings: &Settings, client: &Client) -> Result<(), Failure> {
        let order = client.order(Method::POST, "/reload", None::<&()>);
        let Reloaded { restart_needed, warnings } = progress::watched(client, None, order).await?;
        for warning in warnings {
            out::remark(format!("warning: {warning}"));
        }
        if restart_needed.is_empty() {
            out::line("reloaded");
        } else {
            out::line(format!("reloaded, but these take a new start: {}", restart_needed.join(", ")));
            out::remark("hint: `gateway swap` is a new start that refuses nobody");
        }
        // Root's reload takes the firewall along; the service's own has systemd do it.
        if nix::unistd::geteuid().is_root()
            && bootstrap::follow(Some(bootstrap::edge_ports(&configured(settings)?)))?.is_some()
        {
            out::line("the firewall has followed the listeners");
        }
        Ok(())
    }
}
