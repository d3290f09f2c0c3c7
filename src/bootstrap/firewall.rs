//! Our firewall on this machine: what it is, what it shall be, changing it, and arming it. Rules reach the disk only
//! when they are known to let their operator in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    BootstrapError, Session,
    confirm::Armed,
    facts, machine, places,
    ruleset::{self, Firewall, OpenPort},
};

/// What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// What shall be.
    pub(super) firewall: Firewall,
    /// How nft listed it when it was loaded: what is listed later must be the same.
    pub(super) listing: String,
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Live {
    /// Is our table there?
    pub(crate) table: bool,
    /// What was made to last.
    pub(crate) stored: Option<Firewall>,
    /// Is the table what was made to last?
    pub(crate) same: bool,
    /// A firewall that waits to be confirmed.
    pub(crate) armed: Option<Armed>,
}

/// A change of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Let everybody reach a port.
    Open(OpenPort),
    /// Never slow these down at SSH, and deny them no longer.
    Admit(IpNet),
    /// Never let these in.
    Deny(IpNet),
    /// Take an opened port, an admitted or a denied address back.
    Close(String),
    /// Follow the listeners: the edge's ports as configured, SSH's ports as found.
    Follow(BTreeSet<u16>),
    /// Lead nobody anywhere else any more.
    Back,
}

/// Lead new connections to the gateway's own ports, for as long as nobody confirms it only.
pub(crate) fn cut_over(led: BTreeMap<u16, u16>, within: Duration) -> Result<Timestamp, BootstrapError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BootstrapError::NotRoot);
    }
    let bare = Firewall { bare: true, ..Firewall::default() };
    let firewall = Firewall { led, was_led: true, ..stored().map_or(bare, |stored| stored.firewall) };
    super::journal::Journal::read()?.record(super::journal::Made::Firewall)?;
    arm(&firewall, within, &facts::session()).map(|armed| armed.until)
}

/// What is in force now.
pub(crate) fn live() -> Live {
    let listing = listing();
    let stored = stored();
    Live {
        table: listing.is_some(),
        same: stored.as_ref().is_some_and(|stored| Some(&stored.listing) == listing.as_ref()),
        stored: stored.map(|stored| stored.firewall),
        armed: Armed::waiting(),
    }
}

pub(super) fn stored() -> Option<Stored> {
    serde_json::from_str(&machine::text(places::FIREWALL_STATE)).ok()
}

/// Our table as nft lists it, without what comes and goes.
pub(super) fn listing() -> Option<String> {
    let said = machine::ask(&["nft", "-s", "list", "table", "inet", "gateway"]).ok()?;
    said.good.then(|| ruleset::steady(&said.text))
}

/// Load rules in one transaction, tried before; gives how nft lists them.
pub(super) fn load(firewall: &Firewall) -> Result<String, BootstrapError> {
    let rules = ruleset::text(firewall);
    machine::order_with(&["nft", "-c", "-f", "-"], &rules)?;
    machine::order_with(&["nft", "-f", "-"], &rules)?;
    listing().ok_or_else(|| BootstrapError::Unproven("nft took the rules and lists no table".to_owned()))
}

/// Make what is loaded last: on disk, and loaded at boot after whatever flushes all tables.
pub(super) fn persist(stored: &Stored) -> Result<(), BootstrapError> {
    machine::make_directories(Path::new("/etc/gateway"), 0o755)?;
    let json = serde_json::to_string_pretty(stored).unwrap_or_default();
    machine::write(Path::new(places::FIREWALL_RULES), ruleset::text(&stored.firewall).as_bytes(), 0o644)?;
    machine::write(Path::new(places::FIREWALL_STATE), json.as_bytes(), 0o644)?;
    machine::order(&["systemctl", "enable", "--now", "gateway-firewall.service"])?;
    Ok(())
}

