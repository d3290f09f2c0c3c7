//! Ports that are opened and closed where ufw or firewalld rules the packets: by its own orders, in its own words. They are the
//! operator's, as if typed by hand: `--undo` leaves them. It must never close what SSH or the edge is reached by.

use std::collections::BTreeSet;

use super::{
    super::{BootstrapError, facts, facts::Ruler, journal::Journal, machine, ruleset::OpenPort},
    Change,
};

/// A change that is theirs to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Theirs {
    ruler: &'static str,
    port: OpenPort,
    opens: bool,
}

impl Theirs {
    /// None where nobody rules, and of what has no port: for that they have commands of their own.
    pub(super) fn of(change: &Change, ruler: Ruler) -> Option<Self> {
        let ruler = match ruler {
            Ruler::Ufw => "ufw",
            Ruler::Firewalld => "firewalld",
            Ruler::Nobody => return None,
        };
        match change {
            Change::Open(port) => Some(Self { ruler, port: *port, opens: true }),
            Change::Close(what) => Some(Self { ruler, port: what.parse().ok()?, opens: false }),
            _ => None,
        }
    }

    /// Gives what has been done, for people.
    pub(super) fn carry_out(self, ssh: &BTreeSet<u16>) -> Result<String, BootstrapError> {
        let Self { ruler, port, opens } = self;
        if !opens {
            self.may_close(ssh, &Journal::read()?.all_opened())?;
        }
        // The zones that strangers meet; the default one may be none of them.
        let zones = if ruler == "ufw" { BTreeSet::new() } else { facts::zones_outside() };
        let is = self.is_open(&zones)?;
        if is.iter().all(|open| *open == opens) {
            let message = format!("{port} is {} in {ruler} already", if opens { "open" } else { "not open" });
            let remedy = format!("`{}` lists what is", self.listing());
            return Err(BootstrapError::refused(message, remedy));
        }
        for order in self.orders(&zones) {
            machine::order(&order.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        if self.is_open(&zones)?.iter().any(|open| *open != opens) {
            return Err(BootstrapError::Unproven(format!(
                "{ruler} was told to {} {port}, and does not list it so",
                if opens { "open" } else { "close" }
            )));
        }
        Ok(format!("{ruler} has {} {port}", if opens { "opened" } else { "closed" }))
    }

    /// Pure.
    fn may_close(&self, ssh: &BTreeSet<u16>, edge: &BTreeSet<u16>) -> Result<(), BootstrapError> {
        let holds =
            |ports: &BTreeSet<u16>| ports.iter().any(|one| self.port.meets(&OpenPort::one(*one, false)));
        let port = self.port;
        if holds(ssh) {
            let remedy = "it stays open: you would lock yourself out";
            return Err(BootstrapError::refused(format!("SSH is reached by {port}"), remedy));
        }
        if holds(edge) {
            let remedy = "`gateway bootstrap --undo` closes it";
            return Err(BootstrapError::refused(
                format!("`gateway bootstrap` has opened {port} for the edge"),
                remedy,
            ));
        }
        Ok(())
    }

    fn listing(&self) -> &'static str {
        if self.ruler == "ufw" { "ufw status" } else { "firewall-cmd --list-ports" }
    }

    /// One order for ufw; firewalld has rules that last and rules that are in force, in each zone.
    fn orders(&self, zones: &BTreeSet<String>) -> Vec<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match (self.ruler, self.opens) {
            ("ufw", true) => vec![words(&["ufw", "allow", &self.port.for_ufw()])],
            ("ufw", false) => vec![words(&["ufw", "delete", "allow", &self.port.for_ufw()])],
            (_, opens) => {
                let change = format!("--{}-port={}", if opens { "add" } else { "remove" }, self.port);
                let of = |zone: &String| {
                    let zone = format!("--zone={zone}");
                    [
                        words(&["firewall-cmd", "--quiet", "--permanent", &zone, &change]),
                        words(&["firewall-cmd", "--quiet", &zone, &change]),
                    ]
                };
                zones.iter().flat_map(of).collect()
            }
        }
    }

    /// By a rule for just this port or range: once for ufw, for good and now for each zone of firewalld's.
    fn is_open(&self, zones: &BTreeSet<String>) -> Result<Vec<bool>, BootstrapError> {
        if self.ruler == "ufw" {
            return Ok(vec![is_allowed(&machine::order(&["ufw", "show", "added"])?, self.port)]);
        }
        let query = format!("--query-port={}", self.port);
        let mut is = Vec::new();
        for zone in zones {
            let zone = format!("--zone={zone}");
            for command in
                [&["firewall-cmd", "--permanent", &zone, &query][..], &["firewall-cmd", &zone, &query]]
            {
                is.push(machine::ask(command)?.good);
            }
        }
        Ok(is)
    }
}

/// Does `ufw show added` list it? A comment may stand behind it. Pure.
fn is_allowed(added: &str, port: OpenPort) -> bool {
    let rule = format!("ufw allow {}", port.for_ufw());
    let is =
        |line: &str| line.strip_prefix(&rule).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    added.lines().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(change: &Change, ruler: Ruler) -> Theirs {
        Theirs::of(change, ruler).unwrap()
    }

    #[test]
    fn the_order_is_given_in_the_rulers_own_words() {
        let open = Change::Open("8000-8010/udp".parse().unwrap());
        let close = Change::Close("8000-8010".to_owned());
        for (change, ruler, want) in [
            (&open, Ruler::Ufw, "ufw allow 8000:8010/udp"),
            (&close, Ruler::Ufw, "ufw delete allow 8000:8010/tcp"),
            (
                &open,
                Ruler::Firewalld,
                "firewall-cmd --quiet --permanent --zone=public --add-port=8000-8010/udp; firewall-cmd --quiet --zone=public --add-port=8000-8010/udp",
            ),
            (
                &close,
                Ruler::Firewalld,
                "firewall-cmd --quiet --permanent --zone=public --remove-port=8000-8010/tcp; firewall-cmd --quiet --zone=public --remove-port=8000-8010/tcp",
            ),
        ] {
            let orders: Vec<String> = theirs(change, ruler)
                .orders(&["public".to_owned()].into())
                .iter()
                .map(|words| words.join(" "))
                .collect();
            assert_eq!(orders.join("; "), want);
        }
        assert_eq!(Theirs::of(&open, Ruler::Nobody), None);
        for no_port in [Change::Follow(None), Change::Close("192.0.2.0/24".to_owned())] {
            assert_eq!(Theirs::of(&no_port, Ruler::Ufw), None);
        }
    }

    #[test]
    fn what_ssh_and_the_edge_are_reached_by_is_not_closed() {
        let close = |what: &str| {
            let change = Change::Close(what.to_owned());
            let refused = theirs(&change, Ruler::Ufw).may_close(&[22].into(), &[80, 443].into());
            refused.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(close("20-30").contains("SSH is reached by 20-30/tcp"));
        assert!(close("443").contains("for the edge"));
        assert_eq!((close("8080"), close("443/udp")), (String::new(), String::new()));
    }

    #[test]
    fn only_a_rule_for_just_that_range_is_one() {
        let added =
            "Added user rules:\nufw allow 8000:8010/tcp comment 'x'\nufw allow 80/tcp\nufw deny 81/tcp\n";
        for (port, want) in
            [("8000-8010", true), ("8000-8010/udp", false), ("8000", false), ("80", true), ("81", false)]
        {
            assert_eq!(is_allowed(added, port.parse().unwrap()), want, "{port}");
        }
    }
}
