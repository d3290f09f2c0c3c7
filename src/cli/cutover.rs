//! `gateway cutover`: from what held ports 80 and 443 to the gateway beside it, and back. New connections are led over by
//! the kernel; those that are open stay where they are, both ways.

use std::{collections::BTreeMap, time::Duration};

use super::{Failure, Settings, bootstrap::within, out};
use crate::bootstrap;

/// Lead new connections from ports 80 and 443 to the gateway that stands beside; `cutover back` leads them back
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
It goes back by itself unless `gateway bootstrap confirm` comes over a second SSH session. No open connection is touched.

Examples:
  gateway cutover
  gateway cutover back")]
pub(crate) struct Cutover {
    #[command(subcommand)]
    way: Option<Way>,
    /// How long it lasts without being confirmed
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = within)]
    confirm_within: Duration,
}

#[derive(Debug, clap::Subcommand)]
enum Way {
    Back(Back),
}

/// Lead new connections to where they went before: at any time, confirmed or not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway cutover back")]
struct Back {}

impl Cutover {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        if self.way.is_some() {
            bootstrap::back()?;
            out::line("new connections go where they went before");
            return Ok(());
        }
        // `edge.https` stands first, and its first port is the one for browsers.
        let loaded = super::reach::configuration(settings)?.config;
        let port = |list: &[std::net::SocketAddr]| list.first().map(std::net::SocketAddr::port);
        let led: BTreeMap<u16, u16> = [(443, port(&loaded.edge.https)), (80, port(&loaded.edge.http))]
            .into_iter()
            .filter_map(|(from, to)| Some((from, to.filter(|to| *to != from)?)))
            .collect();
        if led.is_empty() {
            return Err(Failure::failed("the gateway listens on ports 80 and 443 itself")
                .hint("there is nothing to cut over; `gateway bootstrap --beside` is for servers where something else does"));
        }
        let over = bootstrap::cut_over(led.clone(), self.confirm_within)?;
        for (from, to) in &led {
            out::line(format!("new connections to port {from} go to port {to}"));
        }
        out::remark(
            "note: connections that are open stay where they are, so what serves them must go on. Certificate authorities reach the \
             gateway too: it orders and renews by itself, and certbot cannot renew (HTTP-01) until `gateway cutover back`",
        );
        for port in &over.without_ipv6 {
            out::remark(format!(
                "note: port {port} is listened on over IPv4 alone, and this machine has IPv6 too: who comes over IPv6 is served by \
                 nobody. `[edge]` with `[::]:{port}` listens on both; `gateway cutover back` leads back until then"
            ));
        }
        out::line(format!(
            "until {:.0}, unless you run in a SECOND SSH session: sudo gateway bootstrap confirm",
            over.until
        ));
        Ok(())
    }
}