/// Load rules that go away again by themselves, unless they are confirmed.
pub(super) fn arm(firewall: &Firewall, within: Duration, session: &Session) -> Result<Armed, BootstrapError> {
    if Armed::waiting().is_some() {
        return Err(BootstrapError::refused(
            "a firewall waits to be confirmed already",
            "open a second SSH session and run `sudo gateway bootstrap confirm`, or wait until it has gone back",
        ));
    }
    machine::make_directories(Path::new(places::RUN), 0o700)?;
    let before = match (stored(), listing()) {
        (_, None) => String::new(),
        (Some(stored), Some(live)) if stored.listing == live => {
            // Without its own beginning, which stands before it already.
            ruleset::text(&stored.firewall)
        }
        (_, Some(live)) => live,
    };
    // What was led meanwhile stays where it is.
    let open = if firewall.was_led { ruleset::leading_nobody() } else { String::new() };
    let previous = format!("{}{before}{open}", ruleset::GONE);
    machine::write(Path::new(places::PREVIOUS), previous.as_bytes(), 0o600)?;
    // The timer first: from here on, whatever happens to this process, the old rules come back.
    let nft = machine::program("nft").unwrap_or_default();
    let back = format!("{} -f {} && rm -f {}", nft.display(), places::PREVIOUS, places::ARMED);
    let after = format!("--on-active={}s", within.as_secs().max(1));
    let unit = format!("--unit={}", places::ROLLBACK);
    machine::ask(&["systemctl", "reset-failed", &format!("{}.service", places::ROLLBACK)])?;
    machine::order(&[
        "systemd-run",
        "--quiet",
        "--collect",
        &unit,
        &after,
        "--timer-property=AccuracySec=100ms",
        "--property=DefaultDependencies=no",
        "/bin/sh",
        "-c",
        &back,
    ])?;
    let listing = match load(firewall) {
        Ok(listing) => listing,
        Err(error) => {
            machine::order(&["systemctl", "stop", &format!("{}.timer", places::ROLLBACK)])?;
            return Err(error);
        }
    };
    let armed = Armed {
        since_ticks: Armed::now_ticks(),
        until: Timestamp::now() + within,
        over_ssh: matches!(session, Session::Ssh { .. }),
        stored: Stored { firewall: firewall.clone(), listing },
    };
    let json = serde_json::to_string(&armed).unwrap_or_default();
    machine::write(Path::new(places::ARMED), json.as_bytes(), 0o600)?;
    Ok(armed)
}

/// Load and make last at once: where there is nobody to cut off, or nobody can be.
pub(super) fn settle(firewall: Firewall) -> Result<(), BootstrapError> {
    let listing = load(&firewall)?;
    persist(&Stored { firewall, listing })
}

/// Let the firewall that lasts follow the listeners, and mend it; `None` where there is nothing to do, or none that lasts.
pub(crate) fn follow(edge: BTreeSet<u16>) -> Result<Option<Firewall>, BootstrapError> {
    let (true, None, Some(stored)) = (nix::unistd::geteuid().is_root(), Armed::waiting(), stored()) else {
        return Ok(None);
    };
    let sound = listing().as_ref() == Some(&stored.listing);
    let wanted = Change::Follow(edge).to(stored.firewall.clone(), None, &facts::ssh_now().ports)?;
    if sound && wanted == stored.firewall {
        return Ok(None);
    }
    settle(wanted.clone())?;
    Ok(Some(wanted))
}

impl Change {
    /// Carry it out on the firewall that lasts.
    pub(crate) fn apply(self) -> Result<Firewall, BootstrapError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(BootstrapError::NotRoot);
        }
        if Armed::waiting().is_some() {
            let remedy = "open a second SSH session and run `sudo gateway bootstrap confirm` first";
            return Err(BootstrapError::refused("the firewall waits to be confirmed", remedy));
        }
        let Some(Stored { firewall, .. }) = stored() else {
            let remedy = "`gateway bootstrap` builds one; ufw and firewalld have commands of their own";
            return Err(BootstrapError::refused("there is no firewall of the gateway's here", remedy));
        };
        let peer = match facts::session() {
            Session::Ssh { peer, .. } => peer,
            Session::Local => None,
        };
        let found = if matches!(self, Self::Follow(_)) { facts::ssh_now().ports } else { BTreeSet::new() };
        let firewall = self.to(firewall, peer, &found)?;
        settle(firewall.clone())?;
        Ok(firewall)
    }

    /// The firewall with the change. Pure; refuses what would cut off `peer`, who gives this order.
    fn to(
        self,
        mut firewall: Firewall,
        peer: Option<IpAddr>,
        ssh_found: &BTreeSet<u16>,
    ) -> Result<Firewall, BootstrapError> {
        match self {
            Self::Open(port) => {
                firewall.opened.insert(port);
            }
            Self::Admit(net) => {
                firewall.denied.remove(&net);
                firewall.admins.insert(net);
            }
            Self::Deny(net) if peer.is_some_and(|peer| net.contains(&peer.to_canonical())) => {
                let message = format!("your own SSH session comes from {net}: you would lock yourself out");
                return Err(BootstrapError::refused(message, "deny a smaller network"));
            }
            Self::Deny(net) => {
                firewall.admins.remove(&net);
                firewall.denied.insert(net);
            }
            Self::Close(what) => return close(firewall, &what),
            Self::Back => firewall.led.clear(),
            // SSH ports are added and never taken away by themselves: a server that is down just now comes back.
            Self::Follow(edge) => {
                // What was led to a port that is listened on no longer would be refused there.
                firewall.led.retain(|_, to| edge.contains(to));
                firewall.edge = edge;
                firewall.ssh.extend(ssh_found);
            }
        }
        Ok(firewall)
    }
}

