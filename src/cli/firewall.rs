//! `gateway firewall`: what is open, and small changes to it. None of them can lock out whoever gives the order.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Failure, Settings, bootstrap::configured, out};
use crate::bootstrap::{self, Carrier, Change, Changed, Firewall, OpenPort};

/// Show and change the firewall that `gateway bootstrap` has built
#[derive(Debug, clap::Subcommand)]
pub(crate) enum FirewallOrder {
    Status(Status),
    Allow(Allow),
    Deny(Deny),
    Close(Close),
    Reload(Reload),
}

/// Show what is open, to whom, and whether the kernel has it so
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway firewall status
  gateway firewall status --json")]
pub(crate) struct Status {
    #[command(flatten)]
    form: out::Form,
}

/// Open a port to everybody, let an address open as many SSH connections as it likes, or let a tunnel's packets in
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tunnels that are there (6in4, GRE, IPIP, IPsec, VXLAN with a known other end) are let in by `gateway bootstrap` and `gateway \
firewall reload` themselves.

Examples:
  gateway firewall allow 8080
  gateway firewall allow 51820/udp
  gateway firewall allow 8000-8010
  gateway firewall allow 198.51.100.7
  gateway firewall allow gre@198.51.100.7")]
pub(crate) struct Allow {
    /// A port, a range of ports, an address, a network, or a tunnel as PROTOCOL@ADDRESS
    what: String,
}

/// Never let an address or a network in
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway firewall deny 192.0.2.0/24")]
pub(crate) struct Deny {
    /// The address or network
    #[arg(value_parser = bootstrap::network)]
    address: ipnet::IpNet,
    /// Deny it also where nothing shows whether your own session comes from there
    #[arg(long)]
    yes: bool,
}

/// Take back what was allowed or denied
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway firewall close 8080
  gateway firewall close 8000-8010
  gateway firewall close 192.0.2.0/24
  gateway firewall close gre@198.51.100.7")]
pub(crate) struct Close {
    /// The port, range, address, network or tunnel, as `gateway firewall status` shows it
    what: String,
}

/// Follow the listeners: the edge's ports as configured, SSH's ports and tunnels as found; and repair the rules in the kernel
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Under systemd `gateway bootstrap` has it done after each start and each reload of the service.

Examples:
  gateway firewall reload
  gateway firewall reload --quiet")]
pub(crate) struct Reload {
    /// Say only what has changed; no firewall is no failure
    #[arg(long)]
    quiet: bool,
}

impl FirewallOrder {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let change = match self {
            Self::Status(status) => return status.run(),
            Self::Allow(allow) => match (allow.what.parse::<OpenPort>(), bootstrap::network(&allow.what)) {
                (Ok(port), _) => Change::Open(port),
                (_, Ok(net)) => Change::Admit(net),
                (Err(why), Err(_)) => match allow.what.parse::<Carrier>() {
                    Ok(carrier) => Change::Carry(carrier),
                    Err(of_tunnel) => {
                        let hint = if allow.what.contains('@') { of_tunnel } else { why };
                        let message = format!("`{}` is no port, no address and no tunnel", allow.what);
                        return Err(Failure::usage(message).hint(hint));
                    }
                },
            },
            Self::Deny(Deny { address, yes }) => Change::Deny { net: address, sure: yes },
            Self::Close(close) => Change::Close(close.what),
            Self::Reload(Reload { quiet: true }) => {
                // With a configuration that is not good the edge goes on as it is; sshd may have moved all the same.
                let edge = configured(settings).ok().map(|listen| bootstrap::edge_ports(&listen));
                if let Some(firewall) = bootstrap::follow(edge)? {
                    out::line(format!("the firewall has followed the listeners\n{}", shown(&firewall)));
                }
                return Ok(());
            }
            Self::Reload(_) => Change::Follow(Some(bootstrap::edge_ports(&configured(settings)?))),
        };
        let port = match &change {
            Change::Open(port) => Some(*port),
            Change::Close(what) => what.parse::<OpenPort>().ok(),
            _ => None,
        };
        let firewall = match change.apply()? {
            Changed::Ours(firewall) => firewall,
            Changed::Theirs(done) => {
                out::line(done);
                return Ok(());
            }
        };
        out::line(shown(&firewall));
        let meeting = port.map(|port| firewall.meeting(&port)).unwrap_or_default();
        if let Some(port) = port.filter(|_| !meeting.is_empty()) {
            out::remark(format!(
                "note: open besides, with ports in common with {port}: {}\nhint: each is closed by an order of its own",
                meeting.join(", ")
            ));
        }
        Ok(())
    }
}

impl Status {
    fn run(self) -> Result<(), Failure> {
        if !nix::unistd::geteuid().is_root() {
            // Others see none of it, be there one or not.
            return Err(Failure::failed("the firewall is shown to root alone: this needs root")
                .hint("`sudo gateway firewall status`"));
        }
        let live = bootstrap::live();
        if self.form.json {
            return out::json(&json!({ "firewall": live }));
        }
        if let Some(damage) = live.damage {
            return Err(Failure::failed(damage.what).hint(damage.remedy));
        }
        let state = match (&live.armed, &live.stored, live.table, live.same) {
            (Some(armed), ..) => format!("waits to be confirmed until {:.0}", armed.until),
            (None, None, false, _) => "there is none of the gateway's".to_owned(),
            (None, None, true, _) => "in force, and confirmed by nobody".to_owned(),
            (None, Some(firewall), true, true) if firewall.bare => {
                "it leads connections over, and filters nothing".to_owned()
            }
            (None, Some(_), true, true) => "in force as confirmed".to_owned(),
            (None, Some(_), false, _) => "confirmed, and gone from the kernel".to_owned(),
            (None, Some(_), true, false) => "in force, and not as confirmed".to_owned(),
        };
        out::line(format!("firewall: {state}"));
        if let Some(firewall) = &live.stored {
            out::line(shown(firewall));
        }
        let sound = live.stored.is_none() || live.same || live.armed.is_some();
        if sound {
            Ok(())
        } else {
            Err(Failure::failed("the kernel's rules are not those that were confirmed")
                .hint("`gateway firewall reload`"))
        }
    }
}

fn shown(firewall: &Firewall) -> String {
    let row = |what: &str, list: Vec<String>, whom: &str| [what.to_owned(), list.join(", "), whom.to_owned()];
    let ports = |set: &BTreeSet<u16>| set.iter().map(u16::to_string).collect();
    let nets = |set: &BTreeSet<ipnet::IpNet>| set.iter().map(ToString::to_string).collect();
    let rows = [
        row("ssh", ports(&firewall.ssh), "everybody, 30 new connections a minute from each"),
        row("edge", ports(&firewall.edge), "everybody"),
        row("opened", firewall.opened.iter().map(OpenPort::to_string).collect(), "everybody"),
        row(
            "tunnels",
            firewall.carriers.iter().map(Carrier::to_string).collect(),
            "their other ends, with what carries them",
        ),
        row("admins", nets(&firewall.admins), "ssh without that limit"),
        row(
            "led",
            firewall.led.iter().map(|(from, to)| format!("{from} to {to}")).collect(),
            "new connections: the cut-over",
        ),
        row("denied", nets(&firewall.denied), "nothing"),
    ];
    out::table(&["what", "ports or addresses", "reached by, or may reach"], rows)
}