fn close(mut firewall: Firewall, what: &str) -> Result<Firewall, BootstrapError> {
    if let Ok(net) = super::network(what) {
        if firewall.admins.remove(&net) | firewall.denied.remove(&net) {
            return Ok(firewall);
        }
        let remedy = "`gateway firewall status` lists them";
        return Err(BootstrapError::refused(format!("{net} is neither allowed nor denied"), remedy));
    }
    let port: OpenPort = what
        .parse()
        .map_err(|why: String| BootstrapError::refused(format!("`{what}` is no port and no address"), why))?;
    if firewall.opened.remove(&port) {
        return Ok(firewall);
    }
    let (message, remedy) = if !port.udp && firewall.ssh.contains(&port.port) {
        (format!("{port} is a port of SSH"), "it stays open: you would lock yourself out")
    } else if !port.udp && firewall.edge.contains(&port.port) {
        (format!("{port} is a port of the edge"), "take it out of `[edge]` and run `gateway firewall reload`")
    } else {
        (format!("{port} is not open"), "`gateway firewall status` lists what is")
    };
    Err(BootstrapError::refused(message, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: Change, peer: Option<&str>, want: Result<&str, &str>) {
        let before = Firewall {
            ssh: [22].into(),
            edge: [80, 443].into(),
            opened: ["8080".parse().unwrap()].into(),
            denied: ["192.0.2.0/24".parse().unwrap()].into(),
            ..Firewall::default()
        };
        let got = change.clone().to(before, peer.map(|peer| peer.parse().unwrap()), &[2222].into());
        let shown = got.map(|f| {
            let words = |set: Vec<String>| set.join(",");
            [
                words(f.ssh.iter().map(u16::to_string).collect()),
                words(f.edge.iter().map(u16::to_string).collect()),
                words(f.opened.iter().map(OpenPort::to_string).collect()),
                words(f.admins.iter().map(IpNet::to_string).collect()),
                words(f.denied.iter().map(IpNet::to_string).collect()),
            ]
            .join(" | ")
        });
        let shown = shown.map_err(|error| error.to_string());
        match want {
            Ok(want) => assert_eq!(shown.as_deref(), Ok(want), "{change:?}"),
            Err(why) => {
                assert!(shown.as_ref().is_err_and(|error| error.contains(why)), "{change:?} {shown:?}")
            }
        }
    }

    #[test]
    fn changes_do_what_they_say_and_refuse_to_lock_anybody_out() {
        let net = |text: &str| text.parse().unwrap();
        let close = |what: &str| Change::Close(what.to_owned());
        check(
            Change::Open("51820/udp".parse().unwrap()),
            None,
            Ok("22 | 80,443 | 8080/tcp,51820/udp |  | 192.0.2.0/24"),
        );
        check(Change::Admit(net("192.0.2.0/24")), None, Ok("22 | 80,443 | 8080/tcp | 192.0.2.0/24 | "));
        check(
            Change::Deny(net("198.51.100.0/24")),
            Some("203.0.113.1"),
            Ok("22 | 80,443 | 8080/tcp |  | 192.0.2.0/24,198.51.100.0/24"),
        );
        check(Change::Deny(net("198.51.100.0/24")), Some("198.51.100.7"), Err("lock yourself out"));
        check(close("8080"), None, Ok("22 | 80,443 |  |  | 192.0.2.0/24"));
        check(close("192.0.2.0/24"), None, Ok("22 | 80,443 | 8080/tcp |  | "));
        check(close("22"), None, Err("a port of SSH"));
        check(close("443/tcp"), None, Err("a port of the edge"));
        check(close("443/udp"), None, Err("not open"));
        check(close("nonsense"), None, Err("no port and no address"));
        check(Change::Follow([8443].into()), None, Ok("22,2222 | 8443 | 8080/tcp |  | 192.0.2.0/24"));
        let led = Firewall { led: [(443, 8443), (80, 8080)].into(), ..Firewall::default() };
        let after = Change::Follow([80, 443, 8443].into()).to(led, None, &BTreeSet::new()).unwrap();
        assert_eq!(after.led, [(443, 8443)].into(), "nothing listens on 8080 any more");
    }
}
